"""Not more requests than agreed: a token bucket before a transport.

Before: `cli.workload_syncer` (--qps, --burst). After: the transport it wraps.
Source: k8s.io/client-go/util/flowcontrol/throttle.go NewTokenBucketRateLimiter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from kcp.aio.clock import Clock
from kcp.client.transport import RawRequest, RawResponse, Transport, upgrade
from kcp.streams.ways import Duplex


class Bucket:
    """`burst` tokens at most, `qps` more every second; whoever finds none waits for the next, in order of arrival."""

    def __init__(self, qps: float, burst: int, clock: Clock) -> None:
        self._qps, self._burst, self._clock = qps, burst, clock
        self._tokens, self._counted_s = float(burst), clock.monotonic()

    async def take(self) -> None:
        now_s = self._clock.monotonic()
        self._tokens = min(self._tokens + (now_s - self._counted_s) * self._qps, float(self._burst))
        self._counted_s = now_s
        self._tokens -= 1
        if self._tokens < 0:  # a debt: later callers owe more, and so come later
            await self._clock.sleep(-self._tokens / self._qps)


class PacedTransport:
    """Implements `client.transport.Transport`. Opening a stream counts once; what comes through it does not."""

    def __init__(self, transport: Transport, bucket: Bucket) -> None:
        self._transport, self._bucket = transport, bucket

    async def request(self, request: RawRequest) -> RawResponse:
        await self._bucket.take()
        return await self._transport.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._stream(request)

    @asynccontextmanager
    async def _stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        await self._bucket.take()
        async with self._transport.stream(request) as opened:
            yield opened

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        await self._bucket.take()
        async with upgrade(self._transport, request) as opened:
            yield opened

    async def close(self) -> None:
        await self._transport.close()
