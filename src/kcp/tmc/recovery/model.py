"""A `Recovery` as its controller sees it: what failed, how it is to be mended, and how far that has come. Pure.

    Pending --room, by priority--> InProgress --it helped--> Completed
                                              --attempts used up, or a person must act--> Failed
                                              --too long--> Timeout          --spec.cancel--> Cancelled

Before: `controller`, `trigger`, `kubectl tmc recover`. After: the strategies.
Source for strategies, the errors that they are for, priorities, timeouts and states: the TMC reference §9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.errors import ErrorType, TMCError

RECOVERIES = GVR("tmc.kcp.io", "v1alpha1", "recoveries")
GLOBAL_TIMEOUT_S = 600.0
"""No recovery takes longer, whatever it asks for."""
AT_ONCE = 5
"""In progress at the same time, in all workspaces; the others wait by their priority."""
KEPT = 20
"""Finished recoveries of a workspace; older ones are removed."""
_MOST_ACTIONS = 20


class State(StrEnum):
    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    TIMEOUT = "Timeout"
    CANCELLED = "Cancelled"


FINISHED = frozenset({State.COMPLETED, State.FAILED, State.TIMEOUT, State.CANCELLED})


class StrategyName(StrEnum):
    CONNECTIVITY = "ClusterConnectivity"
    AUTH = "ClusterAuth"
    CONFLICT = "ResourceConflict"
    PLACEMENT = "Placement"
    SYNC = "Sync"
    MIGRATION = "Migration"
    GENERIC = "Generic"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a strategy has by itself; a Recovery may say otherwise."""

    errors: tuple[ErrorType, ...]
    priority: int
    timeout_s: float


TERMS: Mapping[StrategyName, Terms] = {
    StrategyName.CONNECTIVITY: Terms(
        (ErrorType.CLUSTER_UNREACHABLE, ErrorType.CLUSTER_UNAVAILABLE, ErrorType.NETWORK_CONNECTIVITY), 80, 300.0
    ),
    StrategyName.AUTH: Terms((ErrorType.CLUSTER_AUTHENTICATION, ErrorType.RESOURCE_PERMISSION), 90, 180.0),
    StrategyName.CONFLICT: Terms((ErrorType.RESOURCE_CONFLICT, ErrorType.SYNC_CONFLICT), 70, 120.0),
    StrategyName.PLACEMENT: Terms((ErrorType.PLACEMENT_CONSTRAINT, ErrorType.PLACEMENT_CAPACITY, ErrorType.PLACEMENT_POLICY), 60, 300.0),
    StrategyName.SYNC: Terms((ErrorType.SYNC_FAILURE, ErrorType.SYNC_TIMEOUT), 50, 240.0),
    StrategyName.MIGRATION: Terms((ErrorType.MIGRATION_FAILURE, ErrorType.MIGRATION_TIMEOUT), 85, 600.0),
    StrategyName.GENERIC: Terms((), 10, 120.0),
}


def strategy_for(kind: ErrorType) -> StrategyName:
    """
    >>> strategy_for(ErrorType.CLUSTER_UNREACHABLE).value, strategy_for(ErrorType.INTERNAL).value
    ('ClusterConnectivity', 'Generic')
    """
    return next((name for name, terms in TERMS.items() if kind in terms.errors), StrategyName.GENERIC)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be mended: a cluster, an object in it, or a component."""

    cluster: str = ""
    """Name of a SyncTarget in the Recovery's workspace."""
    gvr: GVR | None = None
    namespace: str = ""
    name: str = ""
    component: str = ""
    """Id of a ComponentHealth."""

    def __str__(self) -> str:
        obj = f"{self.gvr.group_resource} {self.namespace + '/' if self.namespace else ''}{self.name}" if self.gvr else ""
        parts = [obj, f"cluster {self.cluster}" if self.cluster else "", f"component {self.component}" if self.component else ""]
        return ", ".join(part for part in parts if part) or "nothing"


