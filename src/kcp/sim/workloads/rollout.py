"""How many replicas each ReplicaSet of a Deployment should have: the arithmetic of rolling updates and of scaling in the middle of one.

Pure. Before: `deployment`. Source: pkg/controller/deployment/{rolling,sync,recreate}.go, util/deployment_util.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import meta

REVISION_ANNOTATION = "deployment.kubernetes.io/revision"
DESIRED_ANNOTATION = "deployment.kubernetes.io/desired-replicas"
MAX_ANNOTATION = "deployment.kubernetes.io/max-replicas"


@dataclass(frozen=True, slots=True)
class ReplicaSetView:
    """What a rollout needs to know of a ReplicaSet."""

    name: str
    uid: str
    replicas: int
    """spec.replicas"""
    current: int
    """status.replicas"""
    ready: int
    available: int
    is_observed: bool
    """Its controller has seen the newest spec."""
    created: str
    revision: int
    annotations: Mapping[str, str]
    template: Mapping[str, Any]
    min_ready_s: int
    terminating: bool
    failure: Mapping[str, Any] | None
    """Its ReplicaFailure condition while True."""
    ending: int = 0
    """Pods on their way out."""

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> ReplicaSetView:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        failures = [c for c in status.get("conditions") or () if c.get("type") == "ReplicaFailure" and c.get("status") == "True"]
        return cls(
            name=meta.name(obj),
            uid=meta.uid(obj),
            replicas=replicas_of(spec),
            current=status.get("replicas") or 0,
            ready=status.get("readyReplicas") or 0,
            available=status.get("availableReplicas") or 0,
            ending=status.get("terminatingReplicas") or 0,
            is_observed=(status.get("observedGeneration") or 0) >= meta.generation(obj),
            created=meta.creation_timestamp(obj),
            revision=int_of(meta.annotations(obj).get(REVISION_ANNOTATION)),
            annotations=meta.annotations(obj),
            template=spec.get("template") or {},
            min_ready_s=spec.get("minReadySeconds") or 0,
            terminating=bool(meta.deletion_timestamp(obj)),
            failure=failures[0] if failures else None,
        )

    @property
    def oldest_first(self) -> tuple[str, int, str]:
        return self.created, self.revision, self.name


def replicas_of(spec: Mapping[str, Any]) -> int:
    """spec.replicas with its API default of 1."""
    replicas = spec.get("replicas")
    return 1 if replicas is None else int(replicas)


def int_of(text: object, default: int = 0) -> int:
    try:
        return int(str(text))
    except ValueError:
        return default


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a Deployment's strategy allows, in pods."""

    desired: int
    surge: int
    unavailable: int
    rolling: bool

    @property
    def max_total(self) -> int:
        return self.desired + self.surge

    @property
    def min_available(self) -> int:
        return self.desired - min(self.unavailable, self.desired)

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Bounds:
        """Source: ResolveFenceposts: surge rounds up, unavailability down, and both cannot be zero.

        >>> Bounds.of({"replicas": 10})
        Bounds(desired=10, surge=3, unavailable=2, rolling=True)
        """
        desired = replicas_of(spec)
        strategy = spec.get("strategy") or {}
        if strategy.get("type") == "Recreate":
            return cls(desired, 0, 0, rolling=False)
        limits = strategy.get("rollingUpdate") or {}
        surge = share(limits.get("maxSurge", "25%"), desired, math.ceil)
        unavailable = share(limits.get("maxUnavailable", "25%"), desired, math.floor)
        return cls(desired, surge, unavailable or (0 if surge else 1), rolling=True)


def share(value: Any, total: int, rounded: Callable[[float], int]) -> int:
    """An int-or-percent of `total`. Source: apimachinery/pkg/util/intstr GetScaledValueFromIntOrPercent."""
    if isinstance(value, str) and value.endswith("%"):
        return rounded(int_of(value[:-1]) * total / 100)
    return int_of(value)


def new_size(bounds: Bounds, new_replicas: int, total: int) -> int:
    """Replicas for the newest ReplicaSet now, of which there are `new_replicas` among `total` pods. Source: NewRSNewReplicas."""
    if not bounds.rolling or new_replicas >= bounds.desired:
        return bounds.desired
    room = bounds.max_total - total
    return new_replicas + min(room, bounds.desired - new_replicas) if room > 0 else new_replicas


