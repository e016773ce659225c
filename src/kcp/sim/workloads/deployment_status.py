"""The status of a Deployment: counts and the conditions Available, Progressing and ReplicaFailure, with upstream's reasons and texts.

Pure. Before: `deployment`. Source: pkg/controller/deployment/{sync,progress}.go, util/deployment_util.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.rollout import Bounds, ReplicaSetView

NO_DEADLINE = 2**31 - 1


def counted(
    deployment: Mapping[str, Any], bounds: Bounds, new: ReplicaSetView | None, sets: Sequence[ReplicaSetView], now: datetime
) -> JSONObject:
    """A status with fresh counts and Available, everything else as it was. Source: calculateStatus."""
    before: Mapping[str, Any] = deployment.get("status") or {}
    available = sum(rs.available for rs in sets)
    counts = {
        "replicas": sum(rs.current for rs in sets),
        "updatedReplicas": new.current if new else 0,
        "readyReplicas": sum(rs.ready for rs in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(sum(rs.replicas for rs in sets) - available, 0),
        "collisionCount": before.get("collisionCount") or 0,
    }
    status: JSONObject = {"observedGeneration": meta.generation(deployment)}
    status |= {k: v for k, v in counts.items() if v}
    status["terminatingReplicas"] = sum(rs.ending for rs in sets)  # KEP-3973: a pointer upstream, so zero is said
    status["conditions"] = meta.copy_json(before.get("conditions") or [])
    if available >= bounds.min_available:
        _put(status, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        _put(status, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
    return status


def _put(status: JSONObject, kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    """Set a condition unless status and reason stand already. Source: SetDeploymentCondition."""
    held = conditions.get({"status": status}, kind)
    if held is not None and held.get("status") == value and held.get("reason") == reason:
        return
    _touch(status, kind, value, reason, message, now)


def _touch(status: JSONObject, kind: str, value: str, reason: str, message: str, now: datetime) -> None:
    """Set a condition with a fresh lastUpdateTime; lastTransitionTime stays while its status does."""
    condition = conditions.build(kind, value, reason=reason, message=message, now=rfc3339(now))
    condition["lastUpdateTime"] = rfc3339(now)
    conditions.set_condition({"status": status}, condition)


def with_pause(status: JSONObject, spec: Mapping[str, Any], now: datetime) -> None:
    """Source: checkPausedConditions."""
    held = conditions.get({"status": status}, "Progressing")
    if not has_deadline(spec) or (held is not None and held.get("reason") == "ProgressDeadlineExceeded"):
        return
    was_paused = held is not None and held.get("reason") == "DeploymentPaused"
    if spec.get("paused") and not was_paused:
        _touch(status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    elif not spec.get("paused") and was_paused:
        _touch(status, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)


def has_deadline(spec: Mapping[str, Any]) -> bool:
    deadline = spec.get("progressDeadlineSeconds", 600)
    return deadline is not None and deadline != NO_DEADLINE


def is_complete(deployment: Mapping[str, Any], status: Mapping[str, Any], desired: int) -> bool:
    """Source: DeploymentComplete."""
    return (
        (status.get("updatedReplicas") or 0) == desired
        and (status.get("replicas") or 0) == desired
        and (status.get("availableReplicas") or 0) == desired
        and (status.get("observedGeneration") or 0) >= meta.generation(deployment)
    )


def with_progress(
    status: JSONObject,
    deployment: Mapping[str, Any],
    new: ReplicaSetView | None,
    sets: Sequence[ReplicaSetView],
    desired: int,
    now: datetime,
) -> None:
    """Bring Progressing and ReplicaFailure up to date. Source: syncRolloutStatus."""
    failure = next((rs.failure for rs in sets if rs.failure), None)
    if failure is not None:
        _put(status, "ReplicaFailure", "True", str(failure.get("reason")), str(failure.get("message")), now)
    else:
        conditions.remove({"status": status}, "ReplicaFailure")
    if not has_deadline(deployment.get("spec") or {}):
        conditions.remove({"status": status}, "Progressing")
        return
    held = conditions.get({"status": status}, "Progressing")
    settled = held is not None and held.get("reason") == "NewReplicaSetAvailable"
    if settled and (status.get("replicas") or 0) == (status.get("updatedReplicas") or 0):
        return
    who = f'ReplicaSet "{new.name}"' if new else f'Deployment "{meta.name(deployment)}"'
    if is_complete(deployment, status, desired):
        _touch(status, "Progressing", "True", "NewReplicaSetAvailable", f"{who} has successfully progressed.", now)
    elif held is None or settled or _has_progressed(deployment.get("status") or {}, status):
        _touch(status, "Progressing", "True", "ReplicaSetUpdated", f"{who} is progressing.", now)
    elif deadline_in_s(status, deployment.get("spec") or {}, now) == 0.0:
        _put(status, "Progressing", "False", "ProgressDeadlineExceeded", f"{who} has timed out progressing.", now)


def _has_progressed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Source: DeploymentProgressing."""

    def old_ones(status: Mapping[str, Any]) -> int:
        return (status.get("replicas") or 0) - (status.get("updatedReplicas") or 0)

    grew = any((after.get(k) or 0) > (before.get(k) or 0) for k in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return grew or old_ones(after) < old_ones(before)


def deadline_in_s(status: Mapping[str, Any], spec: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds until a rollout that makes no progress is called stuck; None where it cannot be. Source: DeploymentTimedOut."""
    held = conditions.get({"status": status}, "Progressing")
    if (
        held is None
        or not has_deadline(spec)
        or held.get("reason") in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused")
    ):
        return None
    since = parse_rfc3339(str(held.get("lastUpdateTime") or held.get("lastTransitionTime")))
    due = since + timedelta(seconds=spec.get("progressDeadlineSeconds", 600))
    return max((due - now).total_seconds(), 0.0)
