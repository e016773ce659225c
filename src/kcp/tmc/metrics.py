"""TMC's metrics of the control plane, under the names and labels of the TMC reference §8.

No series grows with objects: labels are clusters, workspaces of clusters, and components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.controller import Outcome
from kcp.tmc.health.states import Check
from kcp.tmc.model.kinds import HEARTBEAT_HEALTHY, READY

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class TMCMetrics:
    """Gauges of the physical clusters, counters of the controllers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        labels = ("cluster", "logical_cluster")
        self._health = Gauge("tmc_cluster_health", "1 while the SyncTarget is Ready.", labels, registry=registry)
        self._connectivity = Gauge("tmc_cluster_connectivity", "1 while its syncer's heartbeat is in time.", labels, registry=registry)
        named = ("component_type", "component_id", "cluster")
        self._components = Gauge("tmc_component_health", "1 Healthy, 0.5 Degraded, 0 Unhealthy, -1 Unknown.", named, registry=registry)
        self._shown: set[tuple[str, str, str]] = set()
        component = ("component_type", "component_id", "operation")
        self._operations = Counter("tmc_component_operations", "Reconciles, by their end.", (*component, "status"), registry=registry)
        self._durations = Histogram(
            "tmc_component_operation_duration_seconds", "Duration of reconciles.", component, registry=registry,
            buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0),
        )  # fmt: skip

    def observe_target(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        """Handler for the SyncTarget informer."""
        if new is None:
            for gauge in (self._health, self._connectivity):
                gauge.remove(key.name, str(key.cluster))
            return
        self._health.labels(key.name, meta.cluster(new)).set(conditions.is_true(new, READY))
        self._connectivity.labels(key.name, meta.cluster(new)).set(not conditions.is_false(new, HEARTBEAT_HEALTHY))

    def observe_health(self, checks: Sequence[Check]) -> None:
        """One series for each component there is."""
        labels = {(check.component.type, check.component.id, check.component.cluster): check for check in checks}
        for gone in self._shown - labels.keys():
            self._components.remove(*gone)
        for names, check in labels.items():
            self._components.labels(*names).set(check.status.value_of_metric)
        self._shown = set(labels)

    def observe(self, outcome: Outcome) -> None:
        """Hook of the controllers."""
        status = "error" if outcome.result in ("error", "terminal") else "success"
        labels = ("TMCController", outcome.controller, "reconcile")
        self._operations.labels(*labels, status).inc()
        self._durations.labels(*labels).observe(outcome.duration_s)
