"""What a syncer knows of its own work: how much, how well, how long ago. One account for metrics and for health.

Before: the engine's controllers and the heartbeat tell it. After: `metrics`, `health`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.controller.controller import Controller, Outcome
from kcp.tmc.breaker import CircuitBreaker, State
from kcp.tmc.errors import TMCError
from kcp.tmc.syncer.metrics import Queue, SyncerMetrics

DOWN, UP = "kcp-to-cluster", "cluster-to-kcp"
"""Directions of a sync, as metrics name them."""

_SLOT_S = 60.0
_SLOTS = 5


@dataclass(slots=True)
class _Slot:
    number: int
    syncs: int = 0
    errors: int = 0


@dataclass(slots=True)
class Record:
    """Counts of one syncer; `metrics` gets the same."""

    clock: Clock
    metrics: SyncerMetrics | None = None
    syncs: int = 0
    """Objects looked at, well or not."""
    errors: int = 0
    last_sync_s: float | None = None
    """On the monotonic clock."""
    heartbeats: int = 0
    heartbeat_errors: int = 0
    last_heartbeat_s: float | None = None
    started_s: float | None = None
    is_standing_by: bool = False
    """Another syncer serves the target; this one would take over."""
    reachable: dict[str, bool] = field(default_factory=dict)
    """`kcp`, `cluster` → whether it answered last."""
    controllers: list[Controller] = field(default_factory=list)
    """Those of resources."""
    open_breakers: frozenset[str] = frozenset()
    """Operations whose circuit breaker is not closed."""
    worked: Callable[[], None] = lambda: None
    """Called whenever an object was looked at."""
    held: int = 0
    """Objects that waited when the watches were held, while they are."""
    _recent: deque[_Slot] = field(default_factory=lambda: deque(maxlen=_SLOTS))

    def stand_by(self, is_standing_by: bool) -> None:  # noqa: FBT001 - a callback's own shape
        self.is_standing_by = is_standing_by

    def hook(self, resource: str, direction: str) -> Callable[[Outcome], None]:
        """For a controller of this resource: counts each of its reconciles."""
        operation = "apply" if direction == DOWN else "status"

        def observe(outcome: Outcome) -> None:
            self.last_sync_s = self.clock.monotonic()
            failed = outcome.result in ("error", "terminal")
            self._count(failed=failed)
            self.worked()
            if self.metrics is not None:
                self.metrics.observe_sync(resource, direction, operation, outcome.duration_s, failed=failed)

        return observe

    def add_controller(self, resource: str, controller: Controller) -> None:
        self.controllers.append(controller)
        if self.metrics is not None:
            self.metrics.watch(resource, Queue(lambda: self._depth(resource), lambda: self._oldest_s(resource)))
            self.metrics.show_controllers(len(self.controllers))

    def observe_error(self, error: TMCError, resource: str) -> None:
        """An error that was reported on an object; those that are tried again at once are counted by `hook`."""
        if not error.retryable:
            self._count(failed=True)
        if self.metrics is not None:
            self.metrics.observe_error(resource, error)

    def observe_breaker(self, breaker: CircuitBreaker) -> None:
        """A circuit breaker became what it is."""
        held = self.open_breakers - {breaker.operation}
        self.open_breakers = held if breaker.state is State.CLOSED else held | {breaker.operation}
        if self.metrics is not None:
            self.metrics.observe_breaker(breaker)

    def hold(self, waiting: int) -> None:
        """The watches are not read for now, because so many objects wait; 0: they are again."""
        self.held = waiting
        if self.metrics is not None:
            self.metrics.observe_hold(waiting)

    def observe_drift(self, resource: str) -> None:
        """A copy was put right."""
        if self.metrics is not None:
            self.metrics.observe_drift(resource)

    def observe_projection(self, resource: str, origin: str, *, failed: bool) -> None:
        if self.metrics is not None:
            self.metrics.observe_projection(resource, origin, failed=failed)

    def observe_transformation(self, resource: str, *, failed: bool) -> None:
        if self.metrics is not None:
            self.metrics.observe_transformation(resource, failed=failed)

    def observe_connection(self, what: str, worked: bool) -> None:  # noqa: FBT001 - the answer is the measurement
        """Args: what: `heartbeat`, or the side that was asked: `kcp`, `cluster`."""
        if what == "heartbeat":
            self.heartbeats += worked
            self.heartbeat_errors += not worked
            if worked:
                self.last_heartbeat_s = self.clock.monotonic()
        self.reachable["kcp" if what == "heartbeat" else what] = worked
        if self.metrics is not None:
            self.metrics.observe_connection(what, worked)

    def close(self) -> None:
        """Its syncer has ended."""
        if self.metrics is not None:
            self.metrics.close()

    def backlog(self) -> int:
        """Objects that wait to be looked at."""
        return sum(controller.statistics()["depth"] for controller in self.controllers)

    def error_rate(self) -> float:
        """Share of failures among the syncs of the last minutes; 0 without any."""
        oldest = self._slot_number() - _SLOTS
        recent = [slot for slot in self._recent if slot.number > oldest]
        syncs = sum(slot.syncs for slot in recent)
        return sum(slot.errors for slot in recent) / syncs if syncs else 0.0

    def _count(self, *, failed: bool) -> None:
        number = self._slot_number()
        if not self._recent or self._recent[-1].number != number:
            self._recent.append(_Slot(number))
        slot = self._recent[-1]
        slot.syncs += 1
        slot.errors += failed
        self.syncs += 1
        self.errors += failed

    def _slot_number(self) -> int:
        return int(self.clock.monotonic() // _SLOT_S)

    def pressing(self) -> Iterable[int]:
        """How many objects wait in each queue, but for those that were there before the syncer."""
        return (controller.queue.pressing for controller in self.controllers)

    def _depth(self, resource: str) -> int:
        return sum(controller.statistics()["depth"] for controller in self._of(resource))

    def _oldest_s(self, resource: str) -> float:
        return max((controller.queue.oldest_s() for controller in self._of(resource)), default=0.0)

    def _of(self, resource: str) -> list[Controller]:
        return [controller for controller in self.controllers if controller.name.endswith(f"-{resource}")]
