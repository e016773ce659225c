"""One object out of what several clusters say of it. Pure.

The aggregate is true: a cluster whose word is not to be had counts as unknown, neither ready nor unready; every number says whose it is.
Before: `resourceview`. After: `aggregation.combining`.
Source for the strategies: the TMC reference §4; what an unknown cluster means is ours (docs/views.md).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.tmc.aggregation.combining import combine
from kcp.tmc.health.states import Status
from kcp.tmc.model.names import STATE_LABEL, SYNCER_FINALIZER, is_foreign
from kcp.tmc.model.wishes import primary_cluster
from kcp.tmc.overview.instances import Instance, Kind, Target
from kcp.tmc.overview.knowledge import Finding
from kcp.tmc.overview.rules import RuleError
from kcp.tmc.overview.spec import HealthOf, Merge, Policy, Resolution, StatusOf

AGGREGATE_ANNOTATION = "tmc.kcp.io/aggregate"
"""On what a view shows: JSON, who said what."""
ORIGINS_ANNOTATION = "workload.kcp.io/aggregated-from"
"""Comma list of the clusters."""
ORIGIN_ANNOTATION = "workload.kcp.io/origin-cluster"
"""On what is shown of one cluster: its SyncTarget."""
SEEN = "@seen:{}@"
"""Stands for the time at which cluster K was last heard of; the reader gets that of the moment, see `backend`."""


@dataclass(frozen=True, slots=True)
class Aggregated:
    """What a view shows of one object."""

    obj: JSONObject
    health: Status
    problems: tuple[str, ...] = ()
    """StatusRules that failed on it, and where."""


@dataclass(frozen=True, slots=True)
class Member:
    """One cluster's part of an object."""

    target: Target
    instance: Instance

    @property
    def is_known(self) -> bool:
        return not self.target.trouble

    @property
    def finding(self) -> Finding:
        return Finding(Status.UNKNOWN, self.target.trouble) if self.target.trouble else self.instance.finding


def aggregate(obj: JSONObject, members: Sequence[Member], kind: Kind, policy: Policy, *, clusters: int) -> Aggregated | None:
    """None: this object is not in the view.

    Args: obj: the workspace's object, which is given away. members: in order of cluster names. clusters: of the view.
    """
    if not members or (policy.merge is Merge.INTERSECTION and len(members) < clusters):
        return None
    counted = _counted(members, policy)
    health = overall(policy.health, ((m.finding.health, m.target.weight) for m in counted))
    status, problems = _status(obj, counted, kind, policy)
    conflict = _resolve(obj, counted, policy)
    if status:
        obj["status"] = status
    else:
        obj.pop("status", None)
    told = _told(counted, health, policy, conflict)
    _mark(obj, members, told)
    problems = [f"{m.target.name}: {m.instance.problem}" for m in counted if m.instance.problem and m.is_known] + problems
    return Aggregated(obj, health, tuple(problems))


def unreadable(obj: JSONObject, why: str) -> Aggregated:
    """An object whose clusters' words make no sense. Args: obj: given away."""
    obj.pop("status", None)
    _mark(obj, (), {"health": Status.UNKNOWN, "message": why, "clusters": {}, "members": []})
    return Aggregated(obj, Status.UNKNOWN, (f"its status cannot be read: {why}",))


def _counted(members: Sequence[Member], policy: Policy) -> Sequence[Member]:
    """Those that make the aggregate; of clusters that are known, if there are any."""
    if policy.merge is Merge.PRIORITY:
        return [max(members, key=lambda m: (m.is_known, m.target.priority))]
    if policy.merge is Merge.LATEST:
        return [max(members, key=lambda m: (m.is_known, m.instance.reported))]
    return members


def overall(how: HealthOf, found: Iterable[tuple[Status, float]]) -> Status:
    """Health of the whole. Of nothing, nothing is known; what is unknown makes nothing healthy.

    Args: found: health and weight of each cluster.

    >>> overall(HealthOf.MAJORITY, [(Status.HEALTHY, 1), (Status.HEALTHY, 1), (Status.UNKNOWN, 1)])
    <Status.HEALTHY: 'Healthy'>
    """
    weights: Counter[Status] = Counter()
    for health, weight in found:
        weights[health] += weight if how is HealthOf.WEIGHTED else 1  # type: ignore[assignment]  # weights may be fractions
    if not weights:
        return Status.UNKNOWN
    if how is HealthOf.ALL:
        return next(h for h in (Status.UNHEALTHY, Status.DEGRADED, Status.UNKNOWN, Status.HEALTHY) if h in weights)
    if how is HealthOf.ANY:
        return next(h for h in (Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY, Status.UNKNOWN) if h in weights)
    half = weights.total() / 2
    return next((h for h in (Status.HEALTHY, Status.UNHEALTHY, Status.UNKNOWN) if weights[h] > half), Status.DEGRADED)


# --- status ---