@dataclass(frozen=True, slots=True)
class Recovery:
    key: ObjectKey
    uid: str
    error_type: ErrorType
    strategy: StrategyName
    subject: Subject
    priority: int
    timeout_s: float
    max_attempts: int
    is_cancelled: bool
    state: State
    attempts: int
    started: datetime | None
    attempted: datetime | None
    """When the present attempt began."""
    due: datetime | None
    """When the next one begins; None: one is under way."""
    finished: datetime | None
    created: datetime

    @classmethod
    def of(cls, obj: JSONObject) -> Recovery:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        kind = ErrorType(spec["errorType"]) if spec.get("errorType") else ErrorType.SYNC_FAILURE
        strategy = StrategyName(spec["strategy"]) if spec.get("strategy") else strategy_for(kind)
        terms, resource = TERMS[strategy], spec.get("resource") or {}
        gvr = GVR(resource.get("group", ""), resource.get("version", "v1"), resource["resource"]) if resource else None
        return cls(
            key=ObjectKey(meta.cluster(obj), "", meta.name(obj)),
            uid=meta.uid(obj),
            error_type=kind,
            strategy=strategy,
            subject=Subject(
                spec.get("clusterName", ""), gvr, resource.get("namespace", ""), resource.get("name", ""), spec.get("component", "")
            ),
            priority=int(spec.get("priority", terms.priority)),
            timeout_s=min(_duration(spec.get("timeout"), terms.timeout_s), GLOBAL_TIMEOUT_S),
            max_attempts=int(spec.get("maxAttempts", 5)),
            is_cancelled=bool(spec.get("cancel")),
            state=State(status.get("state") or State.PENDING),
            attempts=int(status.get("attempts") or 0),
            started=_instant(status.get("startTime")),
            attempted=_instant(status.get("lastAttemptTime")),
            due=_instant(status.get("nextAttemptTime")),
            finished=_instant(status.get("completionTime")),
            created=parse_rfc3339(meta.metadata(obj)["creationTimestamp"]),
        )

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def request(self) -> str:
        """Names this attempt to whoever is asked to do something."""
        return f"{self.uid}/{self.attempts}"


def _duration(text: object, otherwise: float) -> float:
    """What is no duration says nothing: the schema refuses it before."""
    try:
        return parse_duration(text) if isinstance(text, str) and text else otherwise
    except ValueError:
        return otherwise


def _instant(text: object) -> datetime | None:
    return parse_rfc3339(text) if isinstance(text, str) and text else None


@dataclass(frozen=True, slots=True)
class Done:
    """It is well."""

    message: str
    actions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something was asked for; look again soon whether it helped."""

    error: TMCError
    """What is wrong if it does not."""
    actions: Sequence[str] = ()
    look_again_s: float = 1.0


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """Trying again does not help before somebody has done something."""

    error: TMCError
    next_steps: Sequence[str]
    actions: Sequence[str] = ()


Step = Done | Waiting | NeedsPerson


def with_actions(status: JSONObject, actions: Sequence[str], now: datetime) -> JSONObject:
    """The status with what was done; said once for each attempt."""
    held = list(status.get("actions") or ())
    attempt = int(status.get("attempts") or 0)
    known = {entry.get("action") for entry in held if entry.get("attempt") == attempt}
    held += [{"attempt": attempt, "action": text, "time": rfc3339(now)} for text in actions if text not in known]
    return {**status, "actions": held[-_MOST_ACTIONS:]} if held else status


def admitted(waiting: Recovery, everybody: Sequence[Recovery]) -> bool:
    """Whether there is room for it now: the most urgent first, then the oldest; one at a time for each cluster."""
    busy = {_place(r) for r in everybody if r.state is State.IN_PROGRESS}
    room = AT_ONCE - sum(1 for r in everybody if r.state is State.IN_PROGRESS)
    for one in sorted((r for r in everybody if r.state is State.PENDING), key=lambda r: (-r.priority, r.created, r.key)):
        if room <= 0:
            return False
        if _place(one) in busy:
            continue
        if one.key == waiting.key:
            return True
        busy.add(_place(one))
        room -= 1
    return False


def _place(recovery: Recovery) -> object:
    """What two recoveries would be in each other's way at."""
    return (recovery.key.cluster, recovery.subject.cluster) if recovery.subject.cluster else recovery.key


def surplus(cluster: ClusterName, everybody: Sequence[Recovery]) -> list[Recovery]:
    """Finished ones of a workspace that are too many, oldest first."""
    done = sorted((r for r in everybody if r.key.cluster == cluster and r.is_finished), key=lambda r: (r.finished or r.created, r.key))
    return done[:-KEPT] if len(done) > KEPT else []
