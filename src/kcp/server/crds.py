"""CRD controller: names accepted, established, and the instances removed before a CRD goes. The decisions are `registry.crdstatus`.

Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit, commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.registry import crdstatus

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")


@dataclass(frozen=True, slots=True)
class CRDReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    others: Callable[[ObjectKey], Sequence[JSONObject]]
    """The other CRDs of the same cluster."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        crd = self.get(key)
        if crd is None:
            return Result()
        crds = self.for_cluster(key.cluster).resource(CRDS)
        now = rfc3339(self.clock.now())
        if crdstatus.is_terminating(crd):
            return await self._finish(key, crd, now)
        await commit_both(crds, crd, crdstatus.reconcile_crd(crd, self.others(key), now))
        return Result()

    async def _finish(self, key: ObjectKey, crd: JSONObject, now: str) -> Result:
        client = self.for_cluster(key.cluster)
        left = 0
        gvr = next(iter(crdstatus.instances(crd)), None)
        if gvr is not None:
            try:
                await client.resource(gvr).delete_collection()
                left = len((await client.resource(gvr).list()).items)
            except NotFound:
                pass  # never established, so there cannot be any
        written = await commit(client.resource(CRDS), crd, crdstatus.terminating(crd, now, left=left))
        if left:
            return Result(requeue_after_s=1.0)
        await commit(client.resource(CRDS), written, crdstatus.cleaned(written))
        return Result()


def build_crd_controller(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    crds = informers.informer(CRDS)

    def others(key: ObjectKey) -> Sequence[JSONObject]:
        return [o for o in crds.list(cluster=key.cluster) if meta.name(o) != key.name]

    def of_cluster(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A CRD that goes may free the names another one waits for."""
        return [meta.key(o) for o in crds.list(cluster=key.cluster)] if new is None else [key]

    controller = Controller("crd", CRDReconciler(crds.get, others, for_cluster, clock).reconcile, clock=clock, workers=2)
    controller.watch(crds, of_cluster)
    return controller
