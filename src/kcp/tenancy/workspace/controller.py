"""Turns a Workspace into a logical cluster and back.

Creation: choose a shard → create the LogicalCluster there (its name is derived from the workspace's uid, so that a retry after a crash
finds the same one) → write annotations, spec.cluster and spec.URL → mirror the cluster's phase until it is Ready.
Deletion: delete the LogicalCluster → wait until it is gone → remove the finalizer.
Before: informer events of Workspaces, LogicalClusters and Shards. After: `commit`; the LogicalCluster's own controllers.
Source: kcp pkg/reconciler/tenancy/workspace.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.logicalcluster.labels import with_phase_labels
from kcp.tenancy.logicalcluster.lifecycle import YOUTH_S, is_starting, pending_initializers, pending_terminators
from kcp.tenancy.shardstatus import OWN_SHARD
from kcp.tenancy.workspace import status
from kcp.tenancy.workspace.scheduling import Shard, candidate_cluster, choose_shard, is_owned_by, logical_cluster, shard_hash, shard_of
from kcp.tenancy.workspacetype.model import TypeReference
from kcp.tenancy.workspacetype.resolution import ResolvedType, UnresolvableType

log = logging.getLogger(__name__)

_NAME_ATTEMPTS = 4
"""Cluster names tried before giving up; one 82-bit collision is already unheard of."""

_UNSCHEDULED = "unscheduled"
"""Index: workspaces that have no logical cluster yet."""

_DEFAULT_TYPE = TypeReference("root", "universal")
"""Of workspaces written before admission was there to say."""

Write = Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
ClustersOf = Callable[[str, ClusterName], ResourceClient]
"""(shard name, cluster) → client of the LogicalClusters there."""


@dataclass
class WorkspaceReconciler:
    """Creation and status of one Workspace."""

    get: Callable[[ObjectKey], JSONObject | None]
    get_cluster: Callable[[ObjectKey], JSONObject | None]
    list_shards: Callable[[], Iterable[Shard]]
    resolve_type: Callable[[TypeReference], ResolvedType]
    path_of: Callable[[ClusterName], str]
    logical_clusters: ClustersOf
    commit: Write
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        workspace = self.get(key)
        if workspace is None or meta.nested(workspace, "spec", "mount") is not None:
            return Result()
        if meta.deletion_timestamp(workspace):
            await self._delete(workspace)
            return Result()
        created: JSONObject | None = None
        if not meta.nested(workspace, "spec", "cluster", default=""):
            scheduled = await self._schedule(workspace)
            if scheduled is None:
                return Result()
            workspace, created = scheduled
        return await self._mirror(workspace, created)

    async def _schedule(self, workspace: JSONObject) -> tuple[JSONObject, JSONObject] | None:
        """Give the workspace a logical cluster. Returns both as written, or None after saying in the status why that is impossible."""
        choice = choose_shard(workspace, self.list_shards())
        problem = choice.problem
        type_ = None
        try:
            type_ = self.resolve_type(
                TypeReference.from_object(meta.nested(workspace, "spec", "type")) or TypeReference("root", "universal")
            )
        except UnresolvableType as error:
            problem = str(error)
        if choice.shard is None or type_ is None:
            await self.commit(workspace, status.unschedulable(workspace, problem, now=self._now()))
            return None
        workspace = await self._protect(workspace)
        cluster = await self._create_cluster(workspace, choice.shard, type_)
        return await self._place(workspace, choice.shard, cluster), cluster

    async def _protect(self, workspace: JSONObject) -> JSONObject:
        """The finalizer comes before the cluster; admission has normally set it."""
        if kinds.LOGICAL_CLUSTER_FINALIZER in meta.finalizers(workspace):
            return workspace
        wanted = meta.copy_json(workspace)
        meta.set_finalizers(wanted, [*meta.finalizers(workspace), kinds.LOGICAL_CLUSTER_FINALIZER])
        return await self.commit(workspace, wanted)

    async def _create_cluster(self, workspace: JSONObject, shard: Shard, type_: ResolvedType) -> JSONObject:
        wanted = logical_cluster(workspace, type_, parent_path=self.path_of(meta.cluster(workspace)))
        meta.set_annotation(wanted, kinds.SHARD, shard.name)
        for attempt in range(_NAME_ATTEMPTS):
            name = candidate_cluster(workspace, attempt)
            resource = self.logical_clusters(shard.name, name)
            try:
                return _in_cluster(await resource.create(wanted), name)
            except AlreadyExists:
                held = await resource.get(kinds.LOGICAL_CLUSTER_NAME)
                if is_owned_by(held, workspace):
                    return _in_cluster(held, name)
        raise AlreadyExists(f"no free cluster name for workspace {meta.name(workspace)} after {_NAME_ATTEMPTS} attempts")

    async def _place(self, workspace: JSONObject, shard: Shard, cluster: JSONObject) -> JSONObject:
        path = meta.annotations(cluster)[kinds.PATH]
        wanted = meta.copy_json(workspace)
        spec = meta.ensure(wanted, "spec")
        spec["cluster"] = str(meta.cluster(cluster))
        spec["URL"] = f"{shard.url.rstrip('/')}/clusters/{path}"
        meta.set_annotation(wanted, kinds.SHARD, shard.name)
        meta.set_annotation(wanted, kinds.SHARD_OF_WORKSPACE, shard_hash(shard.name))
        meta.set_annotation(wanted, kinds.CLUSTER_OF_WORKSPACE, str(meta.cluster(cluster)))
        waiting = pending_initializers(cluster)
        phase = kinds.INITIALIZING if waiting else kinds.READY
        terminators = pending_terminators(cluster)
        wanted["metadata"]["labels"] = with_phase_labels(meta.labels(workspace), phase, waiting, terminators)
        return await self.commit(workspace, wanted)

    async def _mirror(self, workspace: JSONObject, created: JSONObject | None) -> Result:
        """Bring status and labels in line with the logical cluster; `created` stands in until the informer has it."""
        name = ClusterName(meta.nested(workspace, "spec", "cluster"))
        cluster = self.get_cluster(ObjectKey(name, "", kinds.LOGICAL_CLUSTER_NAME)) or created
        if cluster is None:
            cluster = await self._confirm_gone(workspace, name)
        if cluster is not None and "status" not in workspace and is_starting(cluster, self.clock.now()):
            return Result(requeue_after_s=YOUTH_S)  # its next phase wakes this workspace
        wanted = status.scheduled(workspace, cluster, now=self._now())
        if wanted["status"].get("phase") == kinds.READY and wanted.get("status") != workspace.get("status"):
            log.info("workspace is ready", extra={"key": str(meta.key(workspace)), "logical_cluster": name})
        workspace = await self.commit(workspace, wanted)
        await self.commit(workspace, status.labelled(workspace))
        return Result()

    async def _confirm_gone(self, workspace: JSONObject, name: ClusterName) -> JSONObject | None:
        """The informer may lag behind a cluster that exists: only the server knows that it does not."""
        try:
            return await self.logical_clusters(shard_of(workspace), name).get(kinds.LOGICAL_CLUSTER_NAME)
        except NotFound:
            return None

    async def _delete(self, workspace: JSONObject) -> None:
        """Delete what may have been created for the workspace; the finalizer goes when nothing is left."""
        if kinds.LOGICAL_CLUSTER_FINALIZER not in meta.finalizers(workspace):
            return
        assigned = meta.nested(workspace, "spec", "cluster", default="")
        names = [ClusterName(assigned)] if assigned else [candidate_cluster(workspace, n) for n in range(_NAME_ATTEMPTS)]
        remaining = [name for name in names if await self._delete_cluster(workspace, name)]
        if remaining:
            for name in remaining:
                await self._tell_deletion(workspace, self.get_cluster(ObjectKey(name, "", kinds.LOGICAL_CLUSTER_NAME)))
            return  # its changes and its disappearance wake this workspace
        wanted = meta.copy_json(workspace)
        meta.set_finalizers(wanted, (f for f in meta.finalizers(workspace) if f != kinds.LOGICAL_CLUSTER_FINALIZER))
        await self.commit(workspace, wanted)
        log.info("workspace is deleted", extra={"key": str(meta.key(workspace))})

    async def _tell_deletion(self, workspace: JSONObject, cluster: JSONObject | None) -> None:
        if cluster is not None and meta.deletion_timestamp(cluster):
            workspace = await self.commit(workspace, status.deleting(workspace, cluster))
            await self.commit(workspace, status.labelled(workspace))

    async def _delete_cluster(self, workspace: JSONObject, name: ClusterName) -> bool:
        """Ask for the deletion of the workspace's cluster. Returns whether it still exists.

        That it exists is believed of the mirror: its disappearance wakes this workspace. That it does not is the server's to say.
        """
        resource = self.logical_clusters(shard_of(workspace), name)
        cluster = self.get_cluster(ObjectKey(name, "", kinds.LOGICAL_CLUSTER_NAME))
        try:
            if cluster is None or not is_owned_by(cluster, workspace):
                cluster = await resource.get(kinds.LOGICAL_CLUSTER_NAME)
            if not is_owned_by(cluster, workspace):
                return False
            if meta.deletion_timestamp(cluster):
                return True
            left = await resource.delete(kinds.LOGICAL_CLUSTER_NAME, uid=meta.uid(cluster))
        except NotFound:
            return False
        return bool(meta.deletion_timestamp(left) and meta.finalizers(left))

    def _now(self) -> str:
        return rfc3339(self.clock.now())


def _in_cluster(obj: JSONObject, name: ClusterName) -> JSONObject:
    """Make sure the object says where it is, whatever the server annotates."""
    meta.set_annotation(obj, "kcp.io/cluster", str(name))
    return obj


def owner_of(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
    """The Workspace that a LogicalCluster belongs to."""
    owner = meta.nested(new or old or {}, "spec", "owner", default={})
    if owner.get("resource") == kinds.WORKSPACES.resource and owner.get("cluster"):
        yield ObjectKey(ClusterName(owner["cluster"]), owner.get("namespace") or "", owner["name"])


def _is_unscheduled(workspace: Mapping[str, Any]) -> Iterable[str]:
    """A Shard changes whenever its workspaces are counted: to decode 10,000 of them each time stops the server for a fifth of a second."""
    return () if meta.nested(workspace, "spec", "cluster", default="") else (_UNSCHEDULED,)


def build_workspace_controller(
    client: Client,
    informers: InformerFactory,
    clock: Clock,
    *,
    resolve_type: Callable[[TypeReference], ResolvedType],
    path_of: Callable[[ClusterName], str],
    shard_client: Callable[[str], Client] | None = None,
    clusters: FreshReads | None = None,
    count: Callable[[], int] = lambda: 0,
) -> Controller:
    """The controller of Workspaces. `client` may write in every cluster; `shard_client` reaches other shards (default: this server).

    Args: count: of this shard's logical clusters, now.
    """
    workspaces = informers.informer(kinds.WORKSPACES, indexers={_UNSCHEDULED: _is_unscheduled})
    shards = informers.informer(kinds.SHARDS)
    fresh = FreshReads(workspaces, client)
    clusters = clusters or FreshReads(informers.informer(kinds.LOGICAL_CLUSTERS), client)

    def logical_clusters(shard: str, cluster: ClusterName) -> ResourceClient:
        return (shard_client(shard) if shard_client else client).cluster(cluster).resource(kinds.LOGICAL_CLUSTERS)

    def unscheduled(_key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        return workspaces.index_keys(_UNSCHEDULED, _UNSCHEDULED)

    reconciler = WorkspaceReconciler(
        get=fresh.get,
        get_cluster=clusters.get,
        list_shards=lambda: [Shard.from_object(s, count() if meta.key(s) == OWN_SHARD else None) for s in shards.list(cluster=ROOT)],
        resolve_type=resolve_type,
        path_of=path_of,
        logical_clusters=logical_clusters,
        commit=fresh.commit,
        clock=clock,
    )
    controller = Controller("workspace", reconciler.reconcile, clock=clock)
    controller.watch(workspaces)
    controller.watch(informers.informer(kinds.LOGICAL_CLUSTERS), owner_of)
    controller.watch(shards, unscheduled)
    return controller
