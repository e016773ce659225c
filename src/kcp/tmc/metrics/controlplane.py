"""What the control plane's metrics are read from at each scrape: the monitor, the SyncTargets, the controllers. So nothing is stale.

Before: `server.tmc`. After: the informers and the monitor, which hold what is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.metrics import Histogram, Labels, Meter, merged
from kcp.apimachinery import conditions, meta, quantity
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.controller import Controller
from kcp.controller.informer import Informer
from kcp.controller.workqueue import BUCKETS_S
from kcp.tmc.errors import classify
from kcp.tmc.health.monitor import Monitor
from kcp.tmc.health.providers import component_type
from kcp.tmc.health.report import summary
from kcp.tmc.health.states import Check, Status
from kcp.tmc.metrics import families
from kcp.tmc.model.kinds import HEARTBEAT_HEALTHY, READY

Numbers = Iterator[tuple[Labels, float]]


def show_health(meter: Meter, monitor: Monitor) -> None:
    """One series for each component that there is."""

    def all_checks() -> list[Check]:
        checks = monitor.checks()
        return [*checks, summary(checks)] if checks else []

    def health() -> Numbers:
        for check in all_checks():
            yield _names(check), check.status.value_of_metric

    def uptime() -> Numbers:
        for check in monitor.checks():
            is_up = check.status in (Status.HEALTHY, Status.DEGRADED)
            yield _names(check), monitor.up_s(check.component) if is_up else 0.0

    meter.show(families.COMPONENT_HEALTH, health)
    meter.show(families.COMPONENT_UPTIME, uptime)
    meter.show(families.HEALTH_CHECKS, lambda: [((), float(monitor.looks))])
    meter.show(families.HEALTH_CHECK_ERRORS, lambda: [((kind,), float(count)) for kind, count in monitor.failed_looks.items()])
    meter.show_histograms(families.HEALTH_CHECK_DURATION, lambda: [((), monitor.durations)])


def _names(check: Check) -> Labels:
    return check.component.type, check.component.id, check.component.cluster


def show_clusters(meter: Meter, targets: Informer) -> None:
    """Of each SyncTarget; what was counted of a cluster goes with the last target of its name."""

    known: dict[ObjectKey, _Standing] = {}

    def changed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:  # noqa: ARG001
        if new is not None:
            known[key] = _Standing.of(new)
            return
        known.pop(key, None)
        if not any(other.name == key.name for other in targets.keys()):
            for label in ("cluster", "sync_target", "source_cluster", "target_cluster"):
                meter.forget(label, key.name)

    targets.add_handler(changed)
    meter.show(families.CLUSTER_HEALTH, lambda: (((key.name, str(key.cluster)), held.is_ready) for key, held in known.items()))
    meter.show(families.CLUSTER_CONNECTIVITY, lambda: (((key.name, str(key.cluster)), held.is_heard) for key, held in known.items()))
    meter.show(families.CLUSTER_UTILIZATION, lambda: (pair for held in known.values() for pair in held.used))


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is shown of a SyncTarget; kept in step with it, as a hundred objects are more to read than their changes."""

    is_ready: float
    is_heard: float
    used: tuple[tuple[Labels, float], ...]

    @classmethod
    def of(cls, target: JSONObject) -> _Standing:
        is_heard = not conditions.is_false(target, HEARTBEAT_HEALTHY)
        return cls(float(conditions.is_true(target, READY)), float(is_heard), tuple(utilization(target)))


def utilization(target: JSONObject) -> Numbers:
    """Of each resource of which the cluster says both how much there is and how much is in use."""
    status = target.get("status") or {}
    used: Mapping[str, Any] = status.get("usage") or {}
    for name, total in (status.get("allocatable") or {}).items():
        if name in used and (amount := quantity.parse(str(total))):
            yield (meta.name(target), name), float(quantity.parse(str(used[name])) / amount)


def show_controllers(meter: Meter, running: Callable[[], Iterable[Controller[Any]]]) -> None:
    """What they did, from their own counts; `measure_failures` is told of what went wrong."""

    def operations() -> Numbers:
        for controller in running():
            counts = controller.statistics()
            names = (component_type(controller.name), controller.name, "reconcile")
            if done := counts["success"] + counts["requeue_after"]:
                yield (*names, "success"), float(done)
            if failed := counts["error"] + counts["terminal"]:
                yield (*names, "error"), float(failed)

    def durations() -> Iterable[tuple[Labels, Histogram]]:
        used = [controller for controller in running() if controller.statistics()["adds"]]
        found = (((component_type(c.name), c.name, "reconcile"), c.queue.works) for c in used)
        return merged(found, BUCKETS_S).items()

    meter.show(families.COMPONENT_OPERATIONS, operations)
    meter.show_histograms(families.COMPONENT_DURATIONS, durations)


def measure_failures(meter: Meter, controller: Controller[Any]) -> None:
    """Count its errors by their TMC type."""
    names = (component_type(controller.name), controller.name)

    def failed(error: Exception) -> None:
        found = classify(error)
        meter.count(families.COMPONENT_ERRORS, *names, str(found.type), str(found.severity))
        meter.count(families.ERRORS, str(found.type), str(found.severity), controller.name)

    controller.failed = failed


def show_recovery_rate(meter: Meter) -> None:
    """The share of recoveries that helped, from what was counted of those that ended."""

    def read() -> Numbers:
        helped, ended = Counter[str](), Counter[str]()
        for family, is_good in ((families.RECOVERY_SUCCESSES, True), (families.RECOVERY_FAILURES, False)):
            for (error_type, *_), count in meter.counted(family).items():
                ended[error_type] += int(count)
                helped[error_type] += int(count) if is_good else 0
        for error_type, total in ended.items():
            yield (error_type,), helped[error_type] / total

    meter.show(families.ERROR_RECOVERY_SUCCESS_RATE, read)


def show_requests(meter: Meter, by_endpoint: Callable[[], Mapping[Labels, Histogram]]) -> None:
    """Args: by_endpoint: durations by method, endpoint and status code."""
    meter.show(families.API_REQUESTS, lambda: [(labels, float(sum(held.counts))) for labels, held in by_endpoint().items()])
    meter.show_histograms(families.API_REQUEST_DURATION, lambda: by_endpoint().items())