def shrink_old(bounds: Bounds, new: ReplicaSetView, old: Sequence[ReplicaSetView]) -> dict[str, int]:
    """New sizes for the old ReplicaSets that may shrink: unhealthy pods first, then as many as availability allows.

    Source: reconcileOldReplicaSets, cleanupUnhealthyReplicas, scaleDownOldReplicaSetsForRollingUpdate.
    """
    everything = new.replicas + sum(rs.replicas for rs in old)
    may_go = everything - bounds.min_available - (new.replicas - new.available)
    if may_go <= 0 or not any(rs.replicas for rs in old):
        return {}
    ordered = sorted(old, key=lambda rs: rs.oldest_first)
    sizes = {rs.name: rs.replicas for rs in ordered}
    for rs in ordered:
        unhealthy = min(may_go, max(sizes[rs.name] - rs.available, 0))
        sizes[rs.name] -= unhealthy
        may_go -= unhealthy
    spare = new.available + sum(rs.available for rs in old) - bounds.min_available
    for rs in ordered:
        healthy = min(max(spare, 0), sizes[rs.name])
        sizes[rs.name] -= healthy
        spare -= healthy
    return {rs.name: sizes[rs.name] for rs in ordered if sizes[rs.name] != rs.replicas}


def is_scaling(desired: int, active: Iterable[ReplicaSetView]) -> bool:
    """Whether spec.replicas changed since the ReplicaSets were last sized. Source: isScalingEvent."""
    return any(int_of(rs.annotations.get(DESIRED_ANNOTATION), desired) != desired for rs in active)


def rescale(bounds: Bounds, new: ReplicaSetView | None, old: Sequence[ReplicaSetView], known_replicas: int) -> dict[str, int]:
    """New sizes after spec.replicas changed: the only active ReplicaSet takes all, several share in proportion.

    Args: known_replicas: status.replicas of the Deployment, the yardstick where a ReplicaSet has no max-replicas annotation.
    Source: pkg/controller/deployment/sync.go scale.
    """
    active = [rs for rs in (*old, *([new] if new else ())) if rs.replicas > 0]
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=lambda rs: rs.oldest_first, default=None)
        return {only.name: bounds.desired} if only is not None and only.replicas != bounds.desired else {}
    if new is not None and _is_saturated(bounds.desired, new):
        return {rs.name: 0 for rs in old if rs.replicas}
    return _proportional(bounds, active, known_replicas) if bounds.rolling else {}


def _is_saturated(desired: int, new: ReplicaSetView) -> bool:
    annotated = int_of(new.annotations.get(DESIRED_ANNOTATION), -1)
    return annotated == desired and new.replicas == desired and new.available == desired


def _proportional(bounds: Bounds, active: Sequence[ReplicaSetView], known_replicas: int) -> dict[str, int]:
    allowed = bounds.max_total if bounds.desired > 0 else 0
    to_add = allowed - sum(rs.replicas for rs in active)
    ordered = sorted(active, key=lambda rs: rs.oldest_first, reverse=to_add > 0)
    ordered.sort(key=lambda rs: rs.replicas, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        share = _proportion(rs, bounds, known_replicas, to_add - added)
        sizes[rs.name] = rs.replicas + share
        added += share
    left = to_add - added
    for rs in ordered:  # upstream gives all of the rest to the largest, which may be too small to take it
        given = max(left, -sizes[rs.name])
        sizes[rs.name] += given
        left -= given
    return {rs.name: sizes[rs.name] for rs in ordered if sizes[rs.name] != rs.replicas}


def _proportion(rs: ReplicaSetView, bounds: Bounds, known_replicas: int, left: int) -> int:
    if left == 0:
        return 0
    if bounds.desired == 0:
        fraction = -rs.replicas
    else:
        yardstick = int_of(rs.annotations.get(MAX_ANNOTATION)) or known_replicas or bounds.max_total
        fraction = math.floor(rs.replicas * bounds.max_total / yardstick + 0.5) - rs.replicas
    return min(fraction, left) if left > 0 else max(fraction, left)


def outdated(limit: int, old: Sequence[ReplicaSetView]) -> list[str]:
    """Names of the old ReplicaSets beyond the revision history limit that are empty and settled. Source: cleanupDeployment."""
    living = sorted((rs for rs in old if not rs.terminating), key=lambda rs: (rs.revision, rs.oldest_first))
    surplus = living[: max(len(living) - limit, 0)]
    return [rs.name for rs in surplus if rs.replicas == 0 and rs.current == 0 and rs.is_observed]


def resized(views: Iterable[ReplicaSetView], sizes: Mapping[str, int]) -> list[ReplicaSetView]:
    """The views as they will be once `sizes` is written."""
    return [replace(rs, replicas=sizes[rs.name]) if rs.name in sizes else rs for rs in views]
