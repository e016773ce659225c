"""How events get to a file or a server: at once with somebody waiting, or collected and sent later.

Before: `auditor`. After: `logfile`, `webhook`.
Source: k8s.io/apiserver/plugin/pkg/audit/{buffered/buffered,truncate/truncate}.go, pkg/server/options/audit.go (modes).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.apiserver.audit.config import Delivery
from kcp.apiserver.audit.policy import Level
from kcp.apiserver.audit.record import Event
from kcp.client.pacing import Bucket

log = logging.getLogger(__name__)

_MOST_UNDER_WAY = 64
"""Batches that a slow server may hold; then the buffer fills, and says so."""


class Sink(Protocol):
    """Where events end up."""

    @property
    def name(self) -> str: ...

    def post(self, events: Sequence[Event]) -> asyncio.Future[bool]:
        """Begin to write these, in order after those before; whether that worked. A failure has been told when the answer is there."""

    async def close(self) -> None:
        """Once what was posted is written, or given up."""


class Backend(Protocol):
    """A sink and how events get there."""

    @property
    def is_strict(self) -> bool:
        """Whether a request that cannot be recorded is to be refused."""

    def submit(self, event: Event) -> asyncio.Future[bool] | None:
        """Take an event, without waiting; what is given back is for whoever has to wait until it is written."""

    async def run(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class Losses:
    """Events that were lost, by what lost them; told once each time it begins, not for each of thousands."""

    counts: dict[str, int] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def add(self, plugin: str, count: int, why: str) -> None:
        self.counts[plugin] = self.counts.get(plugin, 0) + count
        if plugin not in self._told:
            self._told.add(plugin)
            log.error("audit events are lost (%s): %s", plugin, why)

    def over(self, plugin: str) -> None:
        """It works again."""
        self._told.discard(plugin)


def backend(sink: Sink, delivery: Delivery, losses: Losses, clock: Clock) -> Backend:
    if delivery.mode == "batch":
        return Batching(sink, delivery, losses, clock)
    return Blocking(sink, delivery, losses)


def fitted(event: Event, delivery: Delivery, losses: Losses) -> Event | None:
    """An event that is not larger than it may be; None where none can be made of it."""
    if not delivery.truncate or len(event.raw) <= delivery.max_event_bytes:
        return event
    if event.level >= Level.REQUEST:
        event = event.cut()
        if len(event.raw) <= delivery.max_event_bytes:
            return event
    losses.add("truncate", 1, "event is too large even after truncating")
    return None


class Blocking:
    """One event at a time, and answers wait for it."""

    def __init__(self, sink: Sink, delivery: Delivery, losses: Losses) -> None:
        self._sink, self._delivery, self._losses = sink, delivery, losses
        self.is_strict = delivery.mode == "blocking-strict"

    def submit(self, event: Event) -> asyncio.Future[bool] | None:
        fit = fitted(event, self._delivery, self._losses)
        return None if fit is None else self._sink.post((fit,))

    async def run(self) -> None:
        """Nothing to do in the background."""

    async def close(self) -> None:
        await self._sink.close()


class Batching:
    """Events wait in a buffer; what does not fit is lost, so that requests never wait."""

    is_strict = False

    def __init__(self, sink: Sink, delivery: Delivery, losses: Losses, clock: Clock) -> None:
        self._sink, self._delivery, self._losses, self._clock = sink, delivery, losses, clock
        self._buffer: deque[Event] = deque()
        self._bucket = Bucket(delivery.throttle_qps, delivery.throttle_burst, clock) if delivery.throttle else None
        self._under_way = asyncio.Semaphore(_MOST_UNDER_WAY)
        self._wanted = 1
        """Events that `_arrived` waits for."""
        self._arrived = asyncio.Event()

    def submit(self, event: Event) -> asyncio.Future[bool] | None:
        fit = fitted(event, self._delivery, self._losses)
        if fit is None:
            return None
        if len(self._buffer) >= self._delivery.buffer_size:
            self._losses.add("buffered", 1, "audit buffer queue blocked")
            return None
        self._losses.over("buffered")
        self._buffer.append(fit)
        if len(self._buffer) >= self._wanted:
            self._arrived.set()
        return None

    async def run(self) -> None:
        """Send a batch when it is full, or when its first event has waited long enough. A slow sink does not hold up the next batch."""
        while True:
            await self._wait(1)
            if self._delivery.max_wait_s:
                try:
                    await within(self._clock, self._delivery.max_wait_s, self._wait(self._delivery.max_size))
                except TimeoutError:
                    pass  # what is there goes out
            if self._bucket is not None:
                await self._bucket.take()
            await self._under_way.acquire()
            if not self._buffer:  # the server stops, and `close` has sent everything
                return
            self._sink.post(self._next()).add_done_callback(lambda _: self._under_way.release())

    async def _wait(self, count: int) -> None:
        while len(self._buffer) < count:
            self._wanted = count
            self._arrived.clear()
            await self._arrived.wait()

    def _next(self) -> Sequence[Event]:
        """The next batch; with `truncate`, not more bytes than allowed."""
        buffer, given = self._buffer, self._delivery
        batch = [buffer.popleft()]
        size = len(batch[0].raw)
        while buffer and len(batch) < given.max_size:
            size += len(buffer[0].raw)
            if given.truncate and size > given.max_batch_bytes:
                break
            batch.append(buffer.popleft())
        return batch

    async def close(self) -> None:
        while self._buffer:
            self._sink.post(self._next())
        await self._sink.close()
