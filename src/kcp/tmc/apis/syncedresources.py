"""`status.syncedResources` of SyncTargets: of every API that a target's exports offer, whether its cluster has it, and has it alike.

Pending: nothing is known of it yet. Accepted: the cluster serves it, and takes every object that is valid in a workspace. Incompatible: it
does not, with the fields in the message. This controller alone writes them; what it reads are the syncer's APIResourceImports, and
`status.unservedAPIs` for what a cluster lacks.
Before: `server.tmc`. After: `compare`.
Source: kcp release-0.11 pkg/reconciler/workload/synctargetexports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.kinds import by_gvk
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.registry.resource import Resource
from kcp.tmc.apis.compare import refusals
from kcp.tmc.apis.imports import BY_LOCATION, IMPORTS, gvr_of, index_by_location, located, schema_of
from kcp.tmc.model.kinds import SYNC_TARGETS, SyncTarget

PENDING, ACCEPTED, INCOMPATIBLE = "Pending", "Accepted", "Incompatible"


class Judged(NamedTuple):
    """What is said of one version of one API."""

    state: str
    message: str = ""


def judge(offered: Resource, imported: JSONObject | None, unserved: Iterable[str]) -> Judged:
    """Pure. Args: imported: the APIResourceImport of this very version; None: there is none. unserved: APIs that the cluster lacks."""
    if imported is None:
        if str(offered.group_resource) in unserved:
            return Judged(INCOMPATIBLE, "the cluster does not serve it")
        return Judged(PENDING)
    is_native = by_gvk(offered.gvk) is not None
    found = refusals(offered.openapi_source(), schema_of(imported), is_native=is_native)
    return Judged(INCOMPATIBLE, "; ".join(found)) if found else Judged(ACCEPTED)


def decide(target: JSONObject, offered: Sequence[Resource], imports: Sequence[JSONObject]) -> list[JSONObject]:
    """The entries, from the last group and resource to the first, as kcp 0.11 lists them. Pure.

    Args: offered: every version of every resource of the target's exports. imports: those of this target.
    """
    by_gvr = {gvr_of(obj): obj for obj in imports}
    unserved = frozenset(meta.nested(target, "status", "unservedAPIs", default=()))
    found: dict[GroupResource, dict[str, tuple[Judged, str]]] = {}
    for resource in offered:
        judged = judge(resource, by_gvr.get(resource.gvr), unserved)
        found.setdefault(resource.group_resource, {})[resource.gvr.version] = (judged, resource.identity)
    return [_entry(gr, versions) for gr, versions in sorted(found.items(), reverse=True)]


def _entry(gr: GroupResource, versions: Mapping[str, tuple[Judged, str]]) -> JSONObject:
    """One version that the cluster takes is enough, and then only those are named."""
    states = [judged.state for judged, _ in versions.values()]
    state = next((s for s in (ACCEPTED, PENDING) if s in states), INCOMPATIBLE)
    message = "; ".join(judged.message for judged, _ in versions.values() if judged.message) if state == INCOMPATIBLE else ""
    named = [version for version, (judged, _) in versions.items() if judged.state == state]
    identity = next((identity for _, identity in versions.values()), "")
    entry = {"group": gr.group, "resource": gr.resource, "versions": named, "state": state}
    return entry | ({"identityHash": identity} if identity else {}) | ({"message": message} if message else {})


@dataclass(frozen=True, slots=True)
class SyncedResourcesReconciler:
    """Keys are those of SyncTargets."""

    get: Callable[[ObjectKey], JSONObject | None]
    offered: Callable[[ClusterName, str, str], Sequence[Resource]]
    """(cluster of the SyncTarget, export path, export name) → every served version of its resources."""
    imports_of: Callable[[ObjectKey], Sequence[JSONObject]]
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            return Result()
        target = SyncTarget.of(obj)
        found = ((path, name, r) for path, name in target.supported_exports for r in self.offered(key.cluster, path, name))
        offered = [resource for path, name, resource in found if target.supports(path, name, resource.group_resource)]
        entries = decide(obj, offered, self.imports_of(key))
        wanted = {**obj, "status": {**(obj.get("status") or {}), "syncedResources": entries}}
        await commit(self.for_cluster(key.cluster).resource(SYNC_TARGETS), obj, wanted)
        return Result()


def build_synced_resources_controller(
    informers: InformerFactory, on_exports: Callable[[Callable[[], None]], None], for_cluster: Callable[[ClusterName], Client],
    offered: Callable[[ClusterName, str, str], Sequence[Resource]], *, clock: Clock,
) -> Controller:  # fmt: skip
    """Args: on_exports: is given what to call whenever an export changed."""
    targets = informers.informer(SYNC_TARGETS)
    imports = informers.informer(IMPORTS, indexers={BY_LOCATION: index_by_location})

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A heartbeat alone changes nothing here."""
        return [] if old is not None and new is not None and _read_of(old) == _read_of(new) else [key]

    def of_import(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [located(key.cluster, obj["spec"].get("location", "")) for obj in (old, new) if obj is not None]

    reconciler = SyncedResourcesReconciler(
        targets.get, offered, lambda key: imports.by_index(BY_LOCATION, str(key)), for_cluster
    )  # fmt: skip
    controller = Controller("synctarget-exports", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(targets, of_target)
    controller.watch(imports, of_import)

    def all_targets() -> None:
        for key in targets.keys():  # noqa: SIM118 - not a mapping
            controller.enqueue(key)

    on_exports(all_targets)
    return controller


def _read_of(target: JSONObject) -> tuple[object, ...]:
    status = target.get("status") or {}
    exports = meta.nested(target, "spec", "supportedAPIExports")
    return meta.uid(target), exports, status.get("unservedAPIs"), status.get("syncedResources")
