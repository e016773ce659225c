"""Priority levels at work: who has which seats, who waits, and who is next.

Each level has a nominal limit, its part of the server's seats. What it lends (`lendablePercent`) others may take while it does not need it,
up to what they may borrow; what it does not lend is always there for it. Upstream decides every ten seconds what each level may borrow;
here it is decided with each request.

Requests that find no seat wait in queues. A flow has a hand of few queues out of many, so that one that sends too much fills its own hand
and leaves almost every other flow a queue without it. Of the queues, the one that was served least goes first.
Before: `fairness`. After: nothing.
Source: KEP-1040; k8s.io/apiserver/pkg/util/flowcontrol/{apf_controller.go,fairqueuing/queueset/queueset.go}, pkg/util/shufflesharding.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.clock import Clock

CONCURRENCY_LIMIT, QUEUE_FULL, TIME_OUT = "concurrency-limit", "queue-full", "time-out"
"""Why a request is refused."""


@dataclass(frozen=True, slots=True)
class Queuing:
    """How those wait who find no seat."""

    queues: int
    hand_size: int
    length: int

    def hand(self, entropy: int) -> list[int]:
        """The queues of a flow, different ones. Source: shufflesharding.go, Dealer.

        >>> Queuing(queues=8, hand_size=3, length=50).hand(2**64 - 1)
        [7, 2, 3]
        """
        hand: list[int] = []
        dealt: list[int] = []
        for drawn in range(self.hand_size):
            entropy, card = divmod(entropy, self.queues - drawn)
            dealt.append(card)
            for earlier in reversed(dealt[:-1]):
                if card >= earlier:
                    card += 1
            hand.append(card)
        return hand


@dataclass(frozen=True, slots=True)
class LevelSpec:
    """What a PriorityLevelConfiguration says."""

    is_exempt: bool
    shares: int
    lendable_percent: int
    borrowing_percent: int | None
    """None: as much as there is."""
    queuing: Queuing | None
    """None: those who find no seat are refused."""

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> LevelSpec:
        is_exempt = spec.get("type") == "Exempt"
        part = spec.get("exempt" if is_exempt else "limited") or {}
        queuing = (part.get("limitResponse") or {}).get("queuing")
        made = Queuing(queuing["queues"], queuing["handSize"], queuing["queueLengthLimit"]) if queuing else None
        shares = part.get("nominalConcurrencyShares", 0 if is_exempt else 30)
        return cls(is_exempt, shares, part.get("lendablePercent") or 0, part.get("borrowingLimitPercent"), made)


@dataclass(slots=True, eq=False)
class Waiting:
    """One request in a queue."""

    turn: asyncio.Future[bool]
    """True: it has its seat; False: it waited too long."""


@dataclass(slots=True, eq=False)
class _Queue:
    start: float
    """Virtual time at which its next request is due: what it was given so far, and no credit for when it was empty."""
    waiting: deque[Waiting] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class Level:
    """One priority level; lives on when its object changes."""

    name: str
    spec: LevelSpec
    nominal: int = 0
    lower: int = 0
    """Seats that are kept for it, whatever the others want."""
    upper: int = 0
    executing: int = 0
    """Requests at work, each in one seat."""
    waiting: int = 0
    queues: dict[int, _Queue] = field(default_factory=dict)
    """Those in which somebody waits, by number."""
    _virtual: float = 0.0

    def divide(self, seats: int, all_shares: int) -> None:
        """Its limits, of the server's seats. Source: apf_controller.go, finishQueueSetReconfigsLocked."""
        spec = self.spec
        self.nominal = math.ceil(seats * spec.shares / all_shares) if all_shares else 0
        self.lower = self.nominal - round(self.nominal * spec.lendable_percent / 100)
        self.upper = self.nominal + (seats if spec.borrowing_percent is None else round(self.nominal * spec.borrowing_percent / 100))

    def enqueue(self, hand: Iterable[int], length: int, waiting: Waiting) -> bool:
        """Into the shortest queue of the hand; False where even that one is full."""
        number = min(hand, key=lambda each: len(self.queues[each].waiting) if each in self.queues else 0)
        queue = self.queues.get(number)
        if queue is None:
            queue = self.queues[number] = _Queue(self._virtual)
        elif len(queue.waiting) >= length:
            return False
        queue.waiting.append(waiting)
        self.waiting += 1
        return True

    def next(self) -> Waiting | None:
        """Takes the head of the queue that was served least."""
        if not self.queues:
            return None
        number, queue = min(self.queues.items(), key=lambda entry: entry[1].start)
        taken = queue.waiting.popleft()
        self.waiting -= 1
        self._virtual = queue.start
        queue.start += 1.0
        if not queue.waiting:
            del self.queues[number]
        return taken

    def leave(self, waiting: Waiting) -> None:
        """Out of its queue, unserved; nothing for one that is no longer there."""
        for number, queue in self.queues.items():
            if waiting in queue.waiting:
                queue.waiting.remove(waiting)
                self.waiting -= 1
                if not queue.waiting:
                    del self.queues[number]
                return


