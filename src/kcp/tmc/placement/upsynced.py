"""What clusters show of themselves in workspaces, and whose cluster is gone: it goes too.

What runs in the cluster stays. For resources that are also synced down, `placement.resources` does the same.
Before: `server.tmc`. After: the API.
Source: kcp release-0.11 pkg/reconciler/workload/resource/resource_reconcile.go (upsynced resources without a SyncTarget).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.model.indexes import BY_TARGET
from kcp.tmc.model.names import SYNCER_FINALIZER, sync_target_key, upsyncing_key


@dataclass(frozen=True, slots=True)
class UpsyncedReconciler:
    """For one resource, over all workspaces."""

    gvr: GVR
    get: Callable[[ObjectKey], JSONObject | None]
    name_of: Callable[[str], str]
    """K → name of its SyncTarget, "" if there is none."""
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        target = upsyncing_key(obj) if obj is not None else ""
        if obj is None or not target or self.name_of(target):
            return Result()
        resource = self.for_cluster(key.cluster).resource(self.gvr)
        try:
            if SYNCER_FINALIZER + target in meta.finalizers(obj):
                kept = [f for f in meta.finalizers(obj) if f != SYNCER_FINALIZER + target]
                stale = {"uid": meta.uid(obj), "resourceVersion": meta.resource_version(obj)}
                await resource.patch(key.name, {"metadata": {"finalizers": kept, **stale}}, namespace=key.namespace)
            await resource.delete(key.name, namespace=key.namespace, uid=meta.uid(obj), grace_period_s=0)
        except NotFound:
            pass  # gone is what was wanted
        return Result()


def build_upsynced_controller(
    gvr: GVR,
    objects: Informer,
    targets: Informer,
    name_of: Callable[[str], str],
    for_cluster: Callable[[ClusterName], Client],
    *,
    clock: Clock,
) -> Controller:  # fmt: skip
    """Args: gvr: without identity. objects: of that resource over all workspaces, with index BY_TARGET; their metadata is enough."""

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return objects.index_keys(BY_TARGET, sync_target_key(key.cluster, key.name)) if new is None else ()

    reconciler = UpsyncedReconciler(gvr, objects.get, name_of, for_cluster)
    controller = Controller(f"tmc-upsynced-{gvr.resource}", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(objects)
    controller.watch(targets, of_target)
    return controller
