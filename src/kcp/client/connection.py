"""One connection of HTTP/1.1 to a server: a request goes out in one write, its answer comes in through `answer`.

Before: `pool` opens it, `http` sends through it. After: `tlslayer`, `answer`, the event loop's sockets.
Source: RFC 9112; net/http/transport.go (what ends a connection, what may be sent again).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple, Self, cast

from kcp.client.answer import Answer, ConnectionBroken
from kcp.client.tlslayer import TLSLayer

_MOST_TUNNEL_BYTES = 64 * 1024


class Sending(NamedTuple):
    """A request, as it goes out."""

    message: bytes
    """Head and body."""
    due_s: float | None
    """On the loop's clock: when the answer is given up."""
    is_head_only: bool = False
    """The answer has no body, whatever it says."""
    in_parts: bool = False
    """The answer is read as it comes; otherwise when all of it is there."""


class Connection(asyncio.Protocol):
    """Serves one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer = Answer(self)
        self.is_over = False
        self.lost: asyncio.Future[None] = loop.create_future()
        """Done once the socket is closed."""
        self._loop = loop
        self._socket: asyncio.Transport
        self._tls: TLSLayer | None = None
        self._opening: asyncio.Future[None] | None = None
        self._tunnel: bytearray | None = None
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # Opening

    async def tunnel(self, request: bytes) -> None:
        """Have a proxy connect us to the server. Raises OSError.  Source: RFC 9110 section 9.3.6."""
        self._tunnel = bytearray()
        self._socket.write(request)
        await self._opened()

    async def secure(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Shake hands. Raises ssl.SSLError, OSError."""
        self._tls = TLSLayer(context, server_hostname, self._socket.write)
        self._tls.handshake()
        await self._opened()

    async def _opened(self) -> None:
        if self.is_over:
            raise ConnectionBroken("the server closed the connection")
        self._opening = self._loop.create_future()
        try:
            await self._opening
        finally:
            self._opening = None

    def _has_opened(self, error: Exception | None = None) -> None:
        if self._opening is not None and not self._opening.done():
            if error is None:
                self._opening.set_result(None)
            else:
                self._opening.set_exception(error)

    # One request

    async def ask(self, sending: Sending) -> Self:
        """Send a request and wait until `answer` has its head, or all of it. Raises OSError, ssl.SSLError, TimeoutError."""
        try:
            self._send(sending)
            await self.answer.wait_readable()
        except BaseException:
            self.abort()  # also where nobody waits any more: the answer is of no use to the next request
            raise
        return self

    def _send(self, sending: Sending) -> None:
        self.answer.expect(is_head_only=sending.is_head_only, in_parts=sending.in_parts)
        if self.is_over:
            raise ConnectionBroken("the server closed the connection")
        self._watch(sending.due_s)
        if self._tls is not None:
            self._tls.write(sending.message)
        else:
            self._socket.write(sending.message)

    def release(self, *, idle_until_s: float) -> bool:
        """Who asked has what they wanted. Whether another may follow; otherwise it is closed.

        Args: idle_until_s: on the loop's clock: it is closed then by itself.
        """
        if self.is_over or not self.answer.is_complete or not self.answer.may_be_reused or self._socket.get_write_buffer_size():
            self.abort()
            return False
        self._watch(idle_until_s)
        return True

    def _watch(self, due_s: float | None) -> None:
        """One timer, that is seldom set: it looks at its end how late it is. Setting one for each request costs as much as sending it."""
        self._due_s = due_s if due_s is not None else float("inf")
        if due_s is not None and (self._timer is None or self._timer.when() > due_s):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._due_s:
            self._watch(self._due_s if self._due_s < float("inf") else None)
        elif self.answer.is_complete:
            self.close()
        else:
            self._end(TimeoutError())

    def close(self) -> None:
        """In order, with TLS's announcement."""
        if not self.is_over and self._tls is not None and self._tls.is_open:
            self._tls.end()
        self._end(ConnectionBroken("the connection was closed"))

    def abort(self) -> None:
        """At once: what is on its way is of no use to anybody."""
        self._end(ConnectionBroken("the connection was closed"))
        self._socket.abort()

    def _end(self, error: Exception | None) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self.answer.ended(error)
        self._has_opened(error or ConnectionBroken("the server closed the connection"))
        self._socket.close()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.is_over:
            return
        try:
            if self._tunnel is not None:
                self._read_proxy(self._tunnel, data)
            elif self._tls is None:
                self.answer.feed(data)
            elif self._tls.is_open:
                self._decrypt(self._tls, data)
            else:
                self._shake_hands(self._tls, data)
        except (ConnectionBroken, ssl.SSLError) as error:
            self._end(error)

    def _shake_hands(self, tls: TLSLayer, data: bytes) -> None:
        tls.handshake(data)
        if tls.is_open:
            self._has_opened()

    def _decrypt(self, tls: TLSLayer, data: bytes) -> None:
        for plain in tls.decrypted(data):
            if not plain:
                self._end(None)
                return
            self.answer.feed(plain)

    def _read_proxy(self, held: bytearray, data: bytes) -> None:
        held += data
        head, end, rest = bytes(held).partition(b"\r\n\r\n")
        if not end and len(held) < _MOST_TUNNEL_BYTES:
            return
        line = head.partition(b"\r\n")[0]
        if not end or rest or line.split(b" ")[1:2] != [b"200"]:
            raise ConnectionBroken(f"the proxy does not connect to the server: {line[:200].decode(errors='replace')}")
        self._tunnel = None
        self._has_opened()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)
        if not self.lost.done():
            self.lost.set_result(None)

    # `answer.Flow`

    def pause(self) -> None:
        if not self.is_over:
            self._socket.pause_reading()

    def resume(self) -> None:
        if not self.is_over:
            self._socket.resume_reading()
