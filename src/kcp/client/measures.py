"""A transport that counts the requests of a client, under the names that dashboards of Kubernetes ask for.

Before: the syncer's process. After: another transport. Source: k8s.io/component-base/metrics/prometheus/restclient/metrics.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kcp.aio.clock import Clock
from kcp.aio.metrics import Meter, counter, histogram
from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError, upgrade
from kcp.streams.ways import Duplex

REQUESTS = counter("rest_client_requests_total", "Number of HTTP requests, by status code, method, and host.", ("code", "method", "host"))
DURATION = histogram("rest_client_request_duration_seconds", "Request latency in seconds, by verb and host.", ("verb", "host"))
FAMILIES = (REQUESTS, DURATION)
_ERROR = "<error>"
"""Upstream's code of a request that got no answer."""


@runtime_checkable
class Located(Protocol):
    """A transport that knows where it leads."""

    @property
    def host(self) -> str: ...


@dataclass(frozen=True, slots=True)
class MeasuredTransport:
    inner: Transport
    meter: Meter
    clock: Clock

    @property
    def host(self) -> str:
        """Of a server whose address can change the present one."""
        return self.inner.host if isinstance(self.inner, Located) else ""

    async def request(self, request: RawRequest) -> RawResponse:
        started = self.clock.monotonic()
        try:
            response = await self.inner.request(request)
        except TransportError:
            self._count(request, _ERROR)
            raise
        self.meter.observe(DURATION, self.clock.monotonic() - started, request.method, self.host)
        self._count(request, str(response.status))
        return response

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        """Counted when it is opened: it lasts."""
        is_open = False
        try:
            async with self.inner.stream(request) as opened:
                is_open = True
                self._count(request, str(opened[0].status))
                yield opened
        except TransportError:
            if not is_open:
                self._count(request, _ERROR)
            raise

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        async with upgrade(self.inner, request) as opened:
            self._count(request, str(opened[0].status))
            yield opened

    async def close(self) -> None:
        await self.inner.close()

    def _count(self, request: RawRequest, code: str) -> None:
        self.meter.count(REQUESTS, code, request.method, self.host)