class Seats:
    """The seats of one server, divided among its levels."""

    def __init__(self, seats: int, clock: Clock, wait_s: float) -> None:
        """Args: wait_s: how long a request may wait in its queue."""
        self.total = seats
        self._clock = clock
        self._wait_s = wait_s
        self.levels: dict[str, Level] = {}
        self._waiting = 0
        """Of all levels: while nobody waits, a seat that gets free is nobody's business."""

    def configure(self, specs: Mapping[str, LevelSpec]) -> None:
        """What the objects say now. A level that is gone stays until its last request is through."""
        for name, spec in specs.items():
            if (level := self.levels.get(name)) is not None:
                level.spec = spec
            else:
                self.levels[name] = Level(name, spec)
        for name in [name for name, level in self.levels.items() if name not in specs and not (level.executing or level.waiting)]:
            del self.levels[name]
        shares = sum(level.spec.shares for level in self.levels.values())
        for level in self.levels.values():
            level.divide(self.total, shares)
        self._dispatch()

    def has_room(self, level: Level) -> bool:
        if level.executing < level.lower:
            return True
        if level.executing >= level.upper:
            return level.executing == 0 and level.spec.queuing is None  # as upstream, whose limit of zero lets them through one by one
        limited = [each for each in self.levels.values() if not each.spec.is_exempt]
        taken = sum(max(each.executing, each.lower) for each in limited)
        return taken < max(self.total, sum(each.lower for each in limited))

    async def take(self, level: Level, entropy: int) -> str:
        """A seat of the level, now or after waiting for it: "", or why there is none. `free` gives it back."""
        if not level.waiting and self.has_room(level):
            level.executing += 1
            return ""
        queuing = level.spec.queuing
        if queuing is None:
            return CONCURRENCY_LIMIT
        waiting = Waiting(asyncio.get_running_loop().create_future())
        if not level.enqueue(queuing.hand(entropy), queuing.length, waiting):
            return QUEUE_FULL
        return "" if await self._turn(level, waiting) else TIME_OUT

    def free(self, level: Level) -> None:
        level.executing -= 1
        if self._waiting:
            self._dispatch()

    async def _turn(self, level: Level, waiting: Waiting) -> bool:
        self._waiting += 1
        try:
            async with asyncio.TaskGroup() as group:
                alarm = group.create_task(self._alarm(waiting))
                has_seat = await waiting.turn
                alarm.cancel()
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.result():
                self.free(level)  # its seat came in the moment in which its client went
            raise
        finally:
            self._waiting -= 1
            level.leave(waiting)
        return has_seat

    async def _alarm(self, waiting: Waiting) -> None:
        await self._clock.sleep(self._wait_s)
        if not waiting.turn.done():
            waiting.turn.set_result(False)

    def _dispatch(self) -> None:
        """Give free seats to those who wait, one level after the other."""
        is_served = True
        while is_served:
            is_served = False
            for level in self.levels.values():
                if level.waiting and self.has_room(level) and (waiting := level.next()) is not None:
                    is_served = True
                    if not waiting.turn.done():
                        level.executing += 1
                        waiting.turn.set_result(True)
