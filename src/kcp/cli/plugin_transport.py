"""A transport for commands that ask a few questions and end: the standard library's HTTP client, one connection, no event loop work.

aiohttp costs 150 ms to import, more than the rest of `kubectl ws` together. Requests here block, which a command that does nothing
meanwhile does not notice. When the connection fails, the full transport is asked, because it can say why.
Before: `plugin_session`. After: the network; `client.http` for errors.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlencode, urlsplit

from kcp.aio.clock import SystemClock
from kcp.client.credentials import Credentials
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.tls import make_context
from kcp.client.transport import RawRequest, RawResponse, TransportError

_CHUNK_BYTES = 1 << 16
_FAILURES = (OSError, http.client.HTTPException)


class BlockingTransport:
    """One kept-alive connection to one server. Implements `client.transport.Transport`."""

    def __init__(self, endpoint: Endpoint, *, timeouts: Timeouts | None = None) -> None:
        self._endpoint = endpoint
        self._timeouts = timeouts or Timeouts()
        self._credentials = Credentials(endpoint, SystemClock())
        self._connection: http.client.HTTPConnection | None = None
        self._secure: ssl.SSLContext | None = None

    async def request(self, request: RawRequest) -> RawResponse:
        try:
            response = await self._exchange(request)
            return RawResponse(response.status, _headers(response), response.read())
        except _FAILURES:
            return await self._ask_full_transport(request)

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        try:
            response = await self._exchange(request)
        except _FAILURES:
            failed = await self._ask_full_transport(RawRequest(request.method, request.path))
            yield failed, _nothing()
            return
        try:
            if response.status != 200:
                yield RawResponse(response.status, _headers(response), response.read()), _nothing()
            else:
                yield RawResponse(response.status, _headers(response), b""), _chunks(response)
        finally:
            self._drop()  # a body that was not read to its end spoils the connection

    async def close(self) -> None:
        self._drop()

    async def _exchange(self, request: RawRequest) -> http.client.HTTPResponse:
        headers = dict(request.headers)
        if authorization := await self._credentials.authorization():
            headers.setdefault("authorization", authorization)
        target = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        reused = self._connection is not None
        try:
            return self._send(request.method, target, headers, request.body)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._drop()
            if not reused or request.method not in ("GET", "PUT", "DELETE"):
                raise
            return self._send(request.method, target, headers, request.body)  # the server had closed an idle connection
        except _FAILURES:
            self._drop()
            raise

    def _send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.putrequest(method, target)
        for name, value in (*headers.items(), *self._endpoint.impersonation):
            self._connection.putheader(name, value)
        if body:
            self._connection.putheader("content-length", str(len(body)))
        self._connection.endheaders(body or None)
        return self._connection.getresponse()

    def _connect(self) -> http.client.HTTPConnection:
        url = urlsplit(self._endpoint.server)
        secure = url.scheme == "https"
        host, port = url.hostname or "", url.port or (443 if secure else 80)
        connection = self._open(host, port)
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            self._secure = self._secure or make_context(self._endpoint)
            connection.sock = self._secure.wrap_socket(connection.sock, server_hostname=self._endpoint.tls_server_name or host)
        connection.sock.settimeout(self._timeouts.request_s)
        return connection

    def _open(self, host: str, port: int) -> http.client.HTTPConnection:
        """A TCP connection to the server, through the proxy if there is one."""
        timeout_s = self._timeouts.connect_s
        if not self._endpoint.proxy_url:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        else:
            proxy = urlsplit(self._endpoint.proxy_url)
            connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=timeout_s)
            connection.set_tunnel(host, port)
        connection.connect()
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _ask_full_transport(self, request: RawRequest) -> RawResponse:
        """Try once more with the transport that explains failures. Writes are not repeated: a harmless read stands in for them."""
        from kcp.client.http import HttpTransport

        harmless = request if request.method == "GET" else RawRequest("GET", "/version")
        transport = HttpTransport(self._endpoint, timeouts=self._timeouts)
        try:
            response = await transport.request(harmless)
        finally:
            await transport.close()
        if harmless is request:
            return response
        server = self._endpoint.root_url
        raise TransportError(f"{server}: the connection broke during the request; see whether it was carried out", where=server)


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


async def _chunks(response: http.client.HTTPResponse) -> AsyncIterator[bytes]:
    while chunk := response.read1(_CHUNK_BYTES):
        yield chunk
