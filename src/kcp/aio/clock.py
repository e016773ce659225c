"""Time as an argument. Nothing else in this project reads a clock or sleeps.

`SystemClock` is real time; `VirtualClock` moves only when a test says so, and runs every sleeper that has become due, in order;
`LoopClock` is the time of the event loop, which may be virtual as well (`virtualloop`).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The current instant, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations."""

    async def sleep(self, seconds: float) -> None:
        """Wait; zero or less yields once."""


class SystemClock:
    """Real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))


_START = datetime(2026, 1, 1, tzinfo=UTC)


class LoopClock:
    """The clock of whatever loop runs: virtual time in `virtualloop.VirtualLoop`. Args: start: what the loop's zero is called."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))


class VirtualClock:
    """Time that moves only by `advance`; sleepers wake in the order of their deadlines."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or _START
        self._elapsed_s = 0.0
        self._sequence = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._start.timestamp() + self._elapsed_s, UTC)

    def monotonic(self) -> float:
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._sequence), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time forward, waking sleepers one deadline at a time and letting woken tasks run between."""
        target = self._elapsed_s + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, future = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, due)
            if not future.done():
                future.set_result(None)
                await settle()
        self._elapsed_s = target
        await settle()


async def settle(rounds: int = 50) -> None:
    """Let every task that can run, run: for tests under virtual time."""
    for _ in range(rounds):
        await asyncio.sleep(0)


def rfc3339(instant: datetime) -> str:
    """Seconds precision, as `metav1.Time` prints it.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    return utc.isoformat(timespec="seconds")[:19] + "Z"


def rfc3339_micro(instant: datetime) -> str:
    """Microsecond precision, as `metav1.MicroTime` prints it (leases, events).

    >>> rfc3339_micro(datetime(1, 1, 1, 0, 0, 2, tzinfo=UTC))
    '0001-01-01T00:00:02.000000Z'
    """
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:26] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """An RFC 3339 instant, any fraction length that Python reads. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
