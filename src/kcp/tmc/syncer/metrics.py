"""The syncer's Prometheus metrics, under the names and labels of the TMC reference §8.

Labels hold the SyncTarget, its workspace and resources only: no series grows with the number of objects.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.aio.metrics import Meter
from kcp.tmc.metrics import families


class SyncerMetrics:
    """Counts of one syncer."""

    def __init__(self, meter: Meter, *, sync_target: str, workspace: str, uptime_s: Callable[[], float]) -> None:
        self.meter = meter
        self._target = sync_target
        self._labels = (sync_target, workspace)
        self._answers: dict[str, bool] = {}
        self._depths: dict[str, Callable[[], int]] = {}
        self._resource_controllers = 0
        meter.show(families.SYNCER_UPTIME, lambda: [((), uptime_s())])
        meter.show(families.SYNCER_CONTROLLERS, lambda: [((), float(self._resource_controllers))])
        meter.show(families.SYNCER_CONNECTION, lambda: [((*self._labels, side), float(worked)) for side, worked in self._answers.items()])
        meter.show(
            families.SYNCER_BACKLOG, lambda: [((*self._labels, resource), float(depth())) for resource, depth in self._depths.items()]
        )
        meter.show(families.SYNC_BACKLOG, lambda: [((self._target, resource), float(depth())) for resource, depth in self._depths.items()])
        meter.show(families.SYNCER_CONNECTED, lambda: [((), float(len(self._answers) > 1 and all(self._answers.values())))])

    def observe_sync(self, resource: str, direction: str, operation: str, duration_s: float, *, failed: bool) -> None:
        meter = self.meter
        meter.observe(families.SYNCER_DURATION, duration_s, *self._labels, resource, operation)
        meter.observe(families.SYNC_DURATION, duration_s, self._target, resource, operation)
        meter.count(families.SYNC_OPERATIONS, "error" if failed else "success")
        if not failed:
            meter.count(families.SYNCER_SYNCED, *self._labels, resource, direction)

    def observe_error(self, resource: str, error_type: str) -> None:
        self.meter.count(families.SYNCER_ERRORS, *self._labels, resource, error_type)
        self.meter.count(families.SYNC_ERRORS, self._target, resource, error_type)

    def observe_drift(self, resource: str) -> None:
        self.meter.count(families.SYNCER_DRIFT, *self._labels, resource)

    def watch_backlog(self, resource: str, depth: Callable[[], int]) -> None:
        """Ask `depth` at every scrape."""
        self._depths[resource] = depth

    def show_controllers(self, count: int) -> None:
        self._resource_controllers = count

    def observe_connection(self, what: str, worked: bool) -> None:  # noqa: FBT001 - the answer is the measurement
        """Args: what: `heartbeat`, or the side that was asked: `kcp`, `cluster`."""
        if what == "heartbeat":
            self.meter.count(families.SYNCER_HEARTBEATS if worked else families.SYNCER_HEARTBEAT_ERRORS)
            self._answers["kcp"] = worked
        else:
            self._answers[what] = worked
