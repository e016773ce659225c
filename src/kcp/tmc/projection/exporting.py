"""ResourceExports: one object on chosen clusters. Each is carried out by a ResourceProjection that it owns, and tells what becomes of that.

    ResourceExport web → ResourceProjection export-web (of that one object, to these clusters) → copies → its status → exportedClusters

Before: `server.tmc`. After: `controller`, which makes the copies.
Source: the TMC reference §2.1 (ResourceExport); what its conflict resolutions mean is ours, see docs/projection.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Cause, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apis.kubernetes import checks
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.registry.resource import Resource
from kcp.tmc.model.kinds import LOCATIONS, READY, RESOURCE_EXPORTS, RESOURCE_PROJECTIONS, SYNC_TARGETS, SYNCED
from kcp.tmc.model.wishes import CONFLICT_RESOLUTION, Conflict
from kcp.tmc.projection.spec import matches_any

PREFIX = "export-"
"""Of the names of the projections."""
DEFAULT_NAMESPACE = "default"


def faults(obj: Mapping[str, Any]) -> Iterator[Cause]:
    target = meta.nested(obj, "spec", "target", default={})
    location = target.get("locationSelector") or {}
    if not (target.get("clusters") or target.get("labelSelector") or location.get("labelSelector")):
        yield Cause.required("spec.target", "name clusters, or select them by labels or locations")
    for selector, path in (
        (target.get("labelSelector"), "spec.target.labelSelector"),
        (location.get("labelSelector"), "spec.target.locationSelector.labelSelector"),
    ):
        if selector:
            yield from checks.selector(selector, path)


def clusters_of(export: Mapping[str, Any], targets: Sequence[JSONObject], locations: Sequence[JSONObject]) -> list[str]:
    """Names of the SyncTargets that an export is for. Pure."""
    told = meta.nested(export, "spec", "target", default={})
    patterns, labels = tuple(told.get("clusters") or ()), told.get("labelSelector")
    by_location = (told.get("locationSelector") or {}).get("labelSelector")
    found = [t for t in targets if not patterns or matches_any(meta.name(t), patterns)]
    if labels:
        selector = LabelSelector.from_object(labels)
        found = [t for t in found if selector.matches(meta.labels(t))]
    if by_location:
        wanted = LabelSelector.from_object(by_location)
        places = [meta.nested(one, "spec", "instanceSelector", default={}) for one in locations if wanted.matches(meta.labels(one))]
        picked = [LabelSelector.from_object(place) for place in places]
        found = [t for t in found if any(one.matches(meta.labels(t)) for one in picked)]
    return sorted(meta.name(t) for t in found)


def projection_of(export: JSONObject, kind: str, clusters: Sequence[str]) -> JSONObject:
    """The ResourceProjection that carries it out. Pure."""
    spec, reference = export["spec"], export["spec"]["resource"]
    group, version = reference.get("group") or "", reference["version"]
    selector = {"apiVersion": f"{group}/{version}" if group else version, "kind": kind, "namePattern": reference["name"]}
    wanted: JSONObject = {
        "mode": "Selective",
        "namespaces": [reference.get("namespace") or DEFAULT_NAMESPACE],
        "resourceSelectors": [selector],
        "targetClusters": list(clusters),
    }
    if path := meta.nested(spec, "target", "locationSelector", "path", default=""):
        wanted["locationWorkspace"] = path
    resolution = spec.get("conflictResolution") or Conflict.USE_SOURCE
    if resolution != Conflict.USE_SOURCE:
        annotation = f"metadata.annotations['{CONFLICT_RESOLUTION}']"
        wanted["transformations"] = [{"type": "Set", "jsonPath": annotation, "value": str(resolution)}]
    owner = {
        "apiVersion": RESOURCE_EXPORTS.api_version, "kind": "ResourceExport", "name": meta.name(export), "uid": meta.uid(export),
        "controller": True,
    }  # fmt: skip
    metadata = {"name": f"{PREFIX}{meta.name(export)}", "ownerReferences": [owner]}
    return {"apiVersion": RESOURCE_PROJECTIONS.api_version, "kind": "ResourceProjection", "metadata": metadata, "spec": wanted}


def render(export: JSONObject, clusters: Sequence[str], projection: JSONObject | None, fault: tuple[str, str], now: str) -> JSONObject:
    """The export with its status. Pure. Args: fault: reason and message of what keeps it from being carried out; ("", "")."""
    wanted: JSONObject = meta.copy_json(export)
    status = meta.ensure(wanted, "status")
    before = {entry["cluster"]: entry for entry in status.get("exportedClusters") or ()}
    held = {entry["cluster"]: entry for entry in meta.nested(projection or {}, "status", "targets", default=())}
    ready = conditions.get(projection, READY) if projection is not None else None
    status["exportedClusters"] = [_cluster(name, held.get(name), before.get(name) or {}, ready, now) for name in clusters]
    times = [entry["lastExportTime"] for entry in status["exportedClusters"] if entry.get("lastExportTime")]
    if times:
        status["lastExportTime"] = max(times)
    missing = [entry["cluster"] for entry in status["exportedClusters"] if not entry["exported"]]
    if not fault[0] and (missing or not clusters):
        told = (ready or {}).get("message") or "the copies are being made"
        fault = ((ready or {}).get("reason") or "BeingMade", told)
    for kind in (READY, SYNCED):
        state = conditions.FALSE if fault[0] else conditions.TRUE
        condition = conditions.build(kind, state, reason=fault[0], message=fault[1], severity="Warning", now=now)
        conditions.set_condition(wanted, condition)
    return wanted


def _cluster(
    name: str, held: Mapping[str, Any] | None, before: Mapping[str, Any], ready: Mapping[str, Any] | None, now: str
) -> JSONObject:  # fmt: skip
    is_there = held is not None and held.get("status") == "Active"
    found: JSONObject = {"cluster": name, "exported": is_there}
    if since := before.get("lastExportTime") if before.get("exported") or not is_there else now:
        found["lastExportTime"] = since
    if not is_there and (error := (held or {}).get("message") or (ready or {}).get("message")):
        found["error"] = error
    return found


@dataclass(frozen=True, slots=True)
class ExportReconciler:
    """Keys are those of ResourceExports."""

    get: Callable[[ObjectKey], JSONObject | None]
    projection: Callable[[ObjectKey], JSONObject | None]
    home: Callable[[ClusterName, str], ClusterName | None]
    """(cluster of the export, path or "") → where the SyncTargets are looked for."""
    targets: Callable[[ClusterName], Sequence[JSONObject]]
    locations: Callable[[ClusterName], Sequence[JSONObject]]
    resource: Callable[[ClusterName, GVR], Resource | None]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        export = self.get(key)
        if export is None or meta.deletion_timestamp(export):
            return Result()
        clusters, fault = self._clusters(export)
        projection, fault = await self._carry_out(export, clusters, fault)
        wanted = render(export, clusters, projection, fault, rfc3339(self.clock.now()))
        await commit(self.for_cluster(key.cluster).resource(RESOURCE_EXPORTS), export, wanted)
        return Result()

    def _clusters(self, export: JSONObject) -> tuple[list[str], tuple[str, str]]:
        path = meta.nested(export, "spec", "target", "locationSelector", "path", default="")
        home = self.home(meta.cluster(export), path)
        if home is None:
            return [], ("LocationNotFound", f'spec.target.locationSelector.path "{path}" does not exist')
        if problems := list(faults(export)):
            return [], ("InvalidSpec", "; ".join(map(str, problems)))
        found = clusters_of(export, self.targets(home), self.locations(home))
        return found, ("", "") if found else ("NoClusters", "no SyncTarget is as spec.target wants it")

    async def _carry_out(
        self, export: JSONObject, clusters: Sequence[str], fault: tuple[str, str]
    ) -> tuple[JSONObject | None, tuple[str, str]]:
        """Make the projection what it should be, or take it away where there is nothing for it to do."""
        cluster, reference = meta.cluster(export), export["spec"]["resource"]
        gvr = GVR(reference.get("group") or "", reference["version"], reference["resource"])
        resource = self.resource(cluster, gvr)
        if not fault[0] and (resource is None or not resource.namespaced):
            fault = ("ResourceNotServed", f"this workspace serves no namespaced resource {gvr.group_resource} in version {gvr.version}")
        projections = self.for_cluster(cluster).resource(RESOURCE_PROJECTIONS)
        held = self.projection(ObjectKey(cluster, "", f"{PREFIX}{meta.name(export)}"))
        is_ours = held is not None and any(owner.get("uid") == meta.uid(export) for owner in meta.owner_references(held))
        if held is not None and not is_ours:
            return None, ("NameTaken", f"there is another ResourceProjection {meta.name(held)}: rename it, or this export")
        if fault[0] or resource is None:
            if held is not None:
                await _gone(projections.delete(meta.name(held), uid=meta.uid(held)))
            return None, fault
        wanted = projection_of(export, resource.kind, clusters)
        if held is None:
            return await projections.create(wanted), fault
        changed = {**held, "spec": {**_defaults(held), **wanted["spec"]}}
        return await commit(projections, held, changed), fault


def _defaults(held: JSONObject) -> JSONObject:
    """What of a projection's spec stays when it is written anew: nothing that an export decides."""
    ours = ("mode", "namespaces", "resourceSelectors", "targetClusters", "locationWorkspace", "transformations")
    return {name: value for name, value in (held.get("spec") or {}).items() if name not in ours}


