"""`AsgiTransport`: calls an ASGI 3 application in the same process, without sockets, TLS or HTTP parsing.

The caller's identity travels as `scope["extensions"]["kcp.user"]`; a server that takes requests from sockets never has that key, so an
application may trust it. Before: in-process controllers, simulated clusters, tests. After: `apiserver.asgi.App`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlencode

from kcp.aio.supervisor import Supervisor
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.streams.ways import BrokenStream, Duplex, Way

USER_EXTENSION = "kcp.user"
"""Key in `scope["extensions"]` under which the identity stands."""

Message: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_BUFFERED_BYTES = 1 << 20
"""Bytes of a stream that wait for the reader before the application is made to wait."""


class AsgiTransport:
    """Requests run in the caller's own task; a stream runs the application in a task that ends with the stream."""

    def __init__(self, app: AsgiApp, user: object, *, where: str = "the server in this process") -> None:
        """Args: user: who asks, a `kcp.registry.backend.UserInfo` where the application is a kcp server."""
        self._app = app
        self._user = user
        self._where = where

    async def request(self, request: RawRequest) -> RawResponse:
        exchange = _Exchange(request)
        await self._app(self._scope(request), exchange.receive, exchange.collect)
        if not exchange.complete:
            raise TransportError("the server ended without a full answer", where=self._where)
        return RawResponse(exchange.status, exchange.headers, b"".join(exchange.chunks))

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        exchange = _Exchange(request)
        async with Supervisor(f"{request.method} {request.path}") as tasks:
            tasks.spawn(self._run(request, exchange), name=f"stream {request.path}")
            await exchange.wait_readable()
            if not exchange.status:
                raise TransportError("the server ended without an answer", where=self._where)
            if exchange.status == 200:
                yield RawResponse(200, exchange.headers, b""), self._read(exchange)
            else:
                body = b"".join([chunk async for chunk in self._read(exchange)])
                yield RawResponse(exchange.status, exchange.headers, body), _nothing()

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        """The application runs, and the connection lives, as long as the block."""
        exchange = _Upgrade(request)
        async with Supervisor(f"{request.method} {request.path}") as tasks:
            tasks.spawn(self._run(request, exchange), name=f"upgrade {request.path}")
            await exchange.wait_readable()
            if not exchange.status:
                raise TransportError("the server ended without an answer", where=self._where)
            if exchange.status == 101:
                yield RawResponse(101, exchange.headers, b""), exchange
            else:
                body = b"".join([chunk async for chunk in self._read(exchange)])
                yield RawResponse(exchange.status, exchange.headers, body), exchange

    async def _run(self, request: RawRequest, exchange: _Exchange) -> None:
        try:
            await self._app(self._scope(request), exchange.receive, exchange.pass_on)
        finally:
            exchange.end()

    def _read(self, exchange: _Exchange) -> AsyncIterator[bytes]:
        return _Chunks(exchange, self._where)

    def _scope(self, request: RawRequest) -> dict[str, Any]:
        path, _, query = request.path.partition("?")
        given = (*request.headers.items(), *request.repeated)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given]
        if request.body:
            headers.append((b"content-length", str(len(request.body)).encode()))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "https",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(request.query).encode() if request.query else query.encode(),
            "headers": headers,
            "client": None,
            "server": None,
            "extensions": {USER_EXTENSION: self._user},
            "state": {},
        }

    async def close(self) -> None:
        """Nothing to close: the application is not ours."""


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


@dataclass(frozen=True, slots=True)
class _Chunks:
    """What comes of an answer, as it comes.

    No generator: one that is left halfway is closed by a task that the garbage collector starts at its own time, and what is played twice
    under virtual time would not be the same.
    """

    exchange: _Exchange
    where: str

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.exchange.read()
        if chunk:
            return chunk
        if not self.exchange.complete:
            raise TransportError("the server broke off the answer", where=self.where)
        raise StopAsyncIteration


class _Exchange:
    """The two ends of one request: what the application receives and sends, and what the caller reads."""

    def __init__(self, request: RawRequest) -> None:
        self._body: bytes | None = request.body
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: deque[bytes] = deque()
        self.complete = False
        """Whether the application has sent its last chunk."""
        self._ended = False
        self._buffered = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.get_running_loop().create_future()  # the caller goes away by cancelling
        return {"type": "http.disconnect"}

    async def collect(self, message: Message) -> None:
        """`send` of a plain request: keep everything."""
        if message["type"] == "http.response.start":
            self._start(message)
            return
        if body := message.get("body"):
            self.chunks.append(body)
        self.complete = not message.get("more_body", False)

    async def pass_on(self, message: Message) -> None:
        """`send` of a stream: hand over to the reader, and wait while it is behind."""
        await self.collect(message)
        self._buffered += len(message.get("body") or b"")
        _wake(self._reader)
        while self._buffered > _BUFFERED_BYTES and not self._ended:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer

    def _start(self, message: Message) -> None:
        self.status = message["status"]
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message.get("headers") or ()}

    def end(self) -> None:
        """The application has returned."""
        self._ended = True
        _wake(self._reader)

    async def wait_readable(self) -> None:
        """Wait for the start of the answer."""
        while not self.status and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader

    async def read(self) -> bytes | None:
        """All bytes that are there, waiting for some; None at the end."""
        while not self.chunks:
            if self.complete or self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        data = b"".join(self.chunks) if len(self.chunks) > 1 else self.chunks[0]
        self.chunks.clear()
        self._buffered = 0
        _wake(self._writer)
        return data


class _Upgrade(_Exchange):
    """An exchange that goes on as a `Duplex`: what is written here arrives as the request's body."""

    def __init__(self, request: RawRequest) -> None:
        super().__init__(request)
        self._upward = Way()

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": self.status == 101}
        data = await self._upward.get()
        return {"type": "http.request", "body": data, "more_body": True} if data else {"type": "http.disconnect"}

    def end(self) -> None:
        super().end()
        self._upward.abandon()

    async def write(self, data: bytes) -> None:
        if self._ended:
            raise BrokenStream("the connection has ended")
        await self._upward.put(data)

    async def read(self) -> bytes:
        return await super().read() or b""

    async def close(self) -> None:
        self._upward.end()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
