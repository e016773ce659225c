"""What a ResourceProjection's status says: how it is on each cluster, and what is wrong. Pure.

    Pending     no cluster, nothing selected, or copies are still being made
    Active      every cluster has every copy as it should be
    OutOfSync   some copy is not as it should be, or its cluster cannot be asked
    Failed      no cluster has any copy as it should be, or the projection is refused

Before: `controller`. After: conditions.
Source: tmc reference §4 (projection status); when each holds is ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import READY
from kcp.tmc.model.names import (
    MADE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    PLACEMENT_TARGETS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    is_leaving,
)
from kcp.tmc.placement.snapshot import Target
from kcp.tmc.projection.clusters import Choice
from kcp.tmc.projection.spec import Projection, marks

MOST_TOLD = 50
"""Clusters in the status; those with trouble come first."""
_MOST_FAILURES = 3
"""Objects that a message names."""


class Phase(StrEnum):
    PENDING = "Pending"
    ACTIVE = "Active"
    OUT_OF_SYNC = "OutOfSync"
    FAILED = "Failed"


@dataclass(slots=True)
class Tally:
    """How the copies on one cluster fare."""

    synced: int = 0
    waiting: int = 0
    failures: list[str] = field(default_factory=list)
    failed: int = 0

    def phase(self, target: Target) -> Phase:
        if self.failed:
            return Phase.OUT_OF_SYNC if self.synced else Phase.FAILED
        if not target.ready and (self.synced or self.waiting):
            return Phase.OUT_OF_SYNC
        return Phase.PENDING if self.waiting or not self.synced else Phase.ACTIVE


def tallies(projection: str, objects: Iterable[tuple[str, JSONObject]]) -> tuple[int, dict[str, Tally]]:
    """How many objects a projection selects, and K → how their copies fare.

    Args: objects: (resource, object) of those that bear its marks.
    """
    count = 0
    found: dict[str, Tally] = {}
    for resource, obj in objects:
        held = marks(obj)
        mine = [key for key, mark in held.items() if projection in mark.by]
        count += bool(mine)
        annotations = meta.annotations(obj)
        for key in mine:
            if is_leaving(obj, key):
                continue
            tally = found.setdefault(key, Tally())
            if error := _error(obj, key):
                tally.failed += 1
                if len(tally.failures) < _MOST_FAILURES:
                    place = "/".join(part for part in (meta.namespace(obj), meta.name(obj)) if part)
                    tally.failures.append(f"{resource} {place}: {error}")
            elif MADE_ANNOTATION + key in annotations:
                tally.synced += 1
            else:
                tally.waiting += 1
    return count, found


def _error(obj: JSONObject, key: str) -> str:
    annotations = meta.annotations(obj)
    text = annotations.get(OVERRIDE_ERROR_ANNOTATION + key) or annotations.get(SYNC_ERROR_ANNOTATION + key)
    if not text:
        return ""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a projection found."""

    choice: Choice
    refusal: tuple[str, str]
    """Reason and message of what forbids it altogether; ("", "")."""
    objects: int
    tallies: Mapping[str, Tally]


def render(obj: JSONObject, projection: Projection, seen: Seen, *, now: str) -> JSONObject:
    """The projection with its status and its chosen clusters."""
    wanted: JSONObject = meta.copy_json(obj)
    chosen = () if seen.refusal[0] else seen.choice.chosen
    told = [_told(target, seen.tallies.get(target.key, Tally())) for target in chosen]
    phase, reason, message = _summary(projection, seen, told)
    status = meta.ensure(wanted, "status")
    status |= {"phase": str(phase), "observedGeneration": meta.generation(obj), "objects": seen.objects, "clusters": len(chosen)}
    status["targets"] = _first(told)
    meta.set_annotation(wanted, PLACEMENT_TARGETS_ANNOTATION, ",".join(target.key for target in chosen) or None)
    state = conditions.TRUE if phase is Phase.ACTIVE else conditions.FALSE
    severity = {Phase.ACTIVE: "", Phase.PENDING: "Info", Phase.OUT_OF_SYNC: "Warning", Phase.FAILED: "Error"}[phase]
    condition = conditions.build(READY, state, reason=reason, message=message, severity=severity, now=now)
    conditions.set_condition(wanted, condition)
    return wanted


def _told(target: Target, tally: Tally) -> JSONObject:
    phase = tally.phase(target)
    told: JSONObject = {"cluster": target.name, "status": str(phase), "synced": tally.synced, "failed": tally.failed}
    if tally.failures:
        more = tally.failed - len(tally.failures)
        told["message"] = "; ".join(tally.failures) + (f"; and {more} more" if more else "")
    elif phase is Phase.OUT_OF_SYNC:
        told["message"] = f"not known: {target.not_ready_reason}"
    return told


def _first(told: Sequence[JSONObject]) -> list[JSONObject]:
    order = [Phase.FAILED, Phase.OUT_OF_SYNC, Phase.PENDING, Phase.ACTIVE]
    first = sorted(told, key=lambda t: order.index(Phase(t["status"])))[:MOST_TOLD]
    return sorted(first, key=lambda t: str(t["cluster"]))


def _summary(projection: Projection, seen: Seen, told: Sequence[JSONObject]) -> tuple[Phase, str, str]:
    """Phase, and reason and message of condition Ready."""
    if seen.refusal[0]:
        return Phase.FAILED, *seen.refusal
    choice = seen.choice
    if choice.failed:
        name, why = next(iter(choice.failed.items()))
        return Phase.FAILED, "ConditionFailed", f"spec.conditional cannot be evaluated on {len(choice.failed)} clusters: {name}: {why}"
    notes = [f'no SyncTarget is called "{name}"' for name in choice.missing]
    notes += [f"{name}: {why}" for name, why in choice.passed.items()][:_MOST_FAILURES]
    if not told:
        return Phase.PENDING, "NoClusters", "; ".join(notes) or "no SyncTarget is as targetClusters and targetSelector want it"
    phases = [Phase(t["status"]) for t in told]
    troubled = [f"{t['cluster']}: {t['message']}" for t in told if t.get("message")]
    if Phase.FAILED in phases or Phase.OUT_OF_SYNC in phases:
        whole = Phase.FAILED if all(p is Phase.FAILED for p in phases) else Phase.OUT_OF_SYNC
        more = f"; and {len(troubled) - _MOST_FAILURES} more clusters" if len(troubled) > _MOST_FAILURES else ""
        return whole, "CopiesFail", "; ".join(troubled[:_MOST_FAILURES]) + more
    if choice.missing:
        return Phase.PENDING, "ClusterNotFound", "; ".join(notes)
    if not seen.objects:
        return Phase.PENDING, "NothingSelected", _nothing(projection)
    if Phase.PENDING in phases:
        waiting = [str(t["cluster"]) for t in told if t["status"] == Phase.PENDING]
        return Phase.PENDING, "BeingMade", f"{len(waiting)} of {len(told)} clusters do not have every copy yet: {', '.join(waiting[:5])}"
    return Phase.ACTIVE, "EveryCopyIsThere", f"{seen.objects} objects on {len(told)} clusters"


def _nothing(projection: Projection) -> str:
    if projection.selectors or projection.mode == "All":
        return "no object of a synced kind is selected"
    return "no object bears an opt-in label such as tmc.kcp.io/project=true; name resourceSelectors, or mode All"
