"""What a workspace gets with its first SyncTarget: APIExport `kubernetes`, Location `default`, and APIBinding `kubernetes` to that export.

The Location picks every SyncTarget. The export is for what is negotiated of the clusters' own APIs, see `publishing`; until then it is
empty.
Once all three are there the export is annotated, and what is deleted of the other two afterwards stays deleted. An export that somebody
annotated before keeps a workspace as it is.
Before: `server.tmc`. After: `publishing`, `exports`.
Source: kcp release-0.11 pkg/reconciler/workload/apiexportcreate/apiexportcreate_controller.go (there a binding that is found leaves the
export without the annotation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.names import BINDINGS, EXPORTS
from kcp.tmc.model.exported import COMPUTE_EXPORT
from kcp.tmc.model.kinds import LOCATIONS, SYNC_TARGETS
from kcp.tmc.model.names import COMPUTE_EXPORT_ANNOTATION

SKIP_ANNOTATION = "workload.kcp.io/skip-default-object-creation"
LOCATION = "default"


def is_own(binding: JSONObject, cluster: ClusterName, path: str) -> bool:
    """Whether a binding is to the workspace's own export."""
    reference = meta.nested(binding, "spec", "reference", "export", default={})
    return reference.get("name") == COMPUTE_EXPORT and (reference.get("path") or "") in ("", cluster, path)


@dataclass(frozen=True, slots=True)
class DefaultsReconciler:
    """Keys are workspaces: a cluster and nothing else."""

    targets: Callable[[ClusterName], int]
    """How many there are."""
    export: Callable[[ClusterName], JSONObject | None]
    bindings: Callable[[ClusterName], Sequence[JSONObject]]
    path_of: Callable[[ClusterName], str]
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        cluster = key.cluster
        if not self.targets(cluster) or _skips(self.export(cluster)):
            return Result()
        workspace = self.for_cluster(cluster)
        export = await self._export(workspace)
        if _skips(export):
            return Result()
        location: JSONObject = {"kind": "Location", "metadata": {"name": LOCATION}, "spec": {"instanceSelector": {}}}
        await _make(workspace, LOCATIONS, location)
        if not any(is_own(binding, cluster, self.path_of(cluster)) for binding in self.bindings(cluster)):
            reference = {"reference": {"export": {"name": COMPUTE_EXPORT}}}
            await _make(workspace, BINDINGS, {"kind": "APIBinding", "metadata": {"name": COMPUTE_EXPORT}, "spec": reference})
        annotations = {"metadata": {"uid": meta.uid(export), "annotations": {SKIP_ANNOTATION: "true"}}}
        await workspace.resource(EXPORTS).patch(COMPUTE_EXPORT, annotations)
        return Result()

    async def _export(self, workspace: Client) -> JSONObject:
        try:
            return await workspace.resource(EXPORTS).get(COMPUTE_EXPORT)
        except NotFound:
            metadata = {"name": COMPUTE_EXPORT, "annotations": {COMPUTE_EXPORT_ANNOTATION: "true"}}
            made = {"apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": metadata, "spec": {}}
            return await workspace.resource(EXPORTS).create(made)


def _skips(export: JSONObject | None) -> bool:
    return export is not None and meta.annotations(export).get(SKIP_ANNOTATION) == "true"


async def _make(workspace: Client, gvr: GVR, obj: JSONObject) -> None:
    try:
        await workspace.resource(gvr).create({"apiVersion": gvr.api_version, **obj})
    except AlreadyExists:
        pass  # somebody's own, which stays as it is


def build_defaults_controller(
    informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], path_of: Callable[[ClusterName], str], *, clock: Clock
) -> Controller:
    targets, exports, bindings = informers.informer(SYNC_TARGETS), informers.informer(EXPORTS), informers.informer(BINDINGS)

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001 - a map function
        return [ObjectKey(key.cluster, "", "")] if old is None else []

    def of_export(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001 - a map function
        """One that was deleted is made again, as is what belongs to it."""
        return [ObjectKey(key.cluster, "", "")] if new is None and key.name == COMPUTE_EXPORT else []

    reconciler = DefaultsReconciler(
        lambda cluster: targets.count(cluster=cluster), lambda cluster: exports.get(ObjectKey(cluster, "", COMPUTE_EXPORT)),
        lambda cluster: bindings.list(cluster=cluster), path_of, for_cluster,
    )  # fmt: skip
    controller = Controller("tmc-defaults", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(targets, of_target)
    controller.watch(exports, of_export)
    controller.watch(bindings, lambda _key, _old, _new: ())
    return controller
