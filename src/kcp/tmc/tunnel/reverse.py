"""The tunnel as the syncer of kcp 0.11 speaks it: pipes of bytes, each the endless body of a GET and of its answer.

The first pipe is for control, in lines of JSON: `keep-alive` and `conn-ready` from here, `pickup-failed` from there. To each `conn-ready`
the syncer opens one more pipe, and serves it as a server does a connection: one request of HTTP/1.1 goes there, and its answer comes back,
or, after status 101, whatever was agreed on.
Before: `tunnels`. After: `kcp.streams`.
Source: kcp release-0.11 pkg/tunneler/{dialer,listener,syncertunnel_handler}.go, after golang.org/x/build/revdial/v2.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import httptools
import orjson

from kcp.aio.clock import Clock
from kcp.streams.spdyframes import Headers
from kcp.streams.ways import BrokenStream, Duplex

KEEP_ALIVE_S: Final = 30.0
_MOST_LINE: Final = 64 * 1024
_MOST_HEAD: Final = 256 * 1024


def head(method: str, host: str, path: str, headers: Headers, body: bytes | None) -> bytes:
    """A request, as it goes over its pipe; an Upgrade has no body, and keeps the connection.

    >>> head("GET", "east", "/a", (("accept", "*/*"),), b"")
    b'GET /a HTTP/1.1\\r\\nhost: east\\r\\naccept: */*\\r\\nconnection: close\\r\\n\\r\\n'
    """
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", *(f"{name}: {text}" for name, text in headers)]
    if body is not None:
        lines.append("connection: close")
    if body or (body is not None and method not in ("GET", "HEAD")):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


class Answer:
    """What comes back over a pipe; a `Duplex` of its body, or of all that follows status 101."""

    def __init__(self, wire: Duplex, method: str) -> None:
        self._wire = wire
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._has_head = self._is_whole = self._is_plain = False
        self._is_open_ended = method == "HEAD"
        """It ends with its pipe."""
        self.done = asyncio.Event()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._is_whole = True

    async def wait_head(self) -> tuple[int, Headers]:
        """Raises BrokenStream."""
        seen = 0
        while not self._has_head:
            data = await self._wire.read()
            seen += len(data)
            if not data or seen > _MOST_HEAD:
                raise BrokenStream("the syncer ended the connection before an answer")
            self._feed(data)
        named = {name for name, _ in self._headers}
        self._is_open_ended = self._is_open_ended or named.isdisjoint(("content-length", "transfer-encoding"))
        return self._parser.get_status_code(), self._headers

    def _feed(self, data: bytes) -> None:
        if self._is_plain:
            self._body += data
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._is_plain, self._is_whole = True, False
            self._body += data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise BrokenStream(f"the syncer answers what is no HTTP: {error}") from error

    async def read(self) -> bytes:
        while not self._body:
            if self._is_whole and not self._is_plain:
                return b""
            data = await self._wire.read()
            if data:
                self._feed(data)
            elif self._is_plain or self._is_open_ended:
                return b""
            else:
                raise BrokenStream("the syncer broke off its answer")
        data = bytes(self._body)
        self._body.clear()
        return data

    async def write(self, data: bytes) -> None:
        await self._wire.write(data)

    async def close(self) -> None:
        await self._wire.close()

    async def reset(self) -> None:
        """Over in both directions."""
        self.done.set()
        await self._wire.close()


@dataclass(eq=False)
class ReverseTunnel:
    """The control plane's end."""

    name: str
    control: Duplex
    clock: Clock
    is_over: bool = False
    _owed: int = 0
    """Pipes that the syncer was asked for, and has neither opened nor refused."""
    _waiting: deque[asyncio.Future[tuple[Duplex, asyncio.Event]]] = field(default_factory=deque)

    async def run(self) -> None:
        """Until the syncer goes."""
        try:
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self._beat())
                async for line in _lines(self.control):
                    self._told(line)
                beat.cancel()
        except* BrokenStream as broken:
            raise BrokenStream(str(broken.exceptions[0])) from broken
        finally:
            self._end()

    async def _beat(self) -> None:
        while True:
            await self._tell("keep-alive")
            await self.clock.sleep(KEEP_ALIVE_S)

    async def _tell(self, command: str) -> None:
        await self.control.write(orjson.dumps({"command": command}) + b"\n")

    def _told(self, line: bytes) -> None:
        """Raises BrokenStream for what is no JSON; commands that are not known do not matter."""
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BrokenStream(f"the syncer says what is no JSON: {error}") from error
        if isinstance(message, dict) and message.get("command") == "pickup-failed":
            self._owed = max(0, self._owed - 1)
            if (waiter := self._next()) is not None:
                waiter.set_exception(BrokenStream(f"the syncer could not connect: {message.get('err', '')}"))

    def _next(self) -> asyncio.Future[tuple[Duplex, asyncio.Event]] | None:
        while self._waiting:
            if not (waiter := self._waiting.popleft()).done():
                return waiter
        return None

    def _end(self) -> None:
        self.is_over = True
        while (waiter := self._next()) is not None:
            waiter.set_exception(BrokenStream("the syncer has gone"))

    async def close(self) -> None:
        self._end()
        await self.control.close()

    def expects(self) -> bool:
        """Whether the next pipe is one that it was asked for; True takes that for settled."""
        if self._owed and not self.is_over:
            self._owed -= 1
            return True
        return False

    async def take(self, wire: Duplex) -> None:
        """A pipe that the syncer opened; returns when it is no longer needed."""
        done = asyncio.Event()
        if (waiter := self._next()) is not None:
            waiter.set_result((wire, done))
            await done.wait()

    async def ask(self, method: str, path: str, headers: Headers, body: bytes | None) -> tuple[int, Headers, Answer]:
        """Raises BrokenStream."""
        waiter: asyncio.Future[tuple[Duplex, asyncio.Event]] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._owed += 1
        await self._tell("conn-ready")
        try:
            wire, done = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.done() and waiter.exception() is None:
                waiter.result()[1].set()  # it came at the very moment
            raise
        answer = Answer(wire, method)
        answer.done = done
        try:
            await wire.write(head(method, self.name, path, headers, body) + (body or b""))
            status, answered = await answer.wait_head()
        except BaseException:
            done.set()
            raise
        return status, answered, answer


async def _lines(wire: Duplex) -> AsyncIterator[bytes]:
    held = bytearray()
    with suppress(BrokenStream):  # it went without a word
        while data := await wire.read():
            held += data
            *whole, rest = bytes(held).split(b"\n")
            held = bytearray(rest)
            if len(held) > _MOST_LINE:
                return
            for line in whole:
                if line.strip():
                    yield line
