"""Deadlines of many waiting watches on one task: bookmarks and ends of watches, by the injected clock.

Before: `watches`. A watch costs a place in a heap, not a timer task of its own.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor

_MOST_CANCELLED = 1_000


class Alarm:
    """One deadline; `cancel` it when it no longer matters."""

    __slots__ = ("is_cancelled", "ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.ring = _silent  # lets go of whoever waited


def _silent() -> None:
    """A cancelled alarm."""


class Alarms:
    """Rings alarms at their time. The task lives only while alarms are set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks = Supervisor("alarms")
        self._ticker: asyncio.Task[None] | None = None
        self._due: list[tuple[float, int, Alarm]] = []
        self._sequence = itertools.count()
        self._cancelled = 0

    def set(self, at: float, ring: Callable[[], None]) -> Alarm:
        """Call `ring` once, as soon as `clock.monotonic()` reaches `at`."""
        alarm = Alarm(ring)
        heapq.heappush(self._due, (at, next(self._sequence), alarm))
        if self._due[0][2] is alarm:
            self._restart()
        return alarm

    def tidy(self) -> None:
        """Drop cancelled alarms, and the task with the last alarm. Call after `Alarm.cancel`."""
        due = self._due
        self._cancelled += 1
        if self._cancelled > _MOST_CANCELLED and self._cancelled * 2 > len(due):
            due[:] = [entry for entry in due if not entry[2].is_cancelled]
            heapq.heapify(due)
            self._cancelled = 0
        while due and due[0][2].is_cancelled:
            heapq.heappop(due)
        if not due:
            self._stop()

    def _restart(self) -> None:
        self._stop()
        self._ticker = self._tasks.spawn(self._tick(), name="alarms")

    def _stop(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    async def _tick(self) -> None:
        due = self._due
        while due:
            await self._clock.sleep(max(due[0][0] - self._clock.monotonic(), 0.0))
            now = self._clock.monotonic()
            while due and (due[0][2].is_cancelled or due[0][0] <= now):
                alarm = heapq.heappop(due)[2]
                if not alarm.is_cancelled:
                    alarm.ring()
        self._ticker = None

    def statistics(self) -> dict[str, int]:
        return {"alarms": len(self._due)}
