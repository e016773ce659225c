"""Where a new workspace goes and what is written for it: pure decisions over values.

Called by `workspace.controller`. Deterministic: the same workspace and shards always give the same shard, cluster name and objects.
Source: kcp pkg/reconciler/tenancy/workspace/workspace_reconcile_scheduling.go (which chooses at random).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.keys import ClusterName, base36_sha224
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.labels import phase_labels
from kcp.tenancy.logicalcluster.lifecycle import owner_of_annotation
from kcp.tenancy.logicalcluster.names import cluster_name
from kcp.tenancy.workspacetype.resolution import ResolvedType


@dataclass(frozen=True, slots=True)
class Shard:
    name: str
    url: str
    """Where users reach it: spec.externalURL, or spec.baseURL."""
    labels: Mapping[str, str]
    unschedulable: bool
    used: int = 0
    soft: int = 0
    """From so many workspaces on, others are preferred; 0 for no limit."""
    hard: int = 0
    """It takes no more than this; 0 for no limit."""

    @property
    def is_full(self) -> bool:
        return 0 < self.hard <= self.used

    @property
    def is_crowded(self) -> bool:
        return 0 < self.soft <= self.used

    @classmethod
    def from_object(cls, obj: Mapping[str, Any], counted: int | None = None) -> Shard:
        """Args: counted: how many logical clusters it has, where that is known better than its status says."""
        spec = meta.nested(obj, "spec", default={})
        return cls(
            name=meta.name(obj),
            url=str(spec.get("externalURL") or spec.get("baseURL") or ""),
            labels=dict(meta.labels(obj)),
            unschedulable=kinds.UNSCHEDULABLE in meta.annotations(obj) or bool(meta.deletion_timestamp(obj)),
            used=counted if counted is not None else _whole(meta.nested(obj, "status", "used", "workspaces", default=0)),
            soft=_whole(meta.nested(obj, "spec", "resourceLimits", "soft", "workspaces", default=0)),
            hard=_whole(meta.nested(obj, "spec", "resourceLimits", "hard", "workspaces", default=0)),
        )


def _whole(said: str | int) -> int:
    return int(quantity.parse(said)) if not quantity.fault(said) else 0


@dataclass(frozen=True, slots=True)
class ShardChoice:
    shard: Shard | None
    problem: str = ""
    """Why there is none, for the condition."""


def choose_shard(workspace: JSONObject, shards: Iterable[Shard]) -> ShardChoice:
    """A schedulable shard that matches `spec.location.selector`; an earlier choice stays while it is valid.

    Spread by rendezvous hashing over the workspace's uid, so that adding a shard moves nothing that is placed.
    """
    known = sorted(shards, key=lambda s: s.name)
    if not known:
        return ShardChoice(None, "no shards are registered in root")
    chosen = shard_of(workspace)
    held = next((s for s in known if chosen in (s.name, shard_hash(s.name))), None)
    if held is not None:
        return ShardChoice(held)
    selector = meta.nested(workspace, "spec", "location", "selector")
    matching = known if selector is None else [s for s in known if LabelSelector.from_object(selector).matches(s.labels)]
    if not matching:
        return ShardChoice(None, f"none of the {len(known)} shards matches spec.location.selector")
    free = [s for s in matching if not s.unschedulable and s.url and not s.is_full]
    if not free:
        told = ", ".join(f"{s.name} (at its limit of {s.hard} workspaces)" if s.is_full else s.name for s in matching)
        return ShardChoice(None, f"all matching shards are unschedulable: {told}")
    uid = meta.uid(workspace)
    preferred = [s for s in free if not s.is_crowded] or free
    return ShardChoice(min(preferred, key=lambda s: hashlib.sha224(f"{uid}/{s.name}".encode()).digest()))


def candidate_cluster(workspace: JSONObject, attempt: int = 0) -> ClusterName:
    """The cluster name a workspace gets: the annotated one, else derived from its uid, so that a retry creates nothing twice."""
    annotated = meta.annotations(workspace).get(kinds.CLUSTER_OF_WORKSPACE)
    if annotated and not attempt:
        return ClusterName(annotated)
    return cluster_name(f"{meta.uid(workspace)}/{attempt}".encode())


@cache
def shard_hash(name: str) -> str:
    """A shard's name as kcp's older annotation has it, by which kcp's tests find the shard of a workspace.

    >>> shard_hash("shard-1")
    '2e1tfbst'

    Source: kcp pkg/reconciler/tenancy/workspace/workspace_indexes.go (ByBase36Sha224NameValue).
    """
    return base36_sha224(name)[:8]


def shard_of(workspace: JSONObject) -> str:
    """The shard a workspace was placed on: its name, or the hash of it; "" if none was chosen."""
    annotations = meta.annotations(workspace)
    return annotations.get(kinds.SHARD) or annotations.get(kinds.SHARD_OF_WORKSPACE, "")


def logical_cluster(workspace: JSONObject, type_: ResolvedType, *, parent_path: str) -> JSONObject:
    """The LogicalCluster object of a workspace. `workspace` carries its own cluster in kcp.io/cluster."""
    initializers, terminators = list(type_.initializers), list(type_.terminators)
    annotations = {kinds.PATH: f"{parent_path}:{meta.name(workspace)}", kinds.TYPE: str(type_.reference)}
    creator = owner_of_annotation(meta.annotations(workspace).get(kinds.OWNER, ""))
    for copied in (kinds.OWNER, kinds.REQUIRED_GROUPS):
        value = meta.annotations(workspace).get(copied)
        if value:
            annotations[copied] = value
    return {
        "apiVersion": kinds.LOGICAL_CLUSTERS.api_version,
        "kind": "LogicalCluster",
        "metadata": {
            "name": kinds.LOGICAL_CLUSTER_NAME,
            "annotations": annotations,
            "labels": phase_labels(kinds.INITIALIZING if initializers else kinds.READY, initializers, terminators),
            "finalizers": [kinds.DELETION_FINALIZER, *([kinds.TERMINATORS_FINALIZER] if terminators else [])],
        },
        "spec": {"owner": owner_reference(workspace), **_given(initializers=initializers, terminators=terminators, createdBy=creator)},
    }


def _given(**fields: Any) -> JSONObject:
    return {name: value for name, value in fields.items() if value}


def owner_reference(workspace: JSONObject) -> JSONObject:
    return {
        "apiVersion": kinds.WORKSPACES.api_version,
        "resource": kinds.WORKSPACES.resource,
        "name": meta.name(workspace),
        "cluster": meta.cluster(workspace),
        "uid": meta.uid(workspace),
    }


def is_owned_by(cluster: JSONObject, workspace: JSONObject) -> bool:
    return bool(meta.nested(cluster, "spec", "owner", "uid", default="") == meta.uid(workspace))
