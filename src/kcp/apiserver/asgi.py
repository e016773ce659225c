"""The ASGI application: from scope and messages to Request, from Response to messages, and streams that end when their client does.

Before: the HTTP server (`serving`), in-process transports. After: the filters.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from kcp.apimachinery.errors import BadRequest, RequestEntityTooLarge, ServiceUnavailable, UnsupportedMediaType
from kcp.apiserver.filters import status_response
from kcp.apiserver.request import Handler, Request, Response
from kcp.streams.ways import BrokenStream

log = logging.getLogger(__name__)

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 3 * 1024 * 1024
"""Source: k8s.io/apiserver/pkg/server/config.go, MaxRequestBodyBytes."""
_DIGITS_OF_LIMIT = len(str(MAX_BODY_BYTES))

PEER_EXTENSION = "tls"
USER_EXTENSION = "kcp.user"
"""In `scope["extensions"]`: who asks, set by in-process transports only; no server that takes requests from sockets ever sets it."""


class App:
    """ASGI 3. `shutdown` ends the open watches and refuses what comes later."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._streams: set[asyncio.Timeout] = set()
        self.is_stopping = False
        self._requests = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(scope, receive, send)
            return
        self._requests += 1
        if self.is_stopping:
            await _send(send, status_response(ServiceUnavailable("the server is shutting down, please retry", retry_after_s=1)))
            return
        request = _request(scope, receive)
        response = await self._handler(request)
        if response.upgrade is not None:
            await self._hand_over(response, receive, send)
        elif response.stream is None:
            await _send(send, response)
        else:
            await self._send_stream(response, receive, send)

    async def _send_stream(self, response: Response, receive: Receive, send: Send) -> None:
        """Pass the stream on until it ends, its client goes away or the server stops; the iterator is closed in every case.

        A stream that fails gets no last chunk, so that its client sees a broken answer; the HTTP server logs the error.
        """
        assert response.stream is not None
        is_whole = False
        async with asyncio.TaskGroup() as group:
            try:
                async with asyncio.timeout(None) as interruption:
                    self._streams.add(interruption)
                    listener = group.create_task(_until_gone(receive, interruption))
                    await _pump(response, response.stream, send)
                is_whole = True
            except TimeoutError:
                is_whole = not listener.done()  # interrupted: by the server's stop, unless the listener saw the client go
            finally:
                self._streams.discard(interruption)
                listener.cancel()
        if is_whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _hand_over(self, response: Response, receive: Receive, send: Send) -> None:
        """The connection is the upgrade's until it returns or the server stops."""
        assert response.upgrade is not None
        head = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        wire = _Wire(receive, send)
        try:
            async with asyncio.timeout(None) as interruption:
                self._streams.add(interruption)
                await response.upgrade(wire)
        except (TimeoutError, BrokenStream) as ended:
            log.debug("an upgraded connection ended: %s", ended or "the server stops")
        finally:
            self._streams.discard(interruption)
        await wire.close()

    async def shutdown(self) -> None:
        """End open streams with a proper last chunk; answer new requests 503. The streams have been told when this returns."""
        self.is_stopping = True
        for interruption in list(self._streams):
            _interrupt(interruption)

    def statistics(self) -> dict[str, int]:
        return {"requests": self._requests, "open_streams": len(self._streams)}


