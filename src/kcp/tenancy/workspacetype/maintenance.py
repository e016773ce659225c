"""Default APIBindings after initialization: types with `defaultAPIBindingLifecycle: Maintain` keep theirs.

A binding that is missing is made again, what a type comes to ask for is bound in the workspaces there are, and the claims of an export are
accepted as it makes them. What a type no longer asks for stays. Types that only initialize cost nothing here.
Before: informer events of LogicalClusters, APIBindings, APIExports and WorkspaceTypes. After: the API of each cluster.
Source: kcp pkg/reconciler/tenancy/defaultapibindinglifecycle/default_apibinding_lifecycle_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, StatusError
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.workspacetype.bindings import ClaimsOf, binding_object, export_of, exports_for, missing_and_unready
from kcp.tenancy.workspacetype.model import ExportReference, TypeReference
from kcp.tenancy.workspacetype.names import binding_name
from kcp.tenancy.workspacetype.resolution import ResolvedType, UnresolvableType

_RETRY_S = 5.0
_MAINTAINED = "maintained"


def up_to_date(binding: JSONObject, wanted: JSONObject) -> JSONObject:
    """The binding with the claims that its type accepts; itself if it has them."""
    claims = wanted["spec"].get("permissionClaims")
    if binding["spec"].get("permissionClaims") == claims or not claims:
        return binding
    return {**binding, "spec": {**binding["spec"], "permissionClaims": claims}}


@dataclass(frozen=True, slots=True)
class MaintenanceReconciler:
    """Keeps the default bindings of one LogicalCluster."""

    get: Callable[[ObjectKey], JSONObject | None]
    resolve_type: Callable[[TypeReference], ResolvedType]
    list_bindings: Callable[[ClusterName], Sequence[JSONObject]]
    claims_of: ClaimsOf
    client: Client
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        cluster = self.get(key)
        if cluster is None or meta.deletion_timestamp(cluster) or meta.nested(cluster, "status", "phase") != kinds.READY:
            return Result()
        annotations = meta.annotations(cluster)
        try:
            type_ = self.resolve_type(TypeReference.parse(annotations.get(kinds.TYPE, "")))
        except UnresolvableType:
            return Result()  # it has been deleted, or is told of in the condition of new workspaces
        wanted = exports_for(type_.maintained_bindings, annotations.get(kinds.PATH, ""))
        if not wanted:
            return Result()
        refused = await self._keep(key.cluster, wanted)
        missing, unready = missing_and_unready(wanted, self.list_bindings(key.cluster))
        waiting = sorted([*unready, *(f"for APIExport {export}" for export in missing)])
        await self.commit(cluster, self._reported(cluster, waiting, refused))
        return Result(requeue_after_s=_RETRY_S if refused else None)

    async def _keep(self, cluster: ClusterName, wanted: Iterable[ExportReference]) -> list[str]:
        """Make and update bindings. Returns what was refused."""
        resource = self.client.cluster(cluster).resource(kinds.API_BINDINGS)
        held = {export_of(binding): binding for binding in self.list_bindings(cluster) if not meta.deletion_timestamp(binding)}
        refused = []
        for export in wanted:
            made = binding_object(binding_name(cluster, export), export, self.claims_of(export))
            try:
                if export not in held:
                    await resource.create(made)
                else:
                    await commit(resource, held[export], up_to_date(held[export], made))
            except AlreadyExists:
                continue  # being deleted, or the informer lags behind an earlier run: its event wakes this again
            except StatusError as error:
                refused.append(f"unable to bind APIExport {export}: {error.message}")
        return refused

    def _reported(self, cluster: JSONObject, waiting: Sequence[str], refused: Sequence[str]) -> JSONObject:
        wanted: JSONObject = meta.copy_json(cluster)
        now = rfc3339(self.clock.now())
        reason, message, severity = "", "", ""
        if refused:
            reason, message, severity = "APIBindingErrors", "; ".join(refused), "Error"
        elif waiting:
            reason, severity = "WaitingOnAPIBindings", "Info"
            message = f"APIBinding(s) not yet fully reconciled: {', '.join(waiting)}"
        status = conditions.FALSE if reason else conditions.TRUE
        told = conditions.build(kinds.BINDINGS_RECONCILED, status, reason=reason, message=message, severity=severity, now=now)
        conditions.set_condition(wanted, told)
        return wanted


def _is_maintained(type_: Mapping[str, Any]) -> Iterable[str]:
    return [_MAINTAINED] if meta.nested(type_, "spec", "defaultAPIBindingLifecycle") == "Maintain" else []


def build_maintenance(
    client: Client,
    informers: InformerFactory,
    clock: Clock,
    *,
    resolve_type: Callable[[TypeReference], ResolvedType],
    claims_of: ClaimsOf,
    clusters: FreshReads,
) -> Controller:
    """`client` may write in every cluster and bind every export."""
    bindings, exports = informers.informer(kinds.API_BINDINGS), informers.informer(kinds.API_EXPORTS)
    types = informers.informer(kinds.WORKSPACE_TYPES, indexers={_MAINTAINED: _is_maintained})
    logical_clusters = informers.informer(kinds.LOGICAL_CLUSTERS)

    def in_cluster(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        if types.index_keys(_MAINTAINED, _MAINTAINED):
            yield ObjectKey(key.cluster, "", kinds.LOGICAL_CLUSTER_NAME)

    def everywhere(_key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        """A type or an export has changed: rare, and in how many workspaces it counts only the types know."""
        if not types.index_keys(_MAINTAINED, _MAINTAINED):
            return []
        return logical_clusters.keys()

    reconciler = MaintenanceReconciler(
        clusters.get, resolve_type, lambda cluster: bindings.list(cluster=cluster), claims_of, client, clusters.commit, clock
    )
    controller = Controller("default-apibinding-lifecycle", reconciler.reconcile, clock=clock)
    controller.watch(logical_clusters, in_cluster)
    controller.watch(bindings, in_cluster)
    controller.watch(types, everywhere)
    controller.watch(exports, everywhere)
    return controller