def _status(obj: JSONObject, counted: Sequence[Member], kind: Kind, policy: Policy) -> tuple[JSONObject, list[str]]:
    """And the StatusRules that failed."""
    known = [m for m in counted if m.is_known and m.instance.status is not None]
    if policy.status is StatusOf.PRIMARY:
        return (meta.copy_json(_primary(obj, known).instance.status) if known else {}), []
    statuses = [_named(m) for m in known] if len(counted) > 1 else [m.instance.status or {} for m in known]
    status = combine(kind.resource, statuses, len(counted))
    problems: list[str] = []
    if kind.rule is not None and kind.rule.fields:
        seen = [
            {"name": m.target.name, "labels": dict(m.target.labels), "weight": m.target.weight, "status": m.instance.status} for m in known
        ]
        try:
            status |= kind.rule.combine(seen)
        except RuleError as error:
            problems.append(str(error))
    if policy.status is StatusOf.AGGREGATED and known:
        status["clusters"] = [{"name": m.target.name, "status": m.instance.status} for m in known]
    return status, problems


def _primary(obj: JSONObject, known: Sequence[Member]) -> Member:
    """The cluster that the object names, else the one of highest priority, then weight; the first by name of equals."""
    named = primary_cluster(obj)
    return max(known, key=lambda m: (m.target.name == named, m.target.priority, m.target.weight))


def _named(member: Member) -> JSONObject:
    """Its status, with conditions that say whose they are."""
    status = member.instance.status or {}
    if not (held := status.get("conditions")):
        return status
    return {**status, "conditions": [{**c, "message": f"{member.target.name}: {c.get('message') or c.get('reason') or ''}"} for c in held]}


# --- spec ---


def _resolve(obj: JSONObject, counted: Sequence[Member], policy: Policy) -> Mapping[str, Any] | None:
    """Let `obj` have the spec that is shown. Returns what is to be told of a conflict, None if there is none."""
    patches = {m.instance.override for m in counted}
    is_conflict = len(patches) > 1
    winner = counted[0] if not is_conflict else _winner(counted, policy.conflict)
    if winner is not None and winner.instance.override:
        try:
            changed = json_patch.apply(obj, json.loads(winner.instance.override))
        except ValueError:
            changed = obj  # the object changed since, and a new patch is on its way
        obj.update(changed)
    wanted = [m.instance.replicas[0] for m in counted if m.instance.replicas is not None]
    if wanted and "replicas" in (obj.get("spec") or {}):
        obj["spec"]["replicas"] = sum(wanted)
    if not is_conflict:
        return None
    return {"resolution": policy.conflict, "shown": winner.target.name if winner is not None else ""}


def _winner(counted: Sequence[Member], how: Resolution) -> Member | None:
    """Whose copy is shown; None: nobody's, but the workspace's own."""
    if how is Resolution.LAST_WRITER:
        return max(counted, key=lambda m: m.instance.reported)
    if how is Resolution.FIRST_WRITER:
        return min(counted, key=lambda m: m.instance.reported or "~")
    return max(counted, key=lambda m: m.target.weight) if how is Resolution.CLUSTER_WEIGHT else None


# --- what is told ---


def _told(counted: Sequence[Member], health: Status, policy: Policy, conflict: Mapping[str, Any] | None) -> JSONObject:
    """Content of AGGREGATE_ANNOTATION."""
    found = Counter(m.finding.health for m in counted)
    told: JSONObject = {"health": health, "clusters": {s.lower(): found[s] for s in Status}}
    if any(m.instance.replicas is not None for m in counted):
        told["replicas"] = _replicas(counted)
    if policy.merge is not Merge.UNION:
        told["merged"] = policy.merge
    if conflict is not None:
        told["conflict"] = conflict
    told["members"] = [_member(m) for m in counted]
    return told


def _replicas(counted: Sequence[Member]) -> JSONObject:
    desired = ready = unready = unknown = 0
    for member in counted:
        wanted, up = member.instance.replicas or (0, 0)
        desired += wanted
        if not member.is_known or member.instance.status is None:
            unknown += wanted
        else:
            ready += up
            unready += max(wanted - up, 0)
    return {"desired": desired, "ready": ready, "unready": unready, "unknown": unknown}


def _member(member: Member) -> JSONObject:
    finding, instance = member.finding, member.instance
    told: JSONObject = {"name": member.target.name, "health": finding.health}
    if finding.message:
        told["message"] = finding.message
    if instance.replicas is not None:
        told["desired"] = instance.replicas[0]
        if instance.status is not None:
            told["ready"] = instance.replicas[1]
    if instance.reported:
        told["reported"] = instance.reported
    told["lastObserved"] = SEEN.format(member.target.key)
    return told


def _mark(obj: JSONObject, members: Sequence[Member], told: JSONObject) -> None:
    """Metadata without the marks of placement and syncers, and with what the view knows."""
    metadata = obj["metadata"]
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if not name.startswith(STATE_LABEL)}
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if not is_foreign(name, "")}
    annotations[AGGREGATE_ANNOTATION] = orjson.dumps(told).decode()
    annotations[ORIGINS_ANNOTATION] = ",".join(m.target.name for m in members)
    shown = {"resourceVersion": "", **{name: value for name, value in metadata.items() if name not in _HIDDEN}}
    shown["resourceVersion"] = ""
    finalizers = [f for f in metadata.get("finalizers") or () if not f.startswith(SYNCER_FINALIZER)]
    if labels:
        shown["labels"] = labels
    if finalizers:
        shown["finalizers"] = finalizers
    obj["metadata"] = {**shown, "annotations": annotations}


_HIDDEN = ("labels", "annotations", "finalizers", "managedFields")


def without(member: Member, trouble: str) -> Member:
    """The same cluster, for a reader who does not accept its word."""
    return replace(member, target=replace(member.target, trouble=trouble))
