"""`HttpTransport`: requests to a server over HTTP(S), on aiohttp.

Nothing is taken from the environment: proxies only as the kubeconfig says. aiohttp is imported with the first request, because it costs
150 ms and in-process clients never need it. Before: `rest.Client`, made by `kubeconfig.connect`. After: the network.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from kcp.aio.clock import Clock, SystemClock
from kcp.client.credentials import Credentials
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.tls import make_context
from kcp.client.transport import RawRequest, RawResponse, TransportError, UntrustedServer
from kcp.streams.ways import Duplex

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import ClientResponse, ClientSession


class HttpTransport:
    """Connections to one server, reused. Made without touching the network; opened by the first request, in its event loop."""

    def __init__(
        self, endpoint: Endpoint, *, timeouts: Timeouts | None = None, clock: Clock | None = None, max_connections: int = 0
    ) -> None:
        """Args: max_connections: 0 for no limit. Every watch holds one."""
        self._endpoint = endpoint
        self._root = endpoint.root_url
        self._timeouts = timeouts or Timeouts()
        self._max_connections = max_connections
        self._credentials = Credentials(endpoint, clock or SystemClock())
        self._opened: ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        """For connections that change their protocol."""
        self._closed = False

    @property
    def host(self) -> str:
        """Name and port of the server."""
        return self._endpoint.host

    async def request(self, request: RawRequest) -> RawResponse:
        async with self._exchange(request, total_s=self._timeouts.request_s) as response:
            return RawResponse(response.status, _headers(response), await self._read(response))

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        async with self._exchange(request, total_s=None) as response:
            if response.status != 200:
                yield RawResponse(response.status, _headers(response), await self._read(response)), _nothing()
                return
            yield RawResponse(response.status, _headers(response), b""), self._chunks(response)

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        """By a connection of its own. Raises TransportError."""
        from kcp.client.upgrade import opened

        headers = [*request.headers.items(), *request.repeated, *self._endpoint.impersonation]
        if (authorization := await self._credentials.authorization()) and "authorization" not in request.headers:
            headers.append(("Authorization", authorization))
        if self._tls is None:
            self._tls = make_context(self._endpoint)
        async with AsyncExitStack() as stack:
            connecting = opened(self._endpoint, self._tls, request, headers, connect_s=self._timeouts.connect_s)
            try:
                response, wire = await stack.enter_async_context(connecting)
            except (TimeoutError, OSError) as error:
                raise self._broken(error) from error
            if response.status == 401:
                self._credentials.refused()
            yield response, wire

    async def close(self) -> None:
        self._closed = True
        if self._opened is not None:
            await self._opened.close()

    async def _read(self, response: ClientResponse) -> bytes:
        import aiohttp

        try:
            return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._broken(error) from error

    async def _chunks(self, response: ClientResponse) -> AsyncIterator[bytes]:
        import aiohttp

        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(error) from error

    @asynccontextmanager
    async def _exchange(self, request: RawRequest, *, total_s: float | None) -> AsyncIterator[ClientResponse]:
        import aiohttp
        from yarl import URL

        headers = dict(request.headers)
        if authorization := await self._credentials.authorization():
            headers.setdefault("authorization", authorization)
        target = f"{self._root}{request.path}"
        if request.query:
            target = f"{target}?{urlencode(request.query)}"
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=self._timeouts.connect_s)
        try:
            response = await self._session().request(
                request.method, URL(target, encoded=True), data=request.body or None, timeout=timeout,
                headers=[*headers.items(), *request.repeated, *self._endpoint.impersonation],
                allow_redirects=False, proxy=self._endpoint.proxy_url or None, server_hostname=self._endpoint.tls_server_name or None,
            )  # fmt: skip
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._broken(error) from error
        try:
            if response.status == 401:
                self._credentials.refused()
            yield response
        finally:
            # A body read to its end has given its connection back; any other is of no use to the next request.
            response.close()

    def _session(self) -> ClientSession:
        if self._closed:
            raise TransportError("the client is closed", where=self._endpoint.server)
        if self._opened is None:
            import aiohttp

            secure = self._root.startswith("https:")
            connector = aiohttp.TCPConnector(
                limit=self._max_connections, ssl=make_context(self._endpoint) if secure else False, socket_factory=self._socket,
                keepalive_timeout=90,
            )  # fmt: skip
            self._opened = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, read_bufsize=1 << 18,
                skip_auto_headers=("Accept-Encoding", "Content-Type"),
            )  # fmt: skip
        return self._opened

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """A socket that notices a peer that vanished: a watch may be silent for a minute, and a partition sends no RST."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option, value in (("TCP_KEEPIDLE", self._timeouts.keepalive_idle_s), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        return made

    def _broken(self, error: BaseException) -> TransportError:
        server = self._root
        kind = UntrustedServer if isinstance(_cause(error), ssl.SSLCertVerificationError) else TransportError
        return kind(f"{server}: {_explain(error, self._endpoint)}", where=server)


def _headers(response: ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk


def _cause(error: BaseException) -> BaseException:
    """What lies behind an error of aiohttp."""
    found: BaseException = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    return found


def _explain(error: BaseException, endpoint: Endpoint) -> str:
    """What went wrong and what to do about it."""
    import aiohttp

    source = f" in {endpoint.origin}" if endpoint.origin else ""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _explain_certificate(cause, source, given=bool(endpoint.ca_pem))
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
        return f"the host name {urlsplit(endpoint.server).hostname} cannot be resolved; check the server address{source}"
    if isinstance(cause, ConnectionRefusedError):
        return f"connection refused: nothing listens there; start the server, or correct its address{source}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or cause}); is this an https port, and does the server accept the client certificate{source}?"
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return f"no answer in time; check that the address{source} is right and not behind a firewall"
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return f"this is not a server address; correct it{source}"
    return f"the connection broke ({type(error).__name__}: {error})" if str(error) else f"the connection broke ({type(error).__name__})"


def _explain_certificate(cause: ssl.SSLCertVerificationError, source: str, *, given: bool) -> str:
    why = cause.verify_message
    if cause.verify_code == 62:  # X509_V_ERR_HOSTNAME_MISMATCH
        return f"the server's certificate is for another name ({why}); use a name it is for, or tls-server-name{source}"
    if cause.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return "the server's certificate has expired; renew it on the server"
    remedy = "the certificate-authority data belongs to another server, replace it" if given else "set certificate-authority-data"
    return f"the server's certificate is signed by an unknown authority ({why}); {remedy}{source}"
