"""The CRD controller: names accepted, established, and the instances removed before a CRD goes. Its decisions are `registry.crdstatus`.

Before: `server.controllers`, `sim.cluster`. After: the CRDs themselves; the catalog follows what their conditions say.
Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer,apiapproval,nonstructuralschema}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.builtin.kinds import ForCluster
from kcp.controller.commit import commit, commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.registry import crdstatus
from kcp.registry.resource import Origin, Resource

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_LOOK_AGAIN_S = 1.0

Resolve: TypeAlias = Callable[[ClusterName, GVR], Resource | None]
"""What is served under a name."""


@dataclass(frozen=True, slots=True)
class CRDReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    rivals: Callable[[ObjectKey, JSONObject], Sequence[JSONObject]]
    """The other CRDs of the same cluster that hold a name which this one wants."""
    for_cluster: ForCluster
    resolve: Resolve
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        crd = self.get(key)
        if crd is None:
            return Result()
        now = rfc3339(self.clock.now())
        if crdstatus.is_terminating(crd):
            return await self._finish(key, crd, now)
        await commit_both(self.for_cluster(key.cluster).resource(CRDS), crd, crdstatus.reconcile_crd(crd, self.rivals(key, crd), now))
        return Result()

    async def _finish(self, key: ObjectKey, crd: JSONObject, now: str) -> Result:
        """Delete the instances; when the server itself says that none is left, let the CRD go."""
        client = self.for_cluster(key.cluster)
        crds = client.resource(CRDS)
        gvr = next(crdstatus.instances(crd), None) if conditions.is_true(crd, "Established") else None
        if gvr is not None and not self._is_hidden(key.cluster, gvr):
            crd = await commit(crds, crd, crdstatus.deleting(crd, now))
            try:
                left = await _delete_instances(client, gvr)
            except StatusError as error:
                await commit(crds, crd, crdstatus.stuck(crd, now, f"could not issue all deletes: {error}"))
                raise
            if left:
                return Result(requeue_after_s=_LOOK_AGAIN_S)
        crd = await commit(crds, crd, crdstatus.emptied(crd, now))
        await commit(crds, crd, crdstatus.cleaned(crd))
        return Result()

    def _is_hidden(self, cluster: ClusterName, gvr: GVR) -> bool:
        """Whether something else is served under the name of a CRD, a built-in kind for one: its objects are not the CRD's."""
        served = self.resolve(cluster, gvr)
        return served is not None and served.origin is not Origin.CRD


async def _delete_instances(client: Client, gvr: GVR) -> bool:
    """Ask for the deletion of all objects, namespace by namespace. Returns whether some are left."""
    objects = client.resource(gvr, metadata_only=True)
    try:
        found = (await objects.list()).items
        for namespace in sorted({meta.namespace(obj) for obj in found if not meta.deletion_timestamp(obj)}):
            await objects.delete_collection(namespace=namespace)
        return bool(found) and bool((await objects.list(limit=1)).items)
    except NotFound:
        return False  # not served, so there is nobody who could have made one


_WANTED, _HELD = "wanted-names", "held-names"


def build_crd_controller(
    informers: InformerFactory, *, for_cluster: ForCluster, resolve: Resolve, clock: Clock, workers: int = 2
) -> Controller:
    """Args: informers: of one cluster, or of `*`. resolve: the catalog's."""
    crds = informers.informer(CRDS, indexers={_WANTED: _wanted_names, _HELD: _held_names})

    def rivals(key: ObjectKey, crd: JSONObject) -> Sequence[JSONObject]:
        """Found by index: CRDs are large, and few ever quarrel."""
        keys = {k for name in _wanted_names(crd) for k in crds.index_keys(_HELD, name) if k != key}
        return [rival for k in sorted(keys) if (rival := crds.get(k)) is not None]

    def touched(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """The CRD, and those that wait for a name which it has given up."""
        yield key
        for name in sorted(set(_held_names(old or {})) - set(_held_names(new or {}))):
            yield from (k for k in crds.index_keys(_WANTED, name) if k != key)

    controller = Controller("crd", CRDReconciler(crds.get, rivals, for_cluster, resolve, clock).reconcile, clock=clock, workers=workers)
    controller.watch(crds, touched)
    return controller


def _wanted_names(crd: Mapping[str, Any]) -> Iterator[str]:
    return _names(crd, meta.nested(crd, "spec", "names", default={}))


def _held_names(crd: Mapping[str, Any]) -> Iterator[str]:
    return _names(crd, meta.nested(crd, "status", "acceptedNames", default={}))


def _names(crd: Mapping[str, Any], names: Mapping[str, Any]) -> Iterator[str]:
    """What only one CRD of a cluster may hold: resources, their singulars and short names among each other, and kinds with list kinds."""
    group = f"{meta.cluster(crd)}|{meta.nested(crd, 'spec', 'group', default='')}"
    yield from (f"{group}/{name}" for name in (names.get("plural"), names.get("singular"), *(names.get("shortNames") or ())) if name)
    yield from (f"{group}:{name}" for name in (names.get("kind"), names.get("listKind")) if name)
