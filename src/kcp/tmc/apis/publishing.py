"""What clusters were found to have in common becomes an API of their workspace: resources of its APIExport `kubernetes`.

In workspaces where a SyncTarget supports that export (`{export: kubernetes}` without a path, as `kubectl kcp workload sync --resources`
writes it); without what another supported export, such as the one of root:compute, offers already. What somebody else put into the export
stays.
Before: `server.tmc`. After: `exports`, which takes it from there.
Source: kcp release-0.11 pkg/reconciler/workload/apiexport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit, commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.names import EXPORTS, SCHEMAS
from kcp.registry.resource import Resource
from kcp.tmc.apis.imports import NEGOTIATED, PUBLISHED, gvr_of, schema_of
from kcp.tmc.model.kinds import SYNC_TARGETS, SyncTarget
from kcp.tmc.model.names import COMPUTE_EXPORT_ANNOTATION

EXPORT = "kubernetes"
_OURS = "rev-"
_NAMES = ("plural", "singular", "shortNames", "kind", "listKind", "categories")


def schema_object(negotiated: JSONObject) -> JSONObject:
    """The APIResourceSchema of what was negotiated, named by its version."""
    gvr, spec = gvr_of(negotiated), negotiated["spec"]
    version: JSONObject = {"name": gvr.version, "served": True, "storage": True, "schema": schema_of(negotiated)}
    if any(sub.get("name") == "status" for sub in spec.get("subResources") or ()):
        version["subresources"] = {"status": {}}
    names = {field: spec[field] for field in _NAMES if field in spec}
    return {
        "apiVersion": SCHEMAS.api_version,
        "kind": "APIResourceSchema",
        "metadata": {"name": f"{_OURS}{meta.generation(negotiated)}-{meta.uid(negotiated)[:8]}.{gvr.resource}.{gvr.group or 'core'}"},
        "spec": {"group": gvr.group, "names": names, "scope": spec.get("scope") or "Namespaced", "versions": [version]},
    }


def with_resources(export: JSONObject, schemas: Sequence[JSONObject]) -> JSONObject:
    """The export with these of ours, and all of others. Pure."""
    others = [r for r in meta.nested(export, "spec", "resources", default=()) if not r["schema"].startswith(_OURS)]
    ours = [
        {"name": s["spec"]["names"]["plural"], "group": s["spec"]["group"], "schema": meta.name(s), "storage": {"crd": {}}} for s in schemas
    ]
    wanted: JSONObject = {**export, "spec": {**(export.get("spec") or {}), "resources": [*others, *ours]}}
    return wanted


@dataclass(frozen=True, slots=True)
class PublishingReconciler:
    """Keys are workspaces: a cluster and nothing else."""

    targets: Callable[[ClusterName], Sequence[JSONObject]]
    negotiated: Callable[[ClusterName], Sequence[JSONObject]]
    offered: Callable[[ClusterName, str, str], Sequence[Resource]]
    """(cluster of the SyncTarget, export path, export name) → its resources."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        found = self.negotiated(key.cluster)
        exports = {pair for target in self.targets(key.cluster) for pair in SyncTarget.of(target).supported_exports}
        if not found or ("", EXPORT) not in exports:
            return Result()
        others = {r.group_resource for path, name in exports - {("", EXPORT)} for r in self.offered(key.cluster, path, name)}
        ours = [obj for obj in found if gvr_of(obj).group_resource not in others]
        schemas = [schema_object(obj) for obj in ours]
        workspace = self.for_cluster(key.cluster)
        for schema in schemas:
            try:
                await workspace.resource(SCHEMAS).create(schema)
            except AlreadyExists:
                pass  # named by its content
        await self._export(workspace, schemas)
        published = {gvr_of(obj).group_resource for obj in ours}
        for obj in found:
            await self._tell(workspace, obj, published)
        return Result()

    async def _export(self, workspace: Client, schemas: Sequence[JSONObject]) -> None:
        exports = workspace.resource(EXPORTS)
        try:
            held = await exports.get(EXPORT)
        except NotFound:
            if schemas:
                metadata = {"name": EXPORT, "annotations": {COMPUTE_EXPORT_ANNOTATION: "true"}}
                await exports.create(
                    with_resources({"apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": metadata}, schemas)
                )
            return
        await commit(exports, held, with_resources(held, schemas))

    async def _tell(self, workspace: Client, negotiated: JSONObject, published: set[GroupResource]) -> None:
        wanted: JSONObject = meta.copy_json(negotiated)
        is_published, now = gvr_of(negotiated).group_resource in published, rfc3339(self.clock.now())
        state = conditions.TRUE if is_published else conditions.FALSE
        reason = "" if is_published else "OfferedByAnotherExport"
        conditions.set_condition(wanted, conditions.build(PUBLISHED, state, reason=reason, severity="Info", now=now))
        await commit_both(workspace.resource(NEGOTIATED), negotiated, wanted)


def build_publishing_controller(
    informers: InformerFactory, for_cluster: Callable[[ClusterName], Client],
    offered: Callable[[ClusterName, str, str], Sequence[Resource]], *, clock: Clock,
) -> Controller:  # fmt: skip
    targets, negotiated = informers.informer(SYNC_TARGETS), informers.informer(NEGOTIATED)

    def of_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [ObjectKey(key.cluster, "", "")]

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A heartbeat alone changes nothing here."""
        specs = [obj.get("spec") if obj is not None else None for obj in (old, new)]
        return [] if specs[0] == specs[1] else [ObjectKey(key.cluster, "", "")]

    reconciler = PublishingReconciler(
        lambda cluster: targets.list(cluster=cluster), lambda cluster: negotiated.list(cluster=cluster), offered, for_cluster, clock
    )  # fmt: skip
    controller = Controller("tmc-publishing", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(negotiated, of_workspace)
    controller.watch(targets, of_target)
    return controller
