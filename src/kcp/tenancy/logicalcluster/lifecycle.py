"""The phases of a LogicalCluster: (new) → Initializing → Ready ⇄ Inactive → Terminating → Deleting. `advance` is pure;
`LifecycleReconciler` carries it out.

A new cluster gets its owner's ClusterRoleBinding before anyone may enter it, then its first status. Initializers are removed from
`status.initializers` by their controllers; when none is left the cluster is Ready. A deleted one is Terminating while `status.terminators`
names somebody; then `deletion` empties it.
Before: an informer event of the LogicalCluster. After: `commit`.
Source: kcp pkg/reconciler/core/logicalcluster/logicalcluster_reconcile_{phase,metadata,url}.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import orjson

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
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

YOUTH_S = 2.0
"""Age of a logical cluster, or of its deletion, up to which what this server itself does is expected to be over in a moment.

Timestamps are whole seconds, so that this is between one and two of them.
"""
_QUICK_INITIALIZERS = frozenset({kinds.BINDINGS_INITIALIZER, kinds.UNIVERSAL_INITIALIZER})


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
        if terminators := list(meta.nested(cluster, "spec", "terminators", default=())):
            status["terminators"] = terminators
    if status["phase"] == kinds.INITIALIZING:
        _initialize(wanted, now)
    elif status["phase"] in (kinds.READY, kinds.INACTIVE_PHASE):
        status["phase"] = kinds.INACTIVE_PHASE if kinds.is_inactive(cluster) else kinds.READY
    return wanted


def terminating(cluster: JSONObject) -> JSONObject:
    """A copy of a deleted LogicalCluster with the phase it has while its terminators work; the cluster itself if there are none."""
    if not pending_terminators(cluster):
        return cluster
    wanted: JSONObject = meta.copy_json(cluster)
    meta.ensure(wanted, "status")["phase"] = kinds.TERMINATING
    if "terminators" not in wanted["status"]:
        wanted["status"]["terminators"] = pending_terminators(cluster)
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
    """A copy whose labels say the phase, what initializes it and what terminates it, with the finalizer for those that terminate.

    Once it is Ready only the name of its creator is kept.
    """
    wanted: JSONObject = meta.copy_json(cluster)
    phase = meta.nested(cluster, "status", "phase", default="")
    waiting = meta.nested(cluster, "status", "initializers", default=())
    terminators = pending_terminators(cluster)
    meta.ensure(wanted, "metadata")["labels"] = with_phase_labels(meta.labels(cluster), phase, waiting, terminators)
    finalizers = [f for f in meta.finalizers(cluster) if f != kinds.TERMINATORS_FINALIZER]
    if terminators:
        finalizers = [*finalizers, kinds.TERMINATORS_FINALIZER]
    if set(finalizers) != set(meta.finalizers(cluster)):
        meta.set_finalizers(wanted, finalizers)
    if phase == kinds.READY:
        forget_groups(wanted)
    return wanted


def forget_groups(obj: JSONObject) -> None:
    """Reduce the owner annotation of a Workspace or LogicalCluster that is Ready to the user's name.

    Source: kcp pkg/reconciler/tenancy/workspace/workspace_reconcile_metadata.go.
    """
    text = meta.annotations(obj).get(kinds.OWNER, "")
    if not text:
        return
    name = owner_of_annotation(text).get("username")
    meta.set_annotation(obj, kinds.OWNER, orjson.dumps({"username": name}).decode() if name else None)


def pending_terminators(cluster: JSONObject) -> list[str]:
    """What has to be done before a logical cluster is emptied; before its first status that is everything its spec asks for."""
    if meta.nested(cluster, "status", "phase", default="") in ("", kinds.SCHEDULING):
        return list(meta.nested(cluster, "spec", "terminators", default=()))
    return list(meta.nested(cluster, "status", "terminators", default=()))


def pending_initializers(cluster: JSONObject) -> list[str]:
    """What a logical cluster still waits for; before its first status that is everything its spec asks for."""
    if meta.nested(cluster, "status", "phase", default="") in ("", kinds.SCHEDULING):
        return list(meta.nested(cluster, "spec", "initializers", default=()))
    return list(meta.nested(cluster, "status", "initializers", default=()))


def is_starting(cluster: JSONObject, now: datetime) -> bool:
    """Whether a new logical cluster waits for nothing but what this server itself does in a moment: nobody need be told of that."""
    created = meta.creation_timestamp(cluster)
    waiting = pending_initializers(cluster)
    is_quick = bool(waiting) and _QUICK_INITIALIZERS.issuperset(waiting)
    return is_quick and bool(created) and (now - parse_rfc3339(created)).total_seconds() < YOUTH_S


def owner_of_annotation(text: str) -> JSONObject:
    """The user info in an owner annotation; {} if there is none to be read."""
    try:
        owner = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return {}
    return owner if isinstance(owner, dict) else {}


def owner_binding(owner_annotation: str) -> JSONObject | None:
    """ClusterRoleBinding that makes the creator admin of the new workspace; None without a usable owner."""
    user = owner_of_annotation(owner_annotation).get("username")
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
        if cluster is None:
            return Result()
        if meta.deletion_timestamp(cluster):
            if kinds.TERMINATORS_FINALIZER in meta.finalizers(cluster) or pending_terminators(cluster):
                cluster = await self.commit(cluster, terminating(cluster))
                await self.commit(cluster, with_labels(cluster))
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
