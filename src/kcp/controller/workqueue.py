"""`WorkQueue`: which keys to look at next.

Before: informer handlers and timers add keys. After: the workers of `controller.Controller` take them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from kcp.aio.clock import Clock
from kcp.aio.metrics import Histogram
from kcp.aio.turns import take_turn
from kcp.controller.ratelimit import RateLimiter, default_rate_limiter

K = TypeVar("K", bound=Hashable)

BUCKETS_S = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Of the histograms; upstream's, without those that no disk or network reaches.
Source: k8s.io/component-base/metrics/prometheus/workqueue/metrics.go."""


class ShutDown(Exception):
    """The queue is shut and empty; a worker may go home."""


class _Stop:
    """Stands in the queue behind its last key."""


_STOP = _Stop()


_PASSED_BY = 64
"""So many others a key of the background lets go first, at most."""


class WorkQueue(Generic[K]):
    """Keys to work on, first come first served, with client-go's four promises:

    1. A key added several times before it is taken is taken once.
    2. A key is never with two workers at once.
    3. A key added while it is being worked on is taken again after `done`.
    4. After `shut_down` nothing new is accepted, and what is queued is still given out.

    Keys of the background stand behind all others: after a restart every object there is wants to be looked at again, which must not keep
    what happens now waiting, in this queue or in any other. Something that happens to such a key moves it to the others.

    Delays (`add_after`, `add_rate_limited`) and the background need `run`, on the given clock; of several delays of one key the earliest
    counts. Source: k8s.io/client-go/util/workqueue/{queue,delaying_queue,rate_limiting_queue}.go; sigs.k8s.io/controller-runtime
    pkg/controller/priorityqueue (low priority for what the first list has).
    """

    def __init__(self, *, clock: Clock, rate_limiter: RateLimiter | None = None) -> None:
        self._clock = clock
        self._limiter = rate_limiter or default_rate_limiter(clock)
        self._ready: asyncio.Queue[K | _Stop] = asyncio.Queue()  # bounded by the number of keys: each stands in it once
        self._background: OrderedDict[K, None] = OrderedDict()
        self._has_background = asyncio.Event()
        self._gap = asyncio.Event()
        self._given = self._let_in_at = 0
        """Keys that workers took, and how many that must be until one of the background may come."""
        self._dirty: dict[K, float] = {}
        """Key → since when it is to be taken."""
        self._dirty_behind: set[K] = set()
        """Keys in work that are to come again, in the background."""
        self._processing: dict[K, float] = {}
        """Key → since when it is with a worker."""
        self._since: dict[K, float] = {}
        """Key → since when it waits to be done well."""
        self.waits = Histogram(BUCKETS_S)
        """How long keys stood in the queue."""
        self.works = Histogram(BUCKETS_S)
        """How long workers had them."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._shut = False
        self._delayed: list[tuple[float, int, K]] = []
        self._deadlines: dict[K, float] = {}
        self._sequence = itertools.count()
        self._changed = asyncio.Event()
        self._sleeper: asyncio.Task[None] | None = None
        self._counts = {"adds": 0, "retries": 0}

    def add(self, key: K, *, is_background: bool = False) -> None:
        if self._shut:
            return
        if key in self._dirty:
            if not is_background:
                self._bring_forward(key)
            return
        self._counts["adds"] += 1
        now = self._dirty[key] = self._clock.monotonic()
        self._since.setdefault(key, now)
        self._idle.clear()
        if key not in self._processing:
            self._put(key, is_background=is_background)
        elif is_background:
            self._dirty_behind.add(key)

    def _bring_forward(self, key: K) -> None:
        self._dirty_behind.discard(key)
        if key in self._background:
            del self._background[key]
            self._ready.put_nowait(key)

    def _put(self, key: K, *, is_background: bool) -> None:
        if is_background and not self._shut:
            self._background[key] = None
            self._has_background.set()
        else:
            self._ready.put_nowait(key)

    async def get(self) -> K:
        """Wait for a key; call `done` when finished with it. Raises ShutDown."""
        while True:
            key = await self._ready.get()
            if isinstance(key, _Stop):
                self._ready.put_nowait(key)
                if self._ready.qsize() == 1:
                    raise ShutDown
                continue
            self._given += 1
            if self._ready.empty() or self._given >= self._let_in_at:
                self._gap.set()
            now = self._processing[key] = self._clock.monotonic()
            self.waits.observe(now - self._dirty.pop(key, now))
            return key

    def done(self, key: K) -> None:
        """The worker is finished with `key`, well or not."""
        started = self._processing.pop(key, None)
        if started is not None:
            self.works.observe(self._clock.monotonic() - started)
        if key in self._dirty:
            is_background = key in self._dirty_behind
            self._dirty_behind.discard(key)
            self._put(key, is_background=is_background)
        elif not self._dirty and not self._processing:
            self._idle.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Add later. A delay of a key that already waits longer is shortened, never lengthened."""
        if self._shut:
            return
        if delay_s <= 0:
            self.add(key)
            return
        deadline = self._clock.monotonic() + delay_s
        if self._deadlines.get(key, deadline + 1) <= deadline:
            return
        self._deadlines[key] = deadline
        heapq.heappush(self._delayed, (deadline, next(self._sequence), key))
        if self._delayed[0][0] == deadline:
            self._changed.set()
            if self._sleeper is not None:
                self._sleeper.cancel()

    def add_rate_limited(self, key: K) -> None:
        """Add after the delay that the failures of this key earn."""
        self._counts["retries"] += 1
        self.add_after(key, self._limiter.when_s(key))

    def hurry(self) -> None:
        """End every delay now and forget all failures: what they waited for has happened."""
        self._limiter.reset()
        waiting = list(self._deadlines)
        self._deadlines.clear()
        self._delayed.clear()
        for key in waiting:
            self.add(key)

    def forget(self, key: K) -> None:
        """The key works: its next failure starts from the shortest delay."""
        self._limiter.forget(key)
        if key in self._dirty:
            self._since[key] = self._dirty[key]
        else:
            self._since.pop(key, None)

    def oldest_s(self) -> float:
        """Age of the oldest key that was added and is not done well yet; 0 when there is none."""
        return self._clock.monotonic() - min(self._since.values()) if self._since else 0.0

    def in_work_s(self) -> list[float]:
        """For how long each worker that works has been at its key."""
        now = self._clock.monotonic()
        return [now - started for started in self._processing.values()]

    def failures(self, key: K) -> int:
        return self._limiter.failures(key)

    async def run(self) -> None:
        """Move keys into the queue, delayed ones when they are due and those of the background one by one, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed_background(), name="workqueue background")
            while True:
                wait_s = self._move_due()
                if wait_s is None:
                    await self._changed.wait()
                    continue
                self._sleeper = group.create_task(self._clock.sleep(wait_s), name="workqueue delay")
                await asyncio.wait((self._sleeper,))
                self._sleeper = None

    async def _feed_background(self) -> None:
        while True:
            await self._has_background.wait()
            await take_turn()
            await self._wait_gap()
            if self._background:
                self._ready.put_nowait(self._background.popitem(last=False)[0])
            if not self._background:
                self._has_background.clear()

    async def _wait_gap(self) -> None:
        """Until no other key waits for a worker, or enough of them went first."""
        self._let_in_at = self._given + _PASSED_BY
        while not self._ready.empty() and self._given < self._let_in_at:
            self._gap.clear()
            await self._gap.wait()

    def _move_due(self) -> float | None:
        """Add what is due. Returns seconds until the next, None if nothing waits."""
        self._changed.clear()
        now = self._clock.monotonic()
        while self._delayed:
            deadline, _, key = self._delayed[0]
            if self._deadlines.get(key) != deadline:
                heapq.heappop(self._delayed)  # shortened since: stands further up as well
                continue
            if deadline > now:
                return deadline - now
            heapq.heappop(self._delayed)
            del self._deadlines[key]
            self.add(key)
        return None

    def shut_down(self) -> None:
        """Accept nothing more; waiting delays are dropped."""
        if not self._shut:
            self._shut = True
            self._delayed.clear()
            self._deadlines.clear()
            while self._background:
                self._ready.put_nowait(self._background.popitem(last=False)[0])
            self._ready.put_nowait(_STOP)

    async def wait_idle(self) -> None:
        """Wait until nothing is queued and nothing is worked on (delays do not count); after `shut_down`: until all is drained."""
        await self._idle.wait()

    def __len__(self) -> int:
        """Keys ready to be taken, now or when it is the background's turn."""
        return self._ready.qsize() + len(self._background) - (1 if self._shut else 0)

    @property
    def pressing(self) -> int:
        """Keys that wait for nothing but a worker: without those of the background."""
        return self._ready.qsize()

    def statistics(self) -> dict[str, int]:
        return {
            "depth": len(self),
            "background": len(self._background),
            "processing": len(self._processing),
            "delayed": len(self._deadlines),
            **self._counts,
        }
