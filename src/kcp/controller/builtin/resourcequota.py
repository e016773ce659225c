"""The quota controller: publishes the limits of every ResourceQuota in its status, and counts again what is used.

Admission reserves what writes use before they happen; this controller gives back what was freed, and what was reserved for writes that
failed. One for all logical clusters; without quotas it mirrors nothing.
Before: `server.controllers`, `sim.cluster`. After: `apis.kubernetes.quota`, `census`.
Source: kubernetes pkg/controller/resourcequota/{resource_quota_controller,resource_quota_monitor}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import quota
from kcp.apis.kubernetes.checks import obj_at
from kcp.apis.kubernetes.podresources import Amounts
from kcp.apis.kubernetes.quota_usage import CLAIMS, DEVICE_CLAIMS, PODS, SERVICES, grace_end, is_charged
from kcp.client.rest import Client
from kcp.controller.builtin.census import Census
from kcp.controller.builtin.kinds import ForCluster, Monitored
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer

QUOTAS = GVR("", "v1", "resourcequotas")
_MEASURED = frozenset((PODS, SERVICES, CLAIMS, DEVICE_CLAIMS))
_OVER_CLUSTER = "over-cluster"
"""Index of the quotas over whole clusters, by cluster."""

_FREED_S = 0.05
"""From the end of an object to counting again: those that end together are counted once."""
_CHANGED_S = 0.25
_RESERVED_S = 5.0
"""From a reservation to counting again: by then the write it was made for has happened, or never will."""
_UNKNOWN_S = 0.1
_RESYNC_S = 300.0


@dataclass
class QuotaReconciler:
    quotas: Informer
    census: Census
    for_cluster: ForCluster
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.quotas.get(key)
        if held is None:
            return Result()
        counting = quota.counted_resources(held)
        if not all(self.census.is_known(c.resource) for c in counting):
            self.census.wake()
            return Result(requeue_after_s=_UNKNOWN_S)
        now = self.clock.now()
        namespace = None if quota.is_cluster_scoped(held) else key.namespace
        used: Amounts = {}
        next_s = _RESYNC_S
        for c in counting:
            if c.resource in _MEASURED:
                objects = self.census.objects(c.resource, key.cluster, namespace)
                used |= quota.by_content(c, held, objects, now)
                next_s = min([next_s, *_ends_in_s(objects, now)]) if c.resource == PODS else next_s
            elif self.census.is_served(c.resource):
                used |= quota.by_number(c, held, self.census.count(c.resource, key.cluster, namespace))
            else:
                before = obj_at(held, "status", "used")
                used |= {name: before.get(name, "0") for name in c.names(obj_at(held, "spec", "hard"))}
        wanted = {**held, "status": quota.status(held, used)}
        await commit(self.for_cluster(key.cluster).resource(QUOTAS), held, wanted, field_manager="kube-controller-manager")
        return Result(requeue_after_s=next_s)


def _ends_in_s(pods: Iterable[Mapping[str, Any]], now: datetime) -> Iterable[float]:
    """When pods that do not go by themselves will stop to count."""
    for pod in pods:
        ends = grace_end(pod)
        if ends is not None and is_charged(pod, now):
            yield (ends - now).total_seconds() + 1.0


def build_quota_controller(
    client: Client, informers: InformerFactory, *, for_cluster: ForCluster, resources: Monitored, clock: Clock, workers: int = 4
) -> Controller:
    """Args: client: to mirror through: of one cluster, or of `*`, as are `informers`. resources: what there is."""
    quotas = informers.informer(QUOTAS, indexers={_OVER_CLUSTER: _over_cluster})

    def wanted() -> Iterable[GroupResource]:
        return {c.resource for held in quotas.list() for c in quota.counted_resources(held)}

    def object_changed(resource: GroupResource, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        delay_s = _FREED_S if new is None else _CHANGED_S if old is not None and resource in _MEASURED else _RESERVED_S
        concerned = quotas.keys(cluster=key.cluster, namespace=key.namespace) if key.namespace else []
        for target in (*concerned, *quotas.index_keys(_OVER_CLUSTER, key.cluster)):
            controller.enqueue_after(target, delay_s)

    def quota_changed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        if new is None:
            census.wake()
        elif old is None or obj_at(new, "spec") != obj_at(old, "spec"):
            controller.enqueue(key)
        else:
            controller.enqueue_after(key, _RESERVED_S)

    census = Census(client, resources, wanted=wanted, measured=_MEASURED, on_change=object_changed, clock=clock)
    reconciler = QuotaReconciler(quotas, census, for_cluster, clock)
    controller: Controller = Controller("resourcequota", reconciler.reconcile, clock=clock, workers=workers)
    controller.watch(quotas, lambda _key, _old, _new: ())
    quotas.add_handler(quota_changed)
    controller.add_background(census.run)
    return controller


def _over_cluster(held: Mapping[str, Any]) -> list[str]:
    return [meta.cluster(held)] if quota.is_cluster_scoped(held) else []
