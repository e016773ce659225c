"""What is checked before a workload is moved, and after. Pure.

Before: `controller`. After: `model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.migration.kinds import Kind, pods_of
from kcp.tmc.migration.model import Copies, Migration
from kcp.tmc.model.kinds import READY, SyncTarget
from kcp.tmc.model.moves import Move
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION
from kcp.tmc.model.wishes import exclusive_of, left_out
from kcp.tmc.placement.observe import target_of
from kcp.tmc.placement.shares import pod_requests


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passed: bool
    message: str = ""

    def to_object(self, when: str) -> JSONObject:
        return {"name": self.name, "when": when, "passed": self.passed} | ({"message": self.message} if self.message else {})


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is before a migration begins."""

    kind: Kind | None
    """None if the workspace does not serve it."""
    workload: JSONObject | None
    source: str
    """K; "" if the workload does not run there."""
    target: JSONObject | None
    """The SyncTarget."""
    others: Sequence[str]
    """Names of Migrations that move the workload already."""
    now: datetime


def before(migration: Migration, scene: Scene) -> list[Check]:
    """All of them, so that a user sees every reason at once; those of a workload that is not there make no sense."""
    kind, obj, target = scene.kind, scene.workload, scene.target
    if kind is None:
        served = f"this workspace serves no {migration.gvk.kind} of {migration.gvk.api_version} in namespaces"
        return [Check("KindServed", passed=False, message=f"spec.workload: {served}; `kubectl api-resources` lists what it does")]
    if obj is None or meta.deletion_timestamp(obj):
        return [Check("WorkloadExists", passed=False, message=f"there is no {migration.title}")]
    obstacle = kind.obstacle(obj, migration.mode)
    name = migration.target
    found = [
        Check("WorkloadExists", passed=True),
        _check("CanMoveSo", not obstacle, obstacle),
        _check("SourceRunsIt", bool(scene.source), f"{migration.source} does not run it"),
        _check("NotMovingAlready", not scene.others, f"Migration {', '.join(scene.others)} moves it already"),
        _check("NotExclusive", exclusive_of(obj) is None, "it is exclusive: its lease decides where it runs; a Placement moves it"),
        _check("ObjectAllows", not left_out(obj, name), f"the object's own annotations leave out {name}"),
        _check("TargetExists", target is not None, f"there is no SyncTarget {name} beside that of {migration.source}"),
    ]
    return found + (_of_target(obj, scene, kind, target, name) if target is not None else [])


def _of_target(obj: JSONObject, scene: Scene, kind: Kind, target: JSONObject, name: str) -> list[Check]:
    view = SyncTarget.of(target)
    unserved = meta.nested(target, "status", "unservedAPIs", default=())
    serves = kind.resource not in view.incompatible and str(kind.resource) not in unserved
    return [
        _check("TargetReady", conditions.is_true(target, READY), f"{name} is not ready: {view.not_ready_reason}"),
        _check("TargetTakesWork", not view.unschedulable and view.evict_after is None, f"{name} is cordoned, or is being emptied"),
        _check("TargetServesIt", serves, f"{name} does not serve {kind.resource}"),
        _room(obj, scene, kind, target, name),
    ]


def _room(obj: JSONObject, scene: Scene, kind: Kind, target: JSONObject, name: str) -> Check:  # noqa: PLR0913 - as _of_target
    """Where the cluster reports what it has, and the workload says what it needs."""
    replicas = kind.copy(obj, scene.source, None).wanted
    observed = target_of(target, scene.now)
    short = [
        f"{resource}: {needed * replicas:g} needed, {free:g} free"
        for resource, needed in pod_requests(pods_of(obj)).items()
        if (free := observed.free(resource)) is not None and needed * replicas > free
    ]
    return _check("TargetHasRoom", not short, f"{name} has too little {'; '.join(short)}")


def after(obj: JSONObject, copies: Copies, move: Move, migration: Migration) -> list[Check]:
    """Of a workload that has been moved."""
    source, target = copies[move.source], copies[move.target]
    error = meta.annotations(obj).get(SYNC_ERROR_ANNOTATION + move.target, "")
    return [
        _check("TargetRunsIt", target.is_ready, f"{migration.target} {target.told}"),
        _check("SourceLetGo", not source.exists or source.is_leaving, f"{migration.source} still has a copy"),
        _check("NoErrors", not error, f"{migration.target} reports: {error}"),
    ]


def _check(name: str, passed: bool, message: str) -> Check:  # noqa: FBT001 - what was found
    return Check(name, passed, "" if passed else message)
