"""The syncer's Prometheus metrics, under the names and labels of the TMC reference §8.

Labels hold the SyncTarget, its workspace and resources only: no series grows with the number of objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class SyncerMetrics:
    """Counters of one syncer, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry, *, sync_target: str, workspace: str, uptime_s: Callable[[], float]) -> None:
        from prometheus_client import Counter, Gauge

        self.registry = registry
        self._labels = (sync_target, workspace)
        names = ("sync_target", "workspace")
        self._errors = Counter(
            "syncer_sync_errors", "Objects that could not be synced, by TMC error type.", (*names, "gvk", "error_type"), registry=registry
        )
        self._heartbeats = Counter("syncer_heartbeat", "Heartbeats written.", registry=registry)
        self._heartbeat_errors = Counter("syncer_heartbeat_errors", "Heartbeats that failed.", registry=registry)
        self._connection = Gauge("syncer_connection_status", "1 while this side answers.", (*names, "target"), registry=registry)
        Gauge("syncer_uptime_seconds", "Seconds since the syncer started.", registry=registry).set_function(uptime_s)

    def observe_error(self, resource: str, error_type: str) -> None:
        self._errors.labels(*self._labels, resource, error_type).inc()

    def observe_connection(self, what: str, worked: bool) -> None:  # noqa: FBT001 - the answer is the measurement
        """Args: what: `heartbeat`, or the side that was asked: `kcp`, `cluster`."""
        if what == "heartbeat":
            (self._heartbeats if worked else self._heartbeat_errors).inc()
            self._connection.labels(*self._labels, "kcp").set(worked)
        else:
            self._connection.labels(*self._labels, what).set(worked)
