"""Runs an ASGI application on a TCP port with TLS, inside the running event loop; several in one process if wanted.

uvicorn's protocol does the HTTP; its `Server` is not used: it takes over signals and wakes up ten times a second.
Before: the composition root. After: `protocol.Connection`, then the application.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import format_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

from kcp.aio.clock import Clock
from kcp.apiserver.listening import bind, descriptors
from kcp.apiserver.tls import ServedTLS
from kcp.apiserver.tls import ServingError as ServingError
from kcp.apiserver.tls import TLSFiles as TLSFiles

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from kcp.apiserver.protocol import Connection

log = logging.getLogger(__name__)

ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingConfig:
    host: str = "127.0.0.1"
    """Address to listen on; "" or "::" for all."""
    port: int = 6443
    """0 takes a free one."""
    tls: TLSFiles | None = None
    """None: plain HTTP."""
    external_host: str = ""
    """Host name in `ServerHandle.url`; default `host`."""
    port_flag: str = "--secure-port"
    """Named in the error of a port in use."""
    keep_alive_s: float = 120.0
    """An idle connection is closed after this long; longer than Go's clients and ours keep theirs (90 s)."""
    head_bytes: int = 1 << 20
    """Largest request line with headers. Source: net/http DefaultMaxHeaderBytes."""
    head_s: float = 32.0
    """Longest time a request's head may take. Source: kube-apiserver's ReadHeaderTimeout."""
    linger_s: float = 0.5
    """Time for a client to read an early answer before its connection is reset. Source: net/http, rstAvoidanceDelay."""
    stall_s: float = 60.0
    """Longest time for a client to make room for more of its answer, some 48 KiB: a watch that nobody reads ends with its connection."""
    handshake_s: float = 10.0
    """Longest time for a TLS handshake. Source: net/http's default in kube-apiserver."""
    connections: int = 0
    """Most at a time, those still shaking hands aside; 0: as many as there are descriptors, but for some that the process needs itself."""
    grace_s: float = 0.3
    """At shutdown, time for running requests to end by themselves; then streams are ended, then tasks cancelled after as long again."""


@dataclass(slots=True, eq=False)
class ServerHandle:
    """A listening server. `stop` it, or use it as an async context manager."""

    host: str
    port: int
    url: str
    _server: asyncio.AbstractServer = field(repr=False)
    _state: ServerState = field(repr=False)
    _grace_s: float = field(repr=False)
    tls: ServedTLS | None = field(default=None, repr=False)

    async def stop(self) -> None:
        """Take no more connections, let requests end, end streams, close everything: within three times `grace_s`. Idempotent."""
        self._server.close()
        for connection in self._connections():
            connection.shutdown()
        await self._wait_tasks()
        for connection in self._connections():
            connection.end_stream()
        await self._wait_tasks()
        for task in list(self._state.tasks):
            task.cancel()
        await self._wait_tasks()
        for connection in self._connections():
            connection.transport.abort()
        with suppress(TimeoutError):  # the peer of a closing connection may not answer
            async with asyncio.timeout(self._grace_s):
                await self._server.wait_closed()

    def _connections(self) -> list[Connection]:
        return list(cast("set[Connection]", self._state.connections))

    async def _wait_tasks(self) -> None:
        if self._state.tasks:
            await asyncio.wait(list(self._state.tasks), timeout=self._grace_s)

    def statistics(self) -> dict[str, int]:
        return {"connections": len(self._state.connections), "requests": len(self._state.tasks)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()


async def serve(app: ASGIApp, config: ServingConfig, *, clock: Clock) -> ServerHandle:
    """Listen and answer until the handle is stopped.

    Raises: ListenError (address in use, …), ServingError (certificate files).
    """
    context = ServedTLS(config.tls) if config.tls else None
    _spare_malloc_the_kernel()
    listener = bind(config.host, config.port, flag=config.port_flag)
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from kcp.apiserver.protocol import Connection, Limits

    settings = Config(
        app, log_config=None, access_log=False, lifespan="off", ws="none", http=Connection, proxy_headers=False, interface="asgi3",
        timeout_keep_alive=int(config.keep_alive_s),
    )  # fmt: skip
    settings.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    limits = Limits(
        config.keep_alive_s, config.head_bytes, config.head_s, config.linger_s, config.stall_s, config.connections or descriptors()
    )
    date = _DateHeader(loop, clock)
    server = await loop.create_server(
        lambda: Connection(settings, state, loop, limits, date, clock.now, context.authorities if context else None),
        sock=listener, ssl=context, backlog=1024,
        ssl_handshake_timeout=config.handshake_s if context else None, ssl_shutdown_timeout=config.grace_s if context else None,
    )  # fmt: skip
    port = listener.getsockname()[1]
    host = config.external_host or config.host or "localhost"
    netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ServerHandle(config.host, port, f"{'https' if context else 'http'}://{netloc}", server, state, config.grace_s, context)


def _spare_malloc_the_kernel() -> None:
    """Make malloc keep read buffers instead of asking the kernel for each: freeing one large block raises its mmap threshold.

    uvloop's TLS reads into a new 256 KiB buffer each time, which is above glibc's first threshold of 128 KiB: mmap, mremap and munmap
    for every request halve the throughput (measured: 34,000 instead of 65,000 GET/s). Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    bytes(1 << 20)


class _DateHeader:
    """The `date` line, formatted once a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._second = -1
        self._line = b""

    def __call__(self) -> bytes:
        second = int(self._loop.time())
        if second != self._second:
            self._second = second
            self._line = f"date: {format_datetime(self._clock.now(), usegmt=True)}\r\n".encode()
        return self._line
