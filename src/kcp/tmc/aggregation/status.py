"""Merging the statuses of several clusters into one. Pure.

The aggregate is true: a cluster that has not reported counts nothing, and condition Synced says which one and why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.aggregation.combining import SUMMED, combine
from kcp.tmc.errors import ErrorType, told
from kcp.tmc.model.kinds import DRIFTED, SYNCED
from kcp.tmc.model.names import (
    DRIFT_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    STATUS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    is_leaving,
    synced_keys,
)
from kcp.tmc.model.wishes import SYNC, Sync, primary_cluster, sync_of


@dataclass(frozen=True, slots=True)
class Report:
    """What one chosen cluster says about an object."""

    key: str
    cluster: str
    """The SyncTarget's name."""
    status: JSONObject | None
    """None: nothing reported yet."""
    cluster_problem: str = ""
    """Why the cluster's word may be stale; "" while its SyncTarget is ready."""
    error: Mapping[str, Any] | None = None
    """The TMC error that keeps the object from running there."""
    drift: Mapping[str, Any] | None = None
    """What was last changed in the cluster and put right."""
    wait: str = ""
    """Why its report may be long in coming."""


def reports_of(
    obj: JSONObject, names: Mapping[str, str], problems: Mapping[str, str], backlogs: Mapping[str, int] = MappingProxyType({})
) -> list[Report]:
    """One report for each target that should run the object, in order of cluster names.

    Args: names: K → SyncTarget name. problems: K → why that target is not ready. backlogs: K → objects that wait for its syncer.
    """
    annotations = meta.annotations(obj)
    found = [
        Report(
            key=key,
            cluster=names.get(key, key),
            status=_json(annotations.get(STATUS_ANNOTATION + key)),
            cluster_problem=problems.get(key, "") if key in names else "its SyncTarget is gone",
            error=_json(annotations.get(OVERRIDE_ERROR_ANNOTATION + key) or annotations.get(SYNC_ERROR_ANNOTATION + key)),
            drift=_json(annotations.get(DRIFT_ANNOTATION + key)),
            wait=f"{backlogs[key]} objects wait for its syncer" if backlogs.get(key) else "",
        )
        for key in synced_keys(obj)
        if not is_leaving(obj, key)
    ]
    return sorted(found, key=lambda r: r.cluster)


def _json(text: str | None) -> JSONObject | None:
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else None


def merge(obj: JSONObject, resource: GroupResource, reports: Sequence[Report], *, now: str, unplaced: str = "") -> JSONObject:
    """`obj` with the aggregate as its status; unchanged where no cluster should run it and none ever did.

    Args: unplaced: why its namespace has no cluster, "" if nobody wants it to have one.
    """
    wanted: JSONObject = meta.copy_json(obj)
    if not reports and not unplaced and conditions.get(obj, SYNCED) is None:
        return wanted
    held = [c for c in meta.nested(obj, "status", "conditions", default=()) if c.get("type") in (SYNCED, DRIFTED)]
    statuses = [r.status for r in reports if r.status is not None]
    primary = next((r.status for r in reports if r.cluster == primary_cluster(obj) and r.status is not None), None)
    wanted["status"] = meta.copy_json(primary) if primary and resource not in SUMMED else combine(resource, statuses, len(reports))
    if "conditions" in wanted["status"] or resource in SUMMED:
        wanted["status"]["conditions"] = [*wanted["status"].get("conditions", ()), *held]
        conditions.set_condition(wanted, synced_condition(reports, now, is_disabled=sync_of(obj) is Sync.DISABLED, unplaced=unplaced))
        if drift := drifted_condition(reports, now):
            conditions.set_condition(wanted, drift)
    if resource in SUMMED and "observedGeneration" in wanted["status"]:
        everyone = len(statuses) == len(reports)
        observed = min(s.get("observedGeneration", 0) for s in statuses) if everyone else 0
        wanted["status"]["observedGeneration"] = max(observed, meta.nested(obj, "status", "observedGeneration", default=0))
    return wanted


def drifted_condition(reports: Sequence[Report], now: str) -> JSONObject | None:
    """Condition Drifted: True while somebody keeps changing a copy, False once it was put right; None if nobody ever did."""
    told = [(r, r.drift) for r in reports if r.drift]
    if not told:
        return None
    messages = [
        f"{r.cluster}: {', '.join(d.get('fields') or ())} changed by {d.get('by') or 'somebody'} in the cluster, put right at {d.get('at')}"
        for r, d in told
    ]
    is_fought = any((r.error or {}).get("type") == ErrorType.SYNC_CONFLICT for r, _ in told)
    status, reason = (conditions.TRUE, "Contested") if is_fought else (conditions.FALSE, "Corrected")
    return conditions.build(DRIFTED, status, reason=reason, message="; ".join(messages), now=now)


def synced_condition(reports: Sequence[Report], now: str, *, is_disabled: bool = False, unplaced: str = "") -> JSONObject:
    """Condition Synced: False names every cluster that errs, is not ready, or has not reported."""
    if not reports and is_disabled:
        return conditions.build(SYNCED, conditions.FALSE, reason="Disabled", message=f"{SYNC} says disabled", now=now)
    if not reports:
        message = unplaced or "no placement chooses a cluster for this namespace"
        return conditions.build(SYNCED, conditions.FALSE, reason="NotPlaced", message=message, now=now)
    troubles: list[tuple[str, str]] = []
    for r in reports:
        if r.error:
            troubles.append((str(r.error.get("type", "SyncFailure")), f"{r.cluster}: {told(r.error)}"))
        elif r.cluster_problem:
            troubles.append(("ClusterNotReady", f"{r.cluster}: {r.cluster_problem}"))
        elif r.status is None:
            reason = "SyncerOverloaded" if r.wait else "NotReported"
            troubles.append((reason, f"{r.cluster}: has not reported yet" + (f": {r.wait}" if r.wait else "")))
    if troubles:
        return conditions.build(SYNCED, conditions.FALSE, reason=troubles[0][0], message="; ".join(t for _, t in troubles), now=now)
    clusters = ", ".join(r.cluster for r in reports)
    return conditions.build(SYNCED, conditions.TRUE, reason="AllClustersReported", message=f"runs on {clusters}", now=now)
