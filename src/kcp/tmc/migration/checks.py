"""What is checked before a workload is moved, and after. Pure.

Before: `controller`. After: `model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.migration.model import Copy, Migration
from kcp.tmc.model.kinds import READY, SyncTarget
from kcp.tmc.model.moves import Move
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION, is_leaving
from kcp.tmc.model.wishes import exclusive_of, left_out
from kcp.tmc.placement.observe import target_of
from kcp.tmc.placement.shares import pod_requests

_DEPLOYMENTS = GroupResource("apps", "deployments")


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
    obj, target = scene.workload, scene.target
    if obj is None or meta.deletion_timestamp(obj):
        return [Check("WorkloadExists", passed=False, message=f"there is no Deployment {migration.key.namespace}/{migration.workload}")]
    name = migration.target
    found = [
        Check("WorkloadExists", passed=True),
        _check("SourceRunsIt", bool(scene.source), f"{migration.source} does not run it"),
        _check("NotMovingAlready", not scene.others, f"Migration {', '.join(scene.others)} moves it already"),
        _check("NotExclusive", exclusive_of(obj) is None, "it is exclusive: its lease decides where it runs; a Placement moves it"),
        _check("ObjectAllows", not left_out(obj, name), f"the object's own annotations leave out {name}"),
        _check("TargetExists", target is not None, f"there is no SyncTarget {name} beside that of {migration.source}"),
    ]
    return found + (_of_target(obj, scene, target, name) if target is not None else [])


def _of_target(obj: JSONObject, scene: Scene, target: JSONObject, name: str) -> list[Check]:
    view = SyncTarget.of(target)
    unserved = meta.nested(target, "status", "unservedAPIs", default=())
    serves = _DEPLOYMENTS not in view.incompatible and str(_DEPLOYMENTS) not in unserved
    return [
        _check("TargetReady", conditions.is_true(target, READY), f"{name} is not ready: {view.not_ready_reason}"),
        _check("TargetTakesWork", not view.unschedulable and view.evict_after is None, f"{name} is cordoned, or is being emptied"),
        _check("TargetServesIt", serves, f"{name} does not serve {_DEPLOYMENTS}"),
        _room(obj, scene, target, name),
    ]


def _room(obj: JSONObject, scene: Scene, target: JSONObject, name: str) -> Check:
    """Where the cluster reports what it has, and the workload says what it needs."""
    replicas = Copy.of(obj, scene.source).wanted if scene.source else int(meta.nested(obj, "spec", "replicas", default=1))
    observed = target_of(target, scene.now)
    short = [
        f"{resource}: {needed * replicas:g} needed, {free:g} free"
        for resource, needed in pod_requests(obj).items()
        if (free := observed.free(resource)) is not None and needed * replicas > free
    ]
    return _check("TargetHasRoom", not short, f"{name} has too little {'; '.join(short)}")


def after(obj: JSONObject, move: Move, migration: Migration) -> list[Check]:
    """Of a workload that has been moved."""
    source, target = Copy.of(obj, move.source), Copy.of(obj, move.target)
    ready = f"{migration.target} has {target.ready} of {target.wanted} replicas ready"
    error = meta.annotations(obj).get(SYNC_ERROR_ANNOTATION + move.target, "")
    return [
        _check("TargetRunsIt", target.is_ready, ready),
        _check("SourceLetGo", not source.exists or is_leaving(obj, move.source), f"{migration.source} still has a copy"),
        _check("NoErrors", not error, f"{migration.target} reports: {error}"),
    ]


def _check(name: str, passed: bool, message: str) -> Check:  # noqa: FBT001 - what was found
    return Check(name, passed, "" if passed else message)