async def _gone(deletion: Any) -> None:
    try:
        await deletion
    except NotFound:
        pass  # which is what was wanted


def build_export_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    ancestors: Callable[[ClusterName], Iterable[ClusterName]],
    resource: Callable[[ClusterName, GVR], Resource | None],
    clock: Clock,
) -> Controller:
    """Args: resolve: workspace path → cluster. ancestors: a workspace's parents, nearest first. resource: what a workspace serves."""
    exports, projections = informers.informer(RESOURCE_EXPORTS), informers.informer(RESOURCE_PROJECTIONS)
    targets, locations = informers.informer(SYNC_TARGETS), informers.informer(LOCATIONS)

    def home(cluster: ClusterName, path: str) -> ClusterName | None:
        if path:
            return resolve(path)
        return next((c for c in (cluster, *ancestors(cluster)) if targets.count(cluster=c)), cluster)

    def of_projection(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001 - a map function
        return [ObjectKey(key.cluster, "", key.name.removeprefix(PREFIX))] if key.name.startswith(PREFIX) else []

    def of_place(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """It came, went, or has other labels; a heartbeat changes nothing here."""
        seen = [(meta.labels(one), meta.nested(one, "spec", "instanceSelector")) if one is not None else None for one in (old, new)]
        return exports.keys() if seen[0] != seen[1] else []

    reconciler = ExportReconciler(
        exports.get, projections.get, home, lambda c: targets.list(cluster=c), lambda c: locations.list(cluster=c), resource, for_cluster,
        clock,
    )  # fmt: skip
    controller = Controller("resource-export", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(exports)
    controller.watch(projections, of_projection)
    controller.watch(targets, of_place)
    controller.watch(locations, of_place)
    return controller
