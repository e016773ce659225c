"""What the control plane's metrics are read from at each scrape: the monitor, the SyncTargets, the controllers. So nothing is stale.

Before: `server.tmc`. After: the informers and the monitor, which hold what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from kcp.aio.metrics import Labels, Meter
from kcp.apimachinery import conditions, meta
from kcp.controller.informer import Informer
from kcp.tmc.health.monitor import Monitor
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


def show_clusters(meter: Meter, targets: Callable[[], Informer]) -> None:
    """Of each SyncTarget."""

    def of_each(is_well: Callable[[meta.JSONObject], bool]) -> Callable[[], Iterable[tuple[Labels, float]]]:
        return lambda: (((meta.name(target), str(meta.cluster(target))), float(is_well(target))) for target in targets().list())

    meter.show(families.CLUSTER_HEALTH, of_each(lambda target: conditions.is_true(target, READY)))
    meter.show(families.CLUSTER_CONNECTIVITY, of_each(lambda target: not conditions.is_false(target, HEARTBEAT_HEALTHY)))
