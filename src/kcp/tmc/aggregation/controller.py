"""Aggregation controller: per-target statuses on an object → its one status.

Before: annotations that syncers write through the syncer view. After: the user's watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.metrics import Meter
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.aggregation.status import merge, reports_of
from kcp.tmc.metrics import families
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET
from kcp.tmc.model.kinds import NAMESPACE_SCHEDULED, SyncTarget
from kcp.tmc.model.names import WAITING_ANNOTATION, sync_target_key, synced_keys, upsyncing_key
from kcp.tmc.model.wishes import is_summarized, primary_cluster


@dataclass(frozen=True, slots=True)
class AggregationReconciler:
    """For one resource, over all workspaces."""

    gvr: GVR
    get: Callable[[ObjectKey], JSONObject | None]
    target: Callable[[str], SyncTarget | None]
    """K → SyncTarget."""
    namespace: Callable[[ObjectKey], JSONObject | None]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    shows_errors: bool
    """Whether typed errors of clusters are put into condition Synced."""
    meter: Meter

    def _count(self, key: ObjectKey, obj: JSONObject, started_s: float) -> None:
        strategy = "Primary" if primary_cluster(obj) else "Combined"
        self.meter.count(families.AGGREGATIONS, str(self.gvr.group_resource), strategy, "success")
        self.meter.observe(families.AGGREGATION_DURATION, self.clock.monotonic() - started_s, str(key.cluster))

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None or meta.deletion_timestamp(obj) or upsyncing_key(obj):
            return Result()  # what a cluster shows has that cluster's status, wherever it is projected to
        if not is_summarized(obj):
            return Result()
        started_s = self.clock.monotonic()
        targets = {k: t for k in synced_keys(obj) if (t := self.target(k)) is not None}
        names = {k: t.name for k, t in targets.items()}
        problems = {k: t.not_ready_reason or "not ready" for k, t in targets.items() if not t.ready}
        reports = reports_of(obj, names, problems, {k: t.backlog for k, t in targets.items()})
        if not self.shows_errors:
            reports = [replace(r, error=None) for r in reports]
        waiting = meta.annotations(obj).get(WAITING_ANNOTATION, "")
        unplaced = "" if reports else waiting or unplaced_because(self.namespace(ObjectKey(key.cluster, "", key.namespace)))
        wanted = merge(obj, self.gvr.group_resource, reports, now=rfc3339(self.clock.now()), unplaced=unplaced)
        await commit(self.for_cluster(key.cluster).resource(self.gvr), obj, wanted)
        self._count(key, obj, started_s)
        return Result()


def unplaced_because(namespace: JSONObject | None) -> str:
    """Why no cluster runs what is in this namespace; "" while one does, or where no Placement concerns it."""
    scheduled = conditions.get(namespace or {}, NAMESPACE_SCHEDULED) or {}
    return str(scheduled.get("message") or "") if scheduled.get("status") == conditions.FALSE else ""


def build_aggregation_controller(  # noqa: PLR0913 - what it reads, spelled out
    gvr: GVR,
    objects: Informer,
    namespaces: Informer,
    targets: Informer,
    for_cluster: Callable[[ClusterName], Client],
    *,
    clock: Clock,
    shows_errors: bool,
    meter: Meter,
) -> Controller:
    """Args: gvr: without identity; a resource with a status. objects: with index BY_TARGET. targets: with index BY_KEY."""

    def of_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        if new is None or unplaced_because(old) == unplaced_because(new):
            return ()
        return list(objects.keys(cluster=key.cluster, namespace=key.name))

    def target(key: str) -> SyncTarget | None:
        return next((SyncTarget.of(obj) for obj in targets.by_index(BY_KEY, key)), None)

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        told = [(t.ready, t.not_ready_reason, t.backlog > 0) if t else None for t in (SyncTarget.of(o) if o else None for o in (old, new))]
        if told[0] == told[1]:
            return []  # a heartbeat says nothing about any object
        return objects.index_keys(BY_TARGET, sync_target_key(key.cluster, key.name))

    reconciler = AggregationReconciler(gvr, objects.get, target, namespaces.get, for_cluster, clock, shows_errors, meter)
    controller = Controller(f"tmc-aggregation-{gvr.resource}", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(objects)
    controller.watch(targets, of_target)
    controller.watch(namespaces, of_namespace)
    return controller
