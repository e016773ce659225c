"""Bytes that flow: `Way` in one direction within this process, `Duplex` in both, over whatever carries them.

Every buffer here is bounded: a writer waits while its reader is behind. Before: everything in this room.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

MOST_WAITING = 64 * 1024
"""Bytes that wait for their reader before their writer is made to wait."""


class BrokenStream(Exception):
    """The other end has gone, or speaks another language than agreed; the message says what was seen."""


class Duplex(Protocol):
    """Bytes both ways. One task reads at a time; each write is whole, in the order of the calls."""

    async def read(self) -> bytes:
        """Some bytes, as soon as there are any; b"" at the end. Raises BrokenStream where the end is none that the other side meant."""

    async def write(self, data: bytes) -> None:
        """Waits while the other end is behind. Raises BrokenStream when it has gone."""

    async def close(self) -> None:
        """There is nothing more to come from here. Idempotent, and never fails."""


class Way:
    """A bounded pipe of bytes: `put` at one end, `get` at the other."""

    __slots__ = ("_changed", "_data", "_fault", "_is_abandoned", "_is_ended", "_most")

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._data = bytearray()
        self._changed = asyncio.Event()
        self._is_ended = self._is_abandoned = False
        self._fault = ""

    async def put(self, data: bytes) -> None:
        """What comes after the reader has gone is dropped. Waits until there is room again. Raises BrokenStream after `fail`."""
        self.put_nowait(data)
        while len(self._data) > self._most and not (self._is_ended or self._is_abandoned):
            await self._wait()
        if self._fault:
            raise BrokenStream(self._fault)

    def put_nowait(self, data: bytes) -> None:
        """For a sender that is held back by other means."""
        if data and not (self._is_abandoned or self._is_ended):
            self._data += data
            self._changed.set()

    def end(self) -> None:
        """Nothing more will be put; what is there can still be had."""
        self._is_ended = True
        self._changed.set()

    def fail(self, why: str) -> None:
        """It breaks: both ends are told, after what is there has been read."""
        if not self._is_ended:
            self._fault = why
            self.end()

    def abandon(self) -> None:
        """The reader goes; writers are held up no longer."""
        self._is_abandoned = True
        self._data.clear()
        self._changed.set()

    @property
    def is_ended(self) -> bool:
        return self._is_ended

    @property
    def waiting(self) -> int:
        return len(self._data)

    async def get(self, most: int = 0) -> bytes:
        """Some bytes, b"" at the end. Raises BrokenStream where it broke. Args: most: 0 for all there are."""
        while not self._data:
            if self._fault:
                raise BrokenStream(self._fault)
            if self._is_ended or self._is_abandoned:
                return b""
            await self._wait()
        data = bytes(self._data[:most] if most else self._data)
        del self._data[: len(data)]
        self._changed.set()
        return data

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class PipeEnd:
    """One end of a connection within this process."""

    def __init__(self, incoming: Way, outgoing: Way) -> None:
        self.incoming = incoming
        self.outgoing = outgoing

    async def read(self) -> bytes:
        return await self.incoming.get()

    async def write(self, data: bytes) -> None:
        await self.outgoing.put(data)

    async def close(self) -> None:
        self.outgoing.end()

    def leave(self) -> None:
        """Close both directions: nobody reads here any more."""
        self.outgoing.end()
        self.incoming.abandon()


def pipe(most: int = MOST_WAITING) -> tuple[PipeEnd, PipeEnd]:
    one, other = Way(most), Way(most)
    return PipeEnd(one, other), PipeEnd(other, one)


async def splice(one: Duplex, other: Duplex) -> None:
    """Pass bytes on in both directions until both have ended, or one end breaks; then both are closed."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass(one, other))
            group.create_task(_pass(other, one))
    except* BrokenStream:
        pass  # one side went: nothing is left to tell the other but the end
    finally:
        await one.close()
        await other.close()


async def _pass(source: Duplex, sink: Duplex) -> None:
    while data := await source.read():
        await sink.write(data)
    await sink.close()
