"""A `Migration`: what is moved, how far it is, and what comes next. Pure.

    Pending -> Preparing -> Moving -> CuttingOver -> Completed
                    any of these --failed, too late, or spec.rollback--> RollingBack -> RolledBack, or Failed

What the workload itself does in each phase says its `Move`. Before: `controller`. After: nothing.
Source for strategies and limits: the TMC reference §2.4 (migration), §9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson

from kcp.aio.clock import parse_rfc3339
from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.moves import Move, Stage
from kcp.tmc.model.names import STATUS_ANNOTATION, is_leaving, synced_keys
from kcp.tmc.placement.shares import share_of

MIGRATIONS = GVR("tmc.kcp.io", "v1alpha1", "migrations")
TIMEOUT_S, ROLLBACK_TIMEOUT_S = 1800.0, 600.0
LOST_S = 30.0
"""A migration whose target is not ready for so long is undone."""


class Mode(StrEnum):
    LIVE = "live"
    SNAPSHOT = "snapshot"
    HALT_RESUME = "halt-resume"


class Phase(StrEnum):
    PENDING = "Pending"
    PREPARING = "Preparing"
    MOVING = "Moving"
    CUTTING_OVER = "CuttingOver"
    COMPLETED = "Completed"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    FAILED = "Failed"


FINISHED = frozenset({Phase.COMPLETED, Phase.ROLLED_BACK, Phase.FAILED})
PROGRESS: Mapping[Phase, int] = {Phase.PENDING: 0, Phase.PREPARING: 10, Phase.MOVING: 30, Phase.CUTTING_OVER: 80, Phase.COMPLETED: 100}
FIRST: Mapping[Mode, Stage] = {Mode.LIVE: Stage.COPY, Mode.SNAPSHOT: Stage.REMOVE, Mode.HALT_RESUME: Stage.HALT}


@dataclass(frozen=True, slots=True)
class Migration:
    key: ObjectKey
    uid: str
    workload: str
    """Name of a Deployment in the Migration's namespace."""
    source: str
    """Names of SyncTargets."""
    target: str
    mode: Mode
    timeout_s: float
    undoes_itself: bool
    is_to_be_undone: bool
    phase: Phase
    started: datetime | None
    undone_since: datetime | None
    move: Move | None
    """As it began: K of both clusters."""
    before: str
    """The workload's move annotation before; "" for none."""
    snapshot: JSONObject | None
    """The workload's spec as it was."""

    @classmethod
    def of(cls, obj: JSONObject) -> Migration:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        keys = status.get("keys") or {}
        mode = Mode(spec.get("strategy") or Mode.LIVE)
        move = Move(keys["from"], keys["to"], FIRST[mode], tuple(keys.get("away") or ())) if keys else None
        return cls(
            key=meta.key(obj),
            uid=meta.uid(obj),
            workload=spec["workload"]["name"],
            source=spec["from"],
            target=spec["to"],
            mode=mode,
            timeout_s=_seconds(spec.get("timeout")),
            undoes_itself=bool(spec.get("rollbackOnFailure", True)),
            is_to_be_undone=bool(spec.get("rollback")),
            phase=Phase(status.get("phase") or Phase.PENDING),
            started=_instant(status.get("startTime")),
            undone_since=_instant(status.get("rollbackTime")),
            move=move,
            before=str(status.get("moveBefore") or ""),
            snapshot=orjson.loads(status["snapshot"]) if status.get("snapshot") else None,
        )

    @property
    def is_active(self) -> bool:
        return self.phase not in FINISHED


def _seconds(text: object) -> float:
    try:
        return parse_duration(text) if isinstance(text, str) and text else TIMEOUT_S
    except ValueError:
        return TIMEOUT_S


def _instant(text: object) -> datetime | None:
    return parse_rfc3339(text) if isinstance(text, str) and text else None


@dataclass(frozen=True, slots=True)
class Copy:
    """What a cluster last reported of its copy."""

    exists: bool
    wanted: int
    ready: int
    total: int

    @classmethod
    def of(cls, obj: JSONObject, key: str) -> Copy:
        try:
            status = orjson.loads(meta.annotations(obj).get(STATUS_ANNOTATION + key) or "{}")
        except orjson.JSONDecodeError:
            status = {}
        share = share_of(obj, key)
        wanted = int(meta.nested(obj, "spec", "replicas", default=1)) if share is None else share
        return cls(key in synced_keys(obj), wanted, int(status.get("readyReplicas") or 0), int(status.get("replicas") or 0))

    @property
    def is_ready(self) -> bool:
        return self.exists and self.ready >= self.wanted

    @property
    def is_still(self) -> bool:
        return self.exists and self.total == 0


def next_stage(obj: JSONObject, move: Move) -> Stage:
    """What the workload should do next, from what its clusters say: the same stage until they have done what it asks for."""
    source, target = Copy.of(obj, move.source), Copy.of(obj, move.target)
    match move.stage:
        case Stage.HALT:
            return Stage.RESUME if source.is_still or not source.exists else Stage.HALT
        case Stage.REMOVE:
            return Stage.MOVED if not source.exists else Stage.REMOVE
        case Stage.COPY | Stage.RESUME:
            return Stage.MOVED if target.is_ready and not is_leaving(obj, move.target) else move.stage
        case Stage.MOVED:
            return Stage.MOVED


def is_over(obj: JSONObject, move: Move, *, source_is_lost: bool) -> bool:
    """Whether the workload is where it should be, and nowhere else; a cluster that is lost removes its copy when it is back."""
    has_let_go = not Copy.of(obj, move.source).exists or (source_is_lost and is_leaving(obj, move.source))
    return move.stage is Stage.MOVED and has_let_go and Copy.of(obj, move.target).is_ready


def told(obj: JSONObject, move: Move, names: Mapping[str, str]) -> str:
    """What is waited for."""
    source, target = Copy.of(obj, move.source), Copy.of(obj, move.target)
    match move.stage:
        case Stage.HALT:
            return f"{names[move.source]} is to stop {source.total} replicas"
        case Stage.REMOVE:
            return f"{names[move.source]} is to remove its copy"
        case _:
            if target.is_ready and source.exists:
                return f"{names[move.source]} is to remove its copy"
            return f"{names[move.target]} has {target.ready} of {target.wanted} replicas ready"


def back(move: Move) -> Move:
    """The way back: the same with the clusters exchanged, the new copy kept until the old one is ready."""
    return Move(move.target, move.source, Stage.COPY, tuple(key for key in move.away if key != move.source))
