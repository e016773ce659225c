"""Fault switches of a simulated cluster: what a client meets when the cluster's API is killed, paused, cut off, slow or out of space.

    kill       connections are refused; inside nothing is answered: what runs stays as it is, and goes on at restore
    pause      connections are accepted, nothing is answered, inside neither
    partition  like pause for clients outside, while the cluster goes on working inside
    slow       clients outside get every answer and every event late, in order
    fill       writes fail for want of space, reads go on
    skew       the clock of the cluster goes wrong by so much: what it stamps and what it counts from stamps is wrong

`FaultSwitch` is the state; `FaultyApp` stands in front of the server, `FaultyTransport` in front of clients in the same process,
`FillableStore` in front of the store. Before: `cluster`, `control`. After: the real thing, untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from kcp.aio.clock import Clock
from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError, upgrade
from kcp.storage.around import StoreAround
from kcp.storage.interface import Revision, Store, StoreFull
from kcp.streams.ways import Duplex

T = TypeVar("T")

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class Fault(StrEnum):
    NONE = "none"
    KILL = "kill"
    PAUSE = "pause"
    PARTITION = "partition"
    SLOW = "slow"
    FILL = "fill"
    SKEW = "skew"


@dataclass(frozen=True, slots=True)
class FaultState:
    fault: Fault = Fault.NONE
    latency_s: float = 0.0
    """Of `slow`, for each answer."""
    skew_s: float = 0.0
    """Of `skew`: how far the cluster's clock is ahead; negative: behind."""


class FaultSwitch:
    """One fault at a time; setting another replaces it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = FaultState()
        self._changed = asyncio.Event()
        self._cuts: set[asyncio.Timeout] = set()

    def set(self, fault: Fault, *, latency_s: float = 0.0, skew_s: float = 0.0) -> None:
        self.state = FaultState(fault, latency_s if fault is Fault.SLOW else 0.0, skew_s if fault is Fault.SKEW else 0.0)
        self._changed.set()
        self._changed = asyncio.Event()
        if fault is Fault.KILL:
            now = asyncio.get_running_loop().time()
            for cut in list(self._cuts):
                cut.reschedule(now)

    @property
    def is_killed(self) -> bool:
        return self.state.fault is Fault.KILL

    async def wait_change(self) -> None:
        """Until it is set once more."""
        await self._changed.wait()

    def restore(self) -> None:
        self.set(Fault.NONE)

    def latency_s(self, *, inside: bool) -> float:
        return 0.0 if inside else self.state.latency_s

    async def wait_open(self, *, inside: bool) -> None:
        """Wait while nothing is answered. Args: inside: for the cluster's own controllers, whom a partition does not touch."""
        silent = (Fault.PAUSE, Fault.KILL) if inside else (Fault.PAUSE, Fault.PARTITION)
        while self.state.fault in silent:
            await self._changed.wait()

    def check_alive(self) -> None:
        """Raises: TransportError where a connection would be refused."""
        if self.is_killed:
            hint = f"it was killed; bring it back with: kcp sim restore {self.name}"
            raise TransportError(f"simulated cluster {self.name}: connection refused: {hint}", where=self.name)

    async def until_killed(self, waiting: Awaitable[T]) -> T:
        """The result of `waiting`, unless the cluster is killed before. Raises: TransportError."""
        self.check_alive()
        try:
            async with asyncio.timeout(None) as cut:
                self._cuts.add(cut)
                try:
                    return await waiting
                finally:
                    self._cuts.discard(cut)
        except TimeoutError as ended:
            raise TransportError(f"simulated cluster {self.name}: the connection broke", where=self.name) from ended


class SkewedClock:
    """The clock of a cluster, which may be set wrong. Durations are right: only what time it is is not."""

    def __init__(self, inner: Clock, switch: FaultSwitch) -> None:
        self._inner = inner
        self._switch = switch

    def now(self) -> datetime:
        return self._inner.now() + timedelta(seconds=self._switch.state.skew_s)

    def monotonic(self) -> float:
        return self._inner.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class FaultyTransport:
    """A transport to a simulated cluster in the same process, through its faults."""

    def __init__(self, inner: Transport, switch: FaultSwitch, clock: Clock, *, inside: bool = False) -> None:
        self._inner = inner
        self._switch = switch
        self._clock = clock
        self._inside = inside

    async def request(self, request: RawRequest) -> RawResponse:
        await self._wait()
        response = await self._inner.request(request)
        await self._answer()
        return response

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        await self._wait()
        async with self._inner.stream(request) as (response, chunks):
            async with aclosing(self._chunks(chunks)) as passed:  # type: ignore[type-var]
                yield response, passed

    @asynccontextmanager
    async def upgrade(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, Duplex]]:
        """Faults meet its beginning; what goes on over it is not looked at."""
        await self._wait()
        async with upgrade(self._inner, request) as opened:
            yield opened

    async def _chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Each chunk as late as the fault makes it; broken off by a kill."""
        while True:
            try:
                chunk = await (anext(chunks) if self._inside else self._switch.until_killed(anext(chunks)))
            except StopAsyncIteration:
                return
            await self._wait()
            yield chunk

    async def _wait(self) -> None:
        if self._switch.state.fault is Fault.NONE:
            return
        latency_s = self._switch.latency_s(inside=self._inside)
        if latency_s:
            await self._clock.sleep(latency_s)
        await self._answer()

    async def _answer(self) -> None:
        """Wait until an answer may pass. Raises: TransportError where the connection is gone by now."""
        if self._switch.state.fault is Fault.NONE:
            return
        await self._switch.wait_open(inside=self._inside)
        self._switch.check_alive()

    async def close(self) -> None:
        await self._inner.close()


class FaultyApp:
    """An ASGI application behind pause, partition and slow. Kill is the listener's: see `cluster`."""

    def __init__(self, app: ASGIApp, switch: FaultSwitch, clock: Clock) -> None:
        self._app = app
        self._switch = switch
        self._clock = clock

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._wait()

        async def send_late(message: Message) -> None:
            await self._switch.wait_open(inside=False)
            await send(message)

        async def send_event_late(message: Message) -> None:
            await self._wait()
            await send(message)

        await self._app(scope, receive, send_event_late if "watch=" in scope.get("query_string", b"").decode("latin-1") else send_late)

    async def _wait(self) -> None:
        await self._switch.wait_open(inside=False)
        latency_s = self._switch.latency_s(inside=False)
        if latency_s:
            await self._clock.sleep(latency_s)


class FillableStore(StoreAround):
    """A store that can be out of space: creations and updates fail, deletions and reads go on, as etcd under its NOSPACE alarm."""

    def __init__(self, inner: Store, switch: FaultSwitch) -> None:
        super().__init__(inner)
        self._switch = switch

    def _check_space(self) -> None:
        if self._switch.state.fault is Fault.FILL:
            raise StoreFull(f"simulated cluster {self._switch.name}: no space left; make room with: kcp sim restore {self._switch.name}")

    async def create(self, key: bytes, value: bytes) -> Revision:
        self._check_space()
        return await self._inner.create(key, value)

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        self._check_space()
        return await self._inner.update(key, value, expected)
