"""The connections to one server: opened when there is none to spare, kept for the next request, closed when nobody wants them for long.

Before: `http.HttpTransport`. After: `connection`, aiohappyeyeballs, which tries a host's addresses.
"""

from __future__ import annotations

import asyncio
import base64
import socket as sockets
import ssl
from collections import deque
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kcp.client.connection import Connection
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.tls import make_context
from kcp.client.transport import TransportError

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

_IDLE_S = 90.0
"""A connection that nobody used for so long is closed. Source: net/http/transport.go, DefaultTransport.IdleConnTimeout."""
_MOST_IDLE = 100
"""Further ones are closed at once. Source: net/http/transport.go, DefaultTransport.MaxIdleConns."""
_NEXT_ADDRESS_S = 0.25
"""Time for one address of a host before the next is tried beside it. Source: RFC 8305 section 5."""
_PORTS = {"https": 443, "http": 80}


@dataclass(slots=True)
class Pool:
    """One server's. Its sockets belong to the event loop that first asks for one."""

    endpoint: Endpoint
    timeouts: Timeouts
    _all: set[Connection] = field(default_factory=set)
    _idle: deque[Connection] = field(default_factory=deque)
    """The one used last is at the end, and goes first."""
    _tls: ssl.SSLContext | None = None
    _is_closed: bool = False

    def spare(self) -> Connection | None:
        """An idle connection, if there is one that the server has not closed."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_over:
                return connection
        return None

    async def open(self) -> Connection:
        """A new one. Raises OSError, ssl.SSLError, TimeoutError, TransportError."""
        self.check_open()
        scheme, host, port = self._place(self.endpoint.root_url, "this is not a server address; correct it")
        context = self.context() if scheme == "https" else None
        connection = await self._connected(host, port)
        try:
            if context is not None:
                if self.endpoint.proxy_url:
                    async with asyncio.timeout(self.timeouts.connect_s):
                        await connection.tunnel(_connect_request(host, port, self.endpoint.proxy_url))
                async with asyncio.timeout(self.timeouts.request_s):
                    await connection.secure(context, self.endpoint.tls_server_name or host)
            self.check_open()
        except BaseException:
            connection.abort()
            raise
        return connection

    def check_open(self) -> None:
        """Raises TransportError once it is closed."""
        if self._is_closed:
            raise TransportError("the client is closed", where=self.endpoint.server)

    def _place(self, url: str, complaint: str) -> tuple[str, str, int]:
        """Scheme, host and port. Raises TransportError."""
        try:
            parts = urlsplit(url)
            if parts.scheme in _PORTS and parts.hostname:
                return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
        except ValueError:
            pass  # of a port that is no number, or a host that is no name
        source = f" in {self.endpoint.origin}" if self.endpoint.origin else ""
        raise TransportError(f"{url}: {complaint}{source}", where=self.endpoint.server)

    def give_back(self, connection: Connection) -> None:
        """After its answer, complete or not."""
        if not connection.release(idle_until_s=asyncio.get_running_loop().time() + _IDLE_S):
            return
        self._idle.append(connection)
        if len(self._idle) > _MOST_IDLE:
            self._idle.popleft().close()

    def context(self) -> ssl.SSLContext:
        """Raises TransportError."""
        if self._tls is None:
            self._tls = make_context(self.endpoint)
        return self._tls

    async def close(self) -> None:
        """All of them, also those whose answers are still awaited."""
        self._is_closed = True
        self._idle.clear()
        closed = list(self._all)
        for connection in closed:
            if connection.answer.is_complete:
                connection.close()
            else:
                connection.abort()
        if closed:
            await asyncio.wait([connection.lost for connection in closed])

    async def _connected(self, host: str, port: int) -> Connection:
        """To the server, or to its proxy."""
        from aiohappyeyeballs import start_connection

        loop, named, proxy_context = asyncio.get_running_loop(), host, None
        if self.endpoint.proxy_url:
            scheme, named, port = self._place(self.endpoint.proxy_url, "this is not a proxy's address; correct it")
            proxy_context = ssl.create_default_context() if scheme == "https" else None
        async with asyncio.timeout(self.timeouts.connect_s):
            addresses = await _addresses(loop, named, port)
            socket = await start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, socket_factory=self._socket, loop=loop
            )  # fmt: skip
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), sock=socket, ssl=proxy_context, server_hostname=named if proxy_context is not None else None
                )
            except BaseException:
                socket.close()
                raise
        self._all.add(connection)
        connection.lost.add_done_callback(lambda _: self._all.discard(connection))
        return connection

    def _socket(self, address: AddrInfoType) -> sockets.socket:
        """A socket that notices a peer that vanished: a watch may be silent for a minute, and a partition sends no RST."""
        family, kind, protocol, _, _ = address
        made = sockets.socket(family, kind, protocol)
        made.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
        made.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        for option, value in (("TCP_KEEPIDLE", self.timeouts.keepalive_idle_s), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(sockets, option):
                made.setsockopt(sockets.IPPROTO_TCP, getattr(sockets, option), value)
        return made


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[AddrInfoType]:
    """Raises socket.gaierror."""
    try:
        version = ip_address(host).version
    except ValueError:
        try:
            return list(await loop.getaddrinfo(host, port, type=sockets.SOCK_STREAM))
        except UnicodeError as error:  # a part of it is longer than names can be
            raise sockets.gaierror(sockets.EAI_NONAME, str(error)) from error
    family = sockets.AF_INET if version == 4 else sockets.AF_INET6
    place = (host, port) if version == 4 else (host, port, 0, 0)
    return [(family, sockets.SOCK_STREAM, sockets.IPPROTO_TCP, "", place)]


def proxy_authorization(proxy_url: str) -> str:
    """For the user in a proxy's URL; "" for none."""
    proxy = urlsplit(proxy_url)
    if not proxy.username:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def _connect_request(host: str, port: int, proxy_url: str) -> bytes:
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {named} HTTP/1.1", f"Host: {named}"]
    if authorization := proxy_authorization(proxy_url):
        lines.append(f"Proxy-Authorization: {authorization}")
    return "\r\n".join((*lines, "", "")).encode()
