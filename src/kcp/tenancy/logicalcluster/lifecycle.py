"""The phases of a LogicalCluster: (new) → Initializing → Ready. `advance` is pure; `LifecycleReconciler` carries it out.

A new cluster gets its owner's ClusterRoleBinding before anyone may enter it, then its first status. Initializers are removed from
`status.initializers` by their controllers; when none is left the cluster is Ready.
Before: an informer event of the LogicalCluster. After: `commit`.
Source: kcp pkg/reconciler/core/logicalcluster/logicalcluster_reconcile_{phase,metadata,url}.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.logicalcluster.labels import with_phase_labels


def advance(cluster: JSONObject, *, url: str, now: str) -> JSONObject:
    """A copy of a LogicalCluster with the status it should have next.

    >>> advance({"spec": {}}, url="https://kcp/clusters/root:a", now="2026-01-01T00:00:00Z")["status"]["phase"]
    'Ready'
    """
    wanted: JSONObject = meta.copy_json(cluster)
    status = meta.ensure(wanted, "status")
    status["URL"] = url
    if status.get("phase") in (None, "", kinds.SCHEDULING):
        status["phase"] = kinds.INITIALIZING
        initializers = list(meta.nested(cluster, "spec", "initializers", default=()))
        if initializers:
            status["initializers"] = initializers
    if status["phase"] == kinds.INITIALIZING:
        _initialize(wanted, now)
    return wanted


def _initialize(wanted: JSONObject, now: str) -> None:
    waiting = meta.nested(wanted, "status", "initializers", default=())
    if waiting:
        condition = conditions.build(
            kinds.WORKSPACE_INITIALIZED, conditions.FALSE, reason="InitializerExists", severity="Info",
            message=f"Initializers still exist: [{' '.join(waiting)}]", now=now,
        )  # fmt: skip
    else:
        wanted["status"]["phase"] = kinds.READY
        condition = conditions.build(kinds.WORKSPACE_INITIALIZED, conditions.TRUE, now=now)
    conditions.set_condition(wanted, condition)


def with_labels(cluster: JSONObject) -> JSONObject:
    """A copy whose labels say the phase and what initializes it."""
    wanted: JSONObject = meta.copy_json(cluster)
    phase = meta.nested(cluster, "status", "phase", default="")
    waiting = meta.nested(cluster, "status", "initializers", default=())
    meta.ensure(wanted, "metadata")["labels"] = with_phase_labels(meta.labels(cluster), phase, waiting)
    return wanted


def pending_initializers(cluster: JSONObject) -> list[str]:
    """What a logical cluster still waits for; before its first status that is everything its spec asks for."""
    if meta.nested(cluster, "status", "phase", default="") in ("", kinds.SCHEDULING):
        return list(meta.nested(cluster, "spec", "initializers", default=()))
    return list(meta.nested(cluster, "status", "initializers", default=()))


def owner_binding(owner_annotation: str) -> JSONObject | None:
    """ClusterRoleBinding that makes the creator admin of the new workspace; None without a usable owner."""
    try:
        owner = orjson.loads(owner_annotation) if owner_annotation else {}
    except orjson.JSONDecodeError:
        return None
    user = owner.get("username") if isinstance(owner, dict) else None
    if not user:
        return None
    return {
        "apiVersion": kinds.CLUSTER_ROLE_BINDINGS.api_version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "workspace-admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


@dataclass
class LifecycleReconciler:
    """Advances one LogicalCluster by at most one phase per run."""

    get: Callable[[ObjectKey], JSONObject | None]
    create_owner_binding: Callable[[ClusterName, JSONObject], Awaitable[object]]
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    url_of: Callable[[str], str]
    """URL of a cluster path."""
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        cluster = self.get(key)
        if cluster is None or meta.deletion_timestamp(cluster):
            return Result()
        if not meta.nested(cluster, "status", "phase", default=""):
            await self._grant_owner(key.cluster, cluster)
        path = meta.annotations(cluster).get(kinds.PATH) or str(key.cluster)
        wanted = advance(cluster, url=self.url_of(path), now=rfc3339(self.clock.now()))
        cluster = await self.commit(cluster, wanted)
        await self.commit(cluster, with_labels(cluster))
        return Result()

    async def _grant_owner(self, name: ClusterName, cluster: JSONObject) -> None:
        binding = owner_binding(meta.annotations(cluster).get(kinds.OWNER, ""))
        if binding is None:
            return
        try:
            await self.create_owner_binding(name, binding)
        except AlreadyExists:
            return  # written by an earlier run that was cut off


def build_lifecycle(
    client: Client, informers: InformerFactory, clock: Clock, *, url_of: Callable[[str], str], clusters: FreshReads | None = None
) -> Controller:
    """The controller of LogicalCluster phases. `client` may write in every cluster."""
    clusters = clusters or FreshReads(informers.informer(kinds.LOGICAL_CLUSTERS), client)

    async def create_binding(cluster: ClusterName, binding: JSONObject) -> object:
        return await client.cluster(cluster).resource(kinds.CLUSTER_ROLE_BINDINGS).create(binding)

    reconciler = LifecycleReconciler(clusters.get, create_binding, clusters.commit, url_of, clock)
    controller = Controller("logicalcluster", reconciler.reconcile, clock=clock)
    controller.watch(informers.informer(kinds.LOGICAL_CLUSTERS))
    return controller
