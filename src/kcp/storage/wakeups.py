"""When the waiting watchers of a resource are woken: at once while they are few; many, in portions with a pause after each.

Waking a watcher costs a task's turn, a TLS record and a system call, which is most of what an event costs. In the pause further changes
gather, so that a burst reaches two hundred watchers as one write each and not as one per change; and requests get their turn of the loop.
Before: `subscriptions`. After: nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor

if TYPE_CHECKING:
    from kcp.storage.subscriptions import Subscription

_AT_ONCE = 24
"""Watchers that are woken without a pause."""
_PORTION = 256
"""Watchers woken in one turn of the loop."""
_PAUSE_S = 80e-6
"""Pause for each watcher woken, at least; it is as long as their turns took where that is longer, as on a busy machine."""
_PAUSE_BETWEEN_S = 40e-6
"""The same while others are still to be woken: changes gather for those all the while."""


class Wakeups:
    """Those to be woken, in the order in which something came for them."""

    def __init__(self, clock: Clock, tasks: Supervisor) -> None:
        self._clock = clock
        self._tasks = tasks
        self._due: deque[Subscription] = deque()
        self._is_pausing = False

    def add(self, subscription: Subscription) -> None:
        """`subscription` waits, and has something to take."""
        self._due.append(subscription)

    def flush(self) -> None:
        """Wake who is due, as far as it is not too early. Call after each batch of changes."""
        if self._due and not self._is_pausing and (woken := self._wake()) > _AT_ONCE:
            self._is_pausing = True
            self._tasks.spawn(self._pause(woken), name="pause between wake-ups")

    async def _pause(self, woken: int) -> None:
        monotonic = self._clock.monotonic
        try:
            while woken > _AT_ONCE:
                since = monotonic()
                await self._clock.sleep(0)  # those woken have their turns
                each_s = _PAUSE_BETWEEN_S if self._due else _PAUSE_S
                await self._clock.sleep(max(woken * each_s, monotonic() - since))
                woken = self._wake()
        finally:
            self._is_pausing = False

    def _wake(self) -> int:
        due = self._due
        portion = min(len(due), _PORTION)
        for _ in range(portion):
            due.popleft().wake()
        return portion
