"""`HttpTransport`: requests to a server over HTTP(S).

Nothing is taken from the environment: proxies only as the kubeconfig says. Of a request's cost most is the kernel's: see docs/adr/0014 for
what was measured. Before: `rest.Client`, made by `kubeconfig.connect`. After: `pool`, `connection`, the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kcp.aio.clock import Clock, SystemClock
from kcp.client.connection import Connection, Sending
from kcp.client.credentials import Credentials
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.faults import broken
from kcp.client.requesthead import BODILESS, head, target_of
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.streams.ways import Duplex

if TYPE_CHECKING:
    from kcp.client.pool import Pool

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What is the same done twice. Source: RFC 9110 section 9.2.2."""


class HttpTransport:
    """Connections to one server, reused. Made without touching the network; opened by the first request, in its event loop."""

    def __init__(self, endpoint: Endpoint, *, timeouts: Timeouts | None = None, clock: Clock | None = None) -> None:
        self._endpoint = endpoint
        self._timeouts = timeouts or Timeouts()
        self._credentials = Credentials(endpoint, clock or SystemClock())
        self._opened: Pool | None = None
        self._is_closed = False
        root = urlsplit(endpoint.root_url)
        self._host = root.netloc.rpartition("@")[2]
        self._is_relayed = bool(endpoint.proxy_url) and root.scheme == "http"
        """Through a proxy that reads each request; one for HTTPS reads nothing but the first line of a connection."""

    @property
    def host(self) -> str:
        """Name and port of the server."""
        return self._endpoint.host

    async def request(self, request: RawRequest) -> RawResponse:
        due_s = asyncio.get_running_loop().time() + self._timeouts.request_s
        sending = Sending(await self._message(request), due_s, is_head_only=request.method == "HEAD")
        pool = self._pool()
        try:
            connection = await _exchange(pool, request.method, sending)
        except (TimeoutError, OSError) as error:
            raise broken(error, self._endpoint) from error
        answer = connection.answer
        response = RawResponse(answer.status, answer.headers, answer.taken())
        pool.give_back(connection)
        if response.status == 401:
            self._credentials.refused()
        return response

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        sending = Sending(await self._message(request), None, is_head_only=request.method == "HEAD", in_parts=True)
        pool = self._pool()
        try:
            connection = await _exchange(pool, request.method, sending)
        except (TimeoutError, OSError) as error:
            raise broken(error, self._endpoint) from error
        try:
            answer, parts = connection.answer, self._parts(connection)
            if answer.status == 401:
                self._credentials.refused()
            body = b"" if answer.status == 200 else b"".join([part async for part in parts])
            yield RawResponse(answer.status, answer.headers, body), parts
        finally:
            pool.give_back(connection)

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        """By a connection of its own. Raises TransportError."""
        from kcp.client.upgrade import opened

        headers = await self._headers(request)
        async with AsyncExitStack() as stack:
            connecting = opened(self._endpoint, self._made().context(), request, headers, connect_s=self._timeouts.connect_s)
            try:
                response, wire = await stack.enter_async_context(connecting)
            except (TimeoutError, OSError) as error:
                raise broken(error, self._endpoint) from error
            if response.status == 401:
                self._credentials.refused()
            yield response, wire

    async def close(self) -> None:
        """Break off what is under way, too."""
        self._is_closed = True
        if self._opened is not None:
            await self._opened.close()

    async def _parts(self, connection: Connection) -> AsyncIterator[bytes]:
        try:
            while part := await connection.answer.part():
                yield part
        except OSError as error:
            raise broken(error, self._endpoint) from error

    async def _message(self, request: RawRequest) -> bytes:
        """Head and body. Raises TransportError where a header cannot be sent."""
        target = target_of(request)
        headers = await self._headers(request)
        if self._is_relayed:
            from kcp.client.pool import proxy_authorization

            target = f"{self._endpoint.root_url}{target}"
            if authorization := proxy_authorization(self._endpoint.proxy_url):
                headers.append(("proxy-authorization", authorization))
        if request.body or request.method not in BODILESS:
            headers.append(("content-length", str(len(request.body))))
        return head(request.method, target, self._host, headers) + request.body

    async def _headers(self, request: RawRequest) -> list[tuple[str, str]]:
        headers = [*request.headers.items(), *request.repeated, *self._endpoint.impersonation]
        if (authorization := await self._credentials.authorization()) and "authorization" not in request.headers:
            headers.append(("authorization", authorization))
        return headers

    def _pool(self) -> Pool:
        if self._is_closed:
            raise TransportError("the client is closed", where=self._endpoint.server)
        return self._made()

    def _made(self) -> Pool:
        if self._opened is None:
            from kcp.client.pool import Pool

            self._opened = Pool(self._endpoint, self._timeouts)
        return self._opened


async def _exchange(pool: Pool, method: str, sending: Sending) -> Connection:
    """Send it, and wait for what is wanted of the answer: by an idle connection if there is one.

    A server may close that just when the request is on its way. What can be sent again is, by a new one.
    Raises: OSError, ssl.SSLError, TimeoutError, TransportError.
    """
    if (connection := pool.spare()) is not None:
        try:
            return await connection.ask(sending)
        except TimeoutError:
            raise
        except OSError:
            if connection.answer.has_begun or method not in _REPEATABLE:
                raise
    async with asyncio.timeout_at(sending.due_s):
        connection = await pool.open()
    return await connection.ask(sending)
