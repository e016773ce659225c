"""A syncer's Prometheus metrics, under the names and labels of the TMC reference §8: `syncer_*`, and `tmc_sync_*` of its cluster.

Labels hold the SyncTarget, its workspace and resources only: no series grows with the number of objects.
Before: `record`. After: a `Meter`: the process's own, or, in push mode, that of the server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kcp.aio.metrics import Labels, Meter, Reading
from kcp.tmc.breaker import CircuitBreaker, State
from kcp.tmc.errors import TMCError
from kcp.tmc.metrics import families


@dataclass(frozen=True, slots=True)
class Queue:
    """Of one resource: how many objects wait, and the age of the oldest change that is not synced."""

    depth: Callable[[], int]
    oldest_s: Callable[[], float]


@dataclass(slots=True)
class SyncerMetrics:
    """Counts of one syncer."""

    meter: Meter
    sync_target: str
    workspace: str
    _queues: dict[str, Queue] = field(default_factory=dict)
    _answers: dict[str, bool] = field(default_factory=dict)
    _breakers: dict[str, CircuitBreaker] = field(default_factory=dict)
    _resource_controllers: int = 0
    _holds: bool = False
    _shown: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        show, labels = self.meter.show, self._labels
        self._shown += [
            show(families.SYNCER_CONNECTION, lambda: [((*labels, side), float(is_well)) for side, is_well in self._answers.items()]),
            show(families.SYNCER_BACKLOG, self._of_queues(labels, lambda queue: queue.depth())),
            show(families.SYNC_BACKLOG, self._of_queues((self.sync_target,), lambda queue: queue.depth())),
            show(families.SYNCER_WATCHES_HELD, lambda: [(labels, float(self._holds))]),
            show(families.BREAKER_STATE, lambda: [((self.sync_target, name), float(b.state)) for name, b in self._breakers.items()]),
            show(families.BREAKER_REFUSALS, lambda: [((self.sync_target, name), float(b.refused)) for name, b in self._breakers.items()]),
            show(families.SYNC_LAG, self._of_queues((self.sync_target,), lambda queue: queue.oldest_s())),
        ]

    @property
    def _labels(self) -> Labels:
        return self.sync_target, self.workspace

    @property
    def _component(self) -> Labels:
        return "SyncTargetController", f"syncer-{self.sync_target}"

    def show_process(self, uptime_s: Callable[[], float]) -> None:
        """What is said once for a process, which serves this SyncTarget alone."""
        show = self.meter.show
        self._shown += [
            show(families.SYNCER_UPTIME, lambda: [((), uptime_s())]),
            show(families.SYNCER_CONTROLLERS, lambda: [((), float(self._resource_controllers))]),
            show(families.SYNCER_CONNECTED, lambda: [((), float(len(self._answers) > 1 and all(self._answers.values())))]),
        ]

    def close(self) -> None:
        """Nothing of it is asked for any more; what it counted stays until the meter forgets the cluster."""
        while self._shown:
            self._shown.pop()()

    def observe_sync(self, resource: str, direction: str, operation: str, duration_s: float, *, failed: bool) -> None:
        meter = self.meter
        meter.observe(families.SYNCER_DURATION, duration_s, *self._labels, resource, operation)
        meter.observe(families.SYNC_DURATION, duration_s, self.sync_target, resource, operation)
        status = "error" if failed else "success"
        meter.count(families.SYNC_OPERATIONS, status)
        meter.count(families.COMPONENT_OPERATIONS, *self._component, operation, status)
        meter.observe(families.COMPONENT_DURATIONS, duration_s, *self._component, operation)
        if not failed:
            meter.count(families.SYNCER_SYNCED, *self._labels, resource, direction)

    def observe_error(self, resource: str, error: TMCError) -> None:
        meter, kind, severity = self.meter, str(error.type), str(error.severity)
        meter.count(families.SYNCER_ERRORS, *self._labels, resource, kind)
        meter.count(families.SYNC_ERRORS, self.sync_target, resource, kind)
        meter.count(families.COMPONENT_ERRORS, *self._component, kind, severity)
        meter.count(families.ERRORS, kind, severity, "syncer")
        if kind.endswith("Conflict"):
            self.observe_conflict(resource, kind, "Reported")

    def observe_conflict(self, resource: str, kind: str, resolution: str) -> None:
        """Args: resolution: `Source`: the workspace's state was written; `Reported`: the cluster's was left, and the user told."""
        self.meter.count(families.CONFLICTS, self.sync_target, resource, kind, resolution)

    def observe_breaker(self, breaker: CircuitBreaker) -> None:
        """It became what it is now."""
        self._breakers[breaker.operation] = breaker
        if breaker.state is State.OPEN:
            self.meter.count(families.BREAKER_TRIPS, self.sync_target, breaker.operation)

    def observe_hold(self, waiting: int) -> None:
        """Args: waiting: objects, when the watches were held; 0: they are read again."""
        self._holds = waiting > 0
        if waiting:
            self.meter.count(families.SYNCER_HOLDS, *self._labels)

    def observe_drift(self, resource: str) -> None:
        self.meter.count(families.SYNCER_DRIFT, *self._labels, resource)
        self.observe_conflict(resource, "Drift", "Source")

    def observe_projection(self, resource: str, origin: str, *, failed: bool) -> None:
        """Args: origin: the workspace or cluster that the object comes from."""
        self.meter.count(families.PROJECTIONS, origin, self.sync_target, resource, "error" if failed else "success")

    def observe_transformation(self, resource: str, *, failed: bool) -> None:
        self.meter.count(families.TRANSFORMATIONS, "Set", resource, "error" if failed else "success")

    def watch(self, resource: str, queue: Queue) -> None:
        """Ask it at every scrape."""
        self._queues[resource] = queue

    def show_controllers(self, count: int) -> None:
        self._resource_controllers = count

    def observe_connection(self, what: str, worked: bool) -> None:  # noqa: FBT001 - the answer is the measurement
        """Args: what: `heartbeat`, or the side that was asked: `kcp`, `cluster`."""
        if what == "heartbeat":
            self.meter.count(families.SYNCER_HEARTBEATS if worked else families.SYNCER_HEARTBEAT_ERRORS)
            self._answers["kcp"] = worked
        else:
            self._answers[what] = worked

    def _of_queues(self, labels: Labels, value: Callable[[Queue], float]) -> Reading:
        return lambda: [((*labels, resource), float(value(queue))) for resource, queue in self._queues.items()]
