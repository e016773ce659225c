"""`FollowingTransport`: connections by a kubeconfig that may change while a program runs.

Credentials are renewed in place, and a cluster that was set up anew comes back with another authority or address. The file is read again
when the server cannot be reached, or not trusted, or refuses the credentials; if it says something else, the connections are made anew.
Before: `kubeconfig.KubeConfigEntry.connect(follow=True)`, for programs that run for long. After: `http.HttpTransport`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kcp.aio.clock import Clock, SystemClock
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.http import HttpTransport
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.streams.ways import Duplex

log = logging.getLogger(__name__)

_LOOK_PERIOD_S = 1.0
_UNAUTHORIZED = 401


class FollowingTransport:
    """Implements `client.transport.Transport`. The request that meets the fault still fails; the next one goes the new way."""

    def __init__(
        self, endpoint: Endpoint, read: Callable[[], Endpoint | None], *, clock: Clock | None = None, timeouts: Timeouts | None = None
    ) -> None:
        """Args: read: what the file says now; None while it cannot be read."""
        self._endpoint = endpoint
        self._read = read
        self._clock = clock or SystemClock()
        self._timeouts = timeouts
        self._inner = self._made(endpoint)
        self._looked_s = float("-inf")

    @property
    def host(self) -> str:
        """Name and port of the server that is asked now."""
        return self._endpoint.host

    async def request(self, request: RawRequest) -> RawResponse:
        try:
            response = await self._inner.request(request)
        except TransportError:
            await self._look()
            raise
        if response.status == _UNAUTHORIZED:
            await self._look()
        return response

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        try:
            async with self._inner.stream(request) as (response, chunks):
                if response.status == _UNAUTHORIZED:
                    await self._look()
                yield response, chunks
        except TransportError:
            await self._look()
            raise

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        try:
            async with self._inner.upgrade(request) as (response, wire):
                if response.status == _UNAUTHORIZED:
                    await self._look()
                yield response, wire
        except TransportError:
            await self._look()
            raise

    async def close(self) -> None:
        await self._inner.close()

    def _made(self, endpoint: Endpoint) -> HttpTransport:
        return HttpTransport(endpoint, clock=self._clock, timeouts=self._timeouts)

    async def _look(self) -> None:
        """Read the file, at most once a second; connections made by what it said before are closed, which ends their watches."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_s < _LOOK_PERIOD_S:
            return
        self._looked_s = now_s
        found = self._read()
        if found is None or found == self._endpoint:
            return
        log.info("%s changed: connecting anew to %s", found.origin, found.root_url)
        left, self._inner, self._endpoint = self._inner, self._made(found), found
        await left.close()
