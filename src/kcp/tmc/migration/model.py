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
from typing import TypeAlias

import orjson

from kcp.aio.clock import parse_rfc3339
from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.moves import Move, Stage

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
    gvk: GVK
    workload: str
    """Name of an object of that kind in the Migration's namespace."""
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
        mode, workload = Mode(spec.get("strategy") or Mode.LIVE), spec["workload"]
        move = Move(keys["from"], keys["to"], FIRST[mode], tuple(keys.get("away") or ())) if keys else None
        return cls(
            key=meta.key(obj),
            uid=meta.uid(obj),
            gvk=GVK.of(workload.get("apiVersion") or "apps/v1", workload.get("kind") or "Deployment"),
            workload=workload["name"],
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

    @property
    def title(self) -> str:
        return f"{self.gvk.kind} {self.key.namespace}/{self.workload}"

    def moves_the_same(self, other: Migration) -> bool:
        return (self.gvk.group, self.gvk.kind, self.workload) == (other.gvk.group, other.gvk.kind, other.workload)


def _seconds(text: object) -> float:
    try:
        return parse_duration(text) if isinstance(text, str) and text else TIMEOUT_S
    except ValueError:
        return TIMEOUT_S


def _instant(text: object) -> datetime | None:
    return parse_rfc3339(text) if isinstance(text, str) and text else None


@dataclass(frozen=True, slots=True)
class Copy:
    """What a cluster last reported of its copy; `kinds` reads it."""

    exists: bool
    is_leaving: bool
    wanted: int
    """Pods."""
    runs: bool
    is_idle: bool
    told: str
    """How far it is to run, as what the cluster does: "has 2 of 4 replicas ready"."""
    busy: str
    """What has to stop: "4 replicas"."""

    @property
    def is_ready(self) -> bool:
        return self.exists and self.runs

    @property
    def is_still(self) -> bool:
        return self.exists and self.is_idle


Copies: TypeAlias = Mapping[str, Copy]
"""K of both clusters → its copy."""


def next_stage(copies: Copies, move: Move) -> Stage:
    """What the workload should do next, from what its clusters say: the same stage until they have done what it asks for."""
    source, target = copies[move.source], copies[move.target]
    match move.stage:
        case Stage.HALT:
            return Stage.RESUME if source.is_still or not source.exists else Stage.HALT
        case Stage.REMOVE:
            return Stage.MOVED if not source.exists else Stage.REMOVE
        case Stage.COPY | Stage.RESUME:
            return Stage.MOVED if target.is_ready and not target.is_leaving else move.stage
        case Stage.MOVED:
            return Stage.MOVED


def is_over(copies: Copies, move: Move, *, source_is_lost: bool) -> bool:
    """Whether the workload is where it should be, and nowhere else; a cluster that is lost removes its copy when it is back."""
    source = copies[move.source]
    has_let_go = not source.exists or (source_is_lost and source.is_leaving)
    return move.stage is Stage.MOVED and has_let_go and copies[move.target].is_ready


def told(copies: Copies, move: Move, names: Mapping[str, str]) -> str:
    """What is waited for."""
    source, target = copies[move.source], copies[move.target]
    match move.stage:
        case Stage.HALT:
            return f"{names[move.source]} is to stop {source.busy}"
        case Stage.REMOVE:
            return f"{names[move.source]} is to remove its copy"
        case _:
            if target.is_ready and source.exists:
                return f"{names[move.source]} is to remove its copy"
            return f"{names[move.target]} {target.told}"


def back(move: Move, *, runs_once: bool) -> Move:
    """The way back: the same with the clusters exchanged, the new copy kept until the old one is ready; or stopped first, if it must not
    run in both."""
    stage = Stage.HALT if runs_once else Stage.COPY
    return Move(move.target, move.source, stage, tuple(key for key in move.away if key != move.source))