class _Wire:
    """A connection that was upgraded, as a `Duplex`: bodies without end in both directions; the request's may end before."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_ended = self._is_closed = False

    async def read(self) -> bytes:
        while not self._is_ended:
            message = await self._receive()
            self._is_ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
            if data := message.get("body"):
                return bytes(data)
        return b""

    async def write(self, data: bytes) -> None:
        if self._is_closed or self._is_ended:
            raise BrokenStream("the connection has ended")
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pump(response: Response, stream: AsyncIterator[bytes], send: Send) -> None:
    try:
        await send(_start(response))
        async for chunk in stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


async def _until_gone(receive: Receive, interruption: asyncio.Timeout) -> None:
    """Wait for the client to go away, then interrupt its stream."""
    while (await receive())["type"] != "http.disconnect":
        pass
    _interrupt(interruption)


def _interrupt(interruption: asyncio.Timeout) -> None:
    """End the block under `interruption` with TimeoutError, in this turn of the loop; nothing if it has ended already."""
    try:
        interruption.reschedule(0.0)
    except RuntimeError:
        return  # it is ending by itself


async def _lifespan(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        raise ValueError(f"this server speaks HTTP only, not {scope['type']}")
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return


def _request(scope: MutableMapping[str, Any], receive: Receive) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    repeated = None if len(headers) == len(scope["headers"]) else _repeated(headers, scope["headers"])

    async def read_body() -> bytes:
        return await _read_body(headers, receive)

    request = Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, read_body)
    request.repeated = repeated
    if client := scope.get("client"):
        request.peer_address = client[0]
    extensions = scope.get("extensions")
    if extensions:
        if (user := extensions.get(USER_EXTENSION)) is not None:
            request.user = user
        elif (tls := extensions.get(PEER_EXTENSION)) is not None:
            request.peer_subject = tls.get("peer_subject")
            request.peer_proxy = tls.get("peer_proxy")
            request.peer_fault = tls.get("peer_fault", "")
    return request


def _repeated(headers: dict[str, str], raw: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """All values of every header that came more than once.

    `Impersonate-Group` and `Impersonate-Extra-*` all count: in `headers` they are joined by line ends, which no value has.
    """
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    found = {name: several for name, several in values.items() if len(several) > 1}
    headers.update((name, "\n".join(several)) for name, several in found.items() if name.startswith("impersonate-"))
    return found


async def _read_body(headers: dict[str, str], receive: Receive) -> bytes:
    """The whole body, decompressed. Raises RequestEntityTooLarge, UnsupportedMediaType, and BadRequest where the client breaks off."""
    if len(length := headers.get("content-length", "")) >= _DIGITS_OF_LIMIT and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the client broke off before the end of the body")
        if chunk := message.get("body"):
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding in ("identity", ""):
        return body
    if encoding != "gzip":
        raise UnsupportedMediaType(f"the body of the request was in an unknown Content-Encoding {encoding}: only gzip is read")
    return _gunzip(body)


def _gunzip(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not valid gzip: {error}") from error
    if len(data) > MAX_BODY_BYTES:
        raise _too_large()
    if not unpacker.eof:
        raise BadRequest("the body is not valid gzip: it ends early")
    return data


def _too_large() -> RequestEntityTooLarge:
    """Source: k8s.io/apimachinery/pkg/api/errors/errors.go, NewRequestEntityTooLargeError."""
    return RequestEntityTooLarge(f"Request entity too large: limit is {MAX_BODY_BYTES}")


_WITHOUT_BODY = (204, 304)
_JSON_HEADER = (b"content-type", b"application/json")
_PRIVATE = (b"cache-control", b"no-cache, private")
"""Of whatever does not say otherwise. Source: k8s.io/apiserver/pkg/endpoints/filters/cachecontrol.go."""


def _head(response: Response) -> list[tuple[bytes, bytes]]:
    head = [_JSON_HEADER if response.content_type == "application/json" else (b"content-type", response.content_type.encode("latin-1"))]
    if not response.headers:
        head.append(_PRIVATE)
        return head
    is_private = True
    for name, value in response.headers:
        head.append((name.encode("latin-1"), value.encode("utf-8")))
        is_private = is_private and name != "cache-control"
    if is_private:
        head.append(_PRIVATE)
    return head


def _start(response: Response) -> Message:
    return {"type": "http.response.start", "status": response.status, "headers": _head(response)}


async def _send(send: Send, response: Response) -> None:
    if response.status in _WITHOUT_BODY:  # a Content-Type or length here would overwrite those of what the client has cached
        head = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in response.headers]
    else:
        head = _head(response)
        head.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": head})
    await send({"type": "http.response.body", "body": response.body})
