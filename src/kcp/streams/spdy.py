"""Many streams over one connection, by SPDY/3.1: what `kubectl` before 1.31 speaks after its Upgrade, what port-forward speaks still, and
what syncers and control plane speak through their tunnel.

Kubernetes' own ends keep no windows, so that a reader who is behind holds up its whole connection; with `window`, as in the tunnel, each
stream is held up for itself (section 2.6.8; the window of the whole session is not used).
Before: `apiserver.upgrades`, `tmc.tunnel`. After: `spdyframes`, `ways`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from kcp.streams.spdyframes import (
    DATA,
    FIN,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SYN_REPLY,
    SYN_STREAM,
    WINDOW_UPDATE,
    Decoder,
    Encoder,
    Frame,
    Headers,
    SpdyFault,
)
from kcp.streams.ways import BrokenStream, Duplex, Way

WINDOW = 64 * 1024
"""Bytes of one stream on their way: the window that SPDY/3.1 begins with."""
_MOST_AT_ONCE = 16 * 1024
"""Bytes of one frame, so that streams take turns."""
MOST_STREAMS = 1000
"""Open at a time on one connection; further ones are refused."""
_REFUSED, _CANCELLED, _NO_SUCH = 3, 5, 2


@dataclass(eq=False)
class Stream:
    """One of the streams; a `Duplex`."""

    session: Session = field(repr=False)
    number: int
    headers: Headers
    incoming: Way
    credit: int = 0
    _is_closed: bool = False
    _is_over: bool = False
    """Ended by the other side in both directions."""
    reply: Headers | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    async def read(self, most: int = 0) -> bytes:
        data = await self.incoming.get(most)
        if data and self.session.window and not self._is_over:
            with suppress(BrokenStream):  # there is more to read than to tell
                await self.session.send(Frame(WINDOW_UPDATE, self.number, number=len(data)))
        return data

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), _MOST_AT_ONCE):
            await self._write(data[at : at + _MOST_AT_ONCE])

    async def _write(self, data: bytes) -> None:
        while data:
            if self._is_over or self._is_closed:
                raise BrokenStream("the stream was ended by the other side" if self._is_over else "the stream is closed")
            if self.session.window and self.credit <= 0:
                self.changed.clear()
                await self.changed.wait()
                continue
            part = data[: self.credit] if self.session.window else data
            data = data[len(part) :]
            self.credit -= len(part)
            await self.session.send(Frame(DATA, self.number, data=part))

    async def close(self) -> None:
        """No more from here; what comes can still be read."""
        if not (self._is_closed or self._is_over):
            self._is_closed = True
            with suppress(BrokenStream):
                await self.session.send(Frame(DATA, self.number, FIN))
        self.session.forget_if_done(self)

    async def reset(self) -> None:
        """Over in both directions."""
        if not self._is_over:
            self.end("the stream was reset")
            with suppress(BrokenStream):
                await self.session.send(Frame(RST_STREAM, self.number, number=_CANCELLED))
        self.incoming.abandon()
        self.session.forget(self)

    async def answer(self, headers: Headers = ()) -> None:
        """Say yes to a stream that the other side opened."""
        await self.session.send(Frame(SYN_REPLY, self.number, headers=headers))

    async def wait_reply(self) -> Headers:
        """What the other side answered to the opening. Raises BrokenStream."""
        while self.reply is None:
            if self._is_over:
                raise BrokenStream("the other side did not take the stream")
            self.changed.clear()
            await self.changed.wait()
        return self.reply

    def end(self, why: str) -> None:
        """From the other side: nothing is read or written any more."""
        self._is_over = True
        self.incoming.fail(why)
        self.changed.set()

    @property
    def is_done(self) -> bool:
        return self._is_over or (self._is_closed and self.incoming.is_ended)


class Session:
    """One connection. `run` reads it; streams live as long as it runs."""

    def __init__(self, wire: Duplex, *, is_client: bool, opened: Callable[[Stream], Awaitable[None]], window: int = 0) -> None:
        """Args: opened: told of each stream of the other side; answers or resets it, and must not wait for what comes by it."""
        self._wire = wire
        self._opened = opened
        self.window = window
        self._encoder, self._decoder = Encoder(), Decoder()
        self._streams: dict[int, Stream] = {}
        self._next = 1 if is_client else 2
        self._next_ping = 1 if is_client else 2
        self.heard = 0
        """Counts the frames that came: who sends pings sees by it that the other end lives."""
        self.is_over = False

    async def run(self) -> None:
        """Until the connection ends. Raises BrokenStream where it breaks, or what comes is no SPDY."""
        why = "the connection ended"
        try:
            while data := await self._wire.read():
                for frame in self._decoder.feed(data):
                    self.heard += 1
                    if frame.kind == GOAWAY:
                        return
                    await self._take(frame)
        except SpdyFault as fault:
            why = str(fault)
            raise BrokenStream(f"the other end broke the SPDY protocol: {fault}") from fault
        finally:
            self.is_over = True
            for stream in list(self._streams.values()):
                stream.end(why)
            self._streams.clear()

    async def open(self, headers: Headers) -> Stream:
        """A new stream to the other side. Raises BrokenStream."""
        if self.is_over:
            raise BrokenStream("the connection has ended")
        stream = Stream(self, self._next, headers, Way(), self.window)
        self._next += 2
        self._streams[stream.number] = stream
        await self.send(Frame(SYN_STREAM, stream.number, headers=headers))
        return stream

    async def ping(self) -> None:
        self._next_ping += 2
        await self.send(Frame(PING, self._next_ping))

    async def close(self) -> None:
        """Say goodbye, and end the connection."""
        with suppress(BrokenStream):
            await self.send(Frame(GOAWAY))
        await self._wire.close()

    async def send(self, frame: Frame) -> None:
        await self._wire.write(self._encoder.encode(frame))

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)

    def forget_if_done(self, stream: Stream) -> None:
        if stream.is_done:
            self.forget(stream)

    async def _take(self, frame: Frame) -> None:
        if frame.kind == SYN_STREAM:
            await self._begin(frame)
            return
        if frame.kind == PING:
            if frame.stream % 2 != self._next_ping % 2:
                await self.send(frame)
            return
        stream = self._streams.get(frame.stream)
        if stream is None:
            if frame.kind == DATA and frame.data and self.window:
                await self.send(Frame(RST_STREAM, frame.stream, number=_NO_SUCH))
            return
        if frame.kind == DATA:
            await self._data(stream, frame)
        elif frame.kind in (SYN_REPLY, HEADERS):
            stream.reply = frame.headers
            stream.changed.set()
            if frame.flags & FIN:
                stream.incoming.end()
        elif frame.kind == RST_STREAM:
            stream.end("the stream was reset by the other side")
            self.forget(stream)
        elif frame.kind == WINDOW_UPDATE:
            stream.credit += frame.number
            stream.changed.set()

    async def _begin(self, frame: Frame) -> None:
        if len(self._streams) >= MOST_STREAMS or frame.stream in self._streams or frame.stream % 2 == self._next % 2:
            await self.send(Frame(RST_STREAM, frame.stream, number=_REFUSED))
            return
        stream = self._streams[frame.stream] = Stream(self, frame.stream, frame.headers, Way(), self.window)
        if frame.flags & FIN:
            stream.incoming.end()
        await self._opened(stream)

    async def _data(self, stream: Stream, frame: Frame) -> None:
        if self.window:
            if stream.incoming.waiting + len(frame.data) > 2 * self.window:
                raise SpdyFault("more than the window of a stream allows")
            stream.incoming.put_nowait(frame.data)
        else:
            await stream.incoming.put(frame.data)
        if frame.flags & FIN:
            stream.incoming.end()
            self.forget_if_done(stream)
