"""The syncer's Prometheus metrics, under the names and labels of the TMC reference §8.

Labels hold the SyncTarget, its workspace and resources only: no series grows with the number of objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_DURATIONS_S = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class SyncerMetrics:
    """Counters of one syncer, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry, *, sync_target: str, workspace: str, uptime_s: Callable[[], float]) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self.registry = registry
        self._labels = (sync_target, workspace)
        names = ("sync_target", "workspace")
        self._synced = Counter("syncer_resources_synced", "Objects synced.", (*names, "gvk", "direction"), registry=registry)
        self._durations = Histogram(
            "syncer_sync_duration_seconds", "Time to sync one object.", (*names, "gvk", "operation"), registry=registry,
            buckets=_DURATIONS_S,
        )  # fmt: skip
        self._errors = Counter(
            "syncer_sync_errors", "Objects that could not be synced, by TMC error type.", (*names, "gvk", "error_type"), registry=registry
        )
        self._backlog = Gauge("syncer_sync_backlog_size", "Objects that wait to be synced.", (*names, "gvk"), registry=registry)
        self._drift = Counter(
            "syncer_drift_corrected", "Copies that somebody changed in the cluster and that were put right.", (*names, "gvk"),
            registry=registry,
        )  # fmt: skip
        self._heartbeats = Counter("syncer_heartbeat", "Heartbeats written.", registry=registry)
        self._heartbeat_errors = Counter("syncer_heartbeat_errors", "Heartbeats that failed.", registry=registry)
        self._connection = Gauge("syncer_connection_status", "1 while this side answers.", (*names, "target"), registry=registry)
        self.controllers = Gauge("syncer_resource_controllers", "Controllers that sync resources.", registry=registry)
        Gauge("syncer_uptime_seconds", "Seconds since the syncer started.", registry=registry).set_function(uptime_s)

    def observe_sync(self, resource: str, direction: str, operation: str, duration_s: float, *, failed: bool) -> None:
        self._durations.labels(*self._labels, resource, operation).observe(duration_s)
        if not failed:
            self._synced.labels(*self._labels, resource, direction).inc()

    def observe_error(self, resource: str, error_type: str) -> None:
        self._errors.labels(*self._labels, resource, error_type).inc()

    def observe_drift(self, resource: str) -> None:
        self._drift.labels(*self._labels, resource).inc()

    def watch_backlog(self, resource: str, depth: Callable[[], int]) -> None:
        """Ask `depth` at every scrape."""
        self._backlog.labels(*self._labels, resource).set_function(depth)

    def observe_connection(self, what: str, worked: bool) -> None:  # noqa: FBT001 - the answer is the measurement
        """Args: what: `heartbeat`, or the side that was asked: `kcp`, `cluster`."""
        if what == "heartbeat":
            (self._heartbeats if worked else self._heartbeat_errors).inc()
            self._connection.labels(*self._labels, "kcp").set(worked)
        else:
            self._connection.labels(*self._labels, what).set(worked)
