"""Connections that change their protocol: one request on a connection of its own, and then whatever was agreed on.

`connection` reads answers of HTTP only. Before: `http.HttpTransport`. After: the network.
Source: RFC 9110 section 7.8.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httptools

from kcp.client.endpoint import Endpoint
from kcp.client.requesthead import BODILESS, head, target_of
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.streams.ways import BrokenStream, Duplex

_MOST_HEAD = 256 * 1024
_MOST_BODY = 1 << 20
_ANSWER_WITHIN_S = 60.0
_READ_BYTES = 64 * 1024


@asynccontextmanager
async def opened(
    endpoint: Endpoint, tls: ssl.SSLContext, request: RawRequest, headers: Iterable[tuple[str, str]], *, connect_s: float
) -> AsyncIterator[tuple[RawResponse, Duplex]]:
    """See `transport.UpgradingTransport.upgrade`. Raises TransportError, OSError, TimeoutError."""
    parts = urlsplit(endpoint.root_url)
    if endpoint.proxy_url:
        raise TransportError(f"{endpoint.server}: connections that change their protocol do not go through the proxy {endpoint.proxy_url}")
    secure = parts.scheme == "https"
    async with asyncio.timeout(connect_s):
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=tls if secure else None,
            server_hostname=(endpoint.tls_server_name or parts.hostname) if secure else None, limit=_MOST_HEAD,
        )  # fmt: skip
    try:
        length = [("content-length", str(len(request.body)))] if request.body or request.method not in BODILESS else []
        writer.write(head(request.method, target_of(request), parts.netloc, [*headers, *length]) + request.body)
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            await writer.drain()
            response = await _answer(reader, endpoint.server)
        wire = _Socket(reader, writer)
        if response.status != 101:
            await wire.close()
        yield response, wire
    finally:
        writer.close()
        with suppress(OSError, ssl.SSLError):  # it is closed, however
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, server: str) -> RawResponse:
    """The whole answer, or its head where the status is 101. Raises TransportError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise TransportError(f"{server}: the connection ended before an answer", where=server) from error
    answer = _Answer()
    with suppress(httptools.HttpParserUpgrade):
        answer.parser.feed_data(head)
    if answer.parser.get_status_code() != 101:
        while not answer.is_whole and len(answer.body) < _MOST_BODY and (data := await reader.read(_READ_BYTES)):
            answer.parser.feed_data(data)
    return RawResponse(answer.parser.get_status_code(), answer.headers, bytes(answer.body))


class _Answer:
    """What the parser calls."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_whole = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_whole = True


class _Socket:
    """A `Duplex` of a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError as error:
            raise BrokenStream(f"the connection broke: {error}") from error

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise BrokenStream("the connection is closed")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise BrokenStream(f"the connection broke: {error}") from error

    async def close(self) -> None:
        self._writer.close()
