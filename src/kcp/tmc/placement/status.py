"""What a decision makes of the Placement: phase, conditions, explanations, the chosen targets, and how far rebalancing got. Pure.

Before: `controller`. After: nothing.
Source: kcp release-0.11 pkg/reconciler/scheduling/placement (phases, conditions).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import READY, SCHEDULED
from kcp.tmc.model.names import PLACEMENT_TARGETS_ANNOTATION, SHARES_ANNOTATION
from kcp.tmc.placement.policy import NOTHING_ASKED, Policy
from kcp.tmc.placement.reasons import Reason
from kcp.tmc.placement.schedule import Decision, Verdict
from kcp.tmc.placement.shares import Shares, shares_of

PENDING, BOUND, UNBOUND = "Pending", "Bound", "Unbound"
MOST_EXPLAINED = 50
"""Targets that status.decisions tells of; the PlacementDecision tells of all."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What of rebalancing must be remembered: it lives in the Placement's status."""

    request: str = ""
    """The value of the request that was carried out last."""
    moved_at: tuple[str, ...] = ()
    """RFC 3339 times of the moves of the last minute."""
    levelled_at: str = ""
    """RFC 3339; when the policy last found no replicas to move."""
    is_anew: bool = False
    """What clusters have free is written down again, for replicas to come."""


def render(  # noqa: PLR0913 - what goes into one status, spelled out
    obj: JSONObject,
    decision: Decision,
    *,
    now: str,
    home: str,
    missing_home: bool,
    in_use: bool,
    problems: Sequence[str] = (),
    progress: Progress | None = None,
    policy: Policy = NOTHING_ASKED,
    since: Sequence[JSONObject] = (),
) -> JSONObject:
    """The Placement with the decision in its status and annotation.

    Args: home: path of the SyncTargets' workspace. problems: what is wrong with the Placement's own spec.
    since: when each target was chosen, where that matters.
    """
    wanted: JSONObject = meta.copy_json(obj)
    status = meta.ensure(wanted, "status")
    chosen = decision.chosen
    status["phase"] = (BOUND if in_use else UNBOUND) if chosen else PENDING
    if chosen:
        status["selectedLocation"] = {"path": home, "locationName": decision.location}
    else:
        status.pop("selectedLocation", None)
    _put(status, "chosenSince", list(since))
    before = {entry.get("syncTarget"): entry for entry in status.get("decisions") or ()}
    status["decisions"] = [_told(v, before.get(v.target.name)) for v in _explained(decision)]
    _put(status, "placementDecisions", _chosen(decision, meta.nested(obj, "status", "placementDecisions", default=()), status["decisions"]))
    meta.set_annotation(wanted, PLACEMENT_TARGETS_ANNOTATION, ",".join(t.key for t in chosen) or None)
    held = Shares.from_json(meta.annotations(obj).get(SHARES_ANNOTATION))
    shares = shares_of(policy, chosen, held, anew=progress is not None and progress.is_anew)
    meta.set_annotation(wanted, SHARES_ANNOTATION, shares.to_json() if shares is not None else None)
    is_carried_out = meta.annotations(wanted) == meta.annotations(obj)
    is_first = PLACEMENT_TARGETS_ANNOTATION not in meta.annotations(obj)  # nothing is left, so an edit cannot be left half done
    if decision.is_complete and meta.generation(obj) and (is_carried_out or is_first):
        status["observedGeneration"] = meta.generation(obj)
    if progress is not None:
        _remember(status, progress)
    reason, message = _explain(decision, home=home, missing_home=missing_home)
    if problems:
        reason, message = "InvalidSelector", f"correct the selectors of this placement: {'; '.join(problems)}"
    for kind in (SCHEDULED, READY):
        state = conditions.FALSE if reason else conditions.TRUE
        conditions.set_condition(wanted, conditions.build(kind, state, reason=reason, message=message, severity="Error", now=now))
    return wanted


def _chosen(decision: Decision, held: Sequence[JSONObject], told: Sequence[JSONObject]) -> list[JSONObject]:
    """The chosen clusters as the TMC reference tells them; the weight is the score with which each was chosen.

    Scores move all the time. One that is written again with each of them would be news of nothing.
    """
    known = {entry["cluster"]: entry.get("weight") for entry in held}
    reasons = {entry["syncTarget"]: entry["reason"] for entry in told}
    found: list[JSONObject] = []
    for verdict in decision.verdicts:
        if verdict.chosen and len(found) < MOST_EXPLAINED:
            name = verdict.target.name
            weight = known[name] if name in known else round(verdict.score) if verdict.scores else None
            entry = {"cluster": name, "reason": reasons.get(name, str(verdict.reason))}
            found.append(entry if weight is None else {**entry, "weight": weight})
    return found


def _explained(decision: Decision) -> Sequence[Verdict]:
    """All targets of a small fleet; of a large one those that were chosen, and the first of the others."""
    if len(decision.verdicts) <= MOST_EXPLAINED:
        return decision.verdicts
    chosen = [v for v in decision.verdicts if v.chosen][:MOST_EXPLAINED]
    others = [v for v in decision.verdicts if not v.chosen]
    return [*chosen, *others[: MOST_EXPLAINED - len(chosen)]]


def _told(verdict: Verdict, held: JSONObject | None) -> JSONObject:
    """Args: held: what is told of the target now.

    That what was chosen for good reason is kept is no news: it would be one more write for each decision.
    """
    is_same = held is not None and held.get("reason") == Reason.SELECTED and held.get("location", "") == verdict.location
    if held is not None and is_same and verdict.reason is Reason.KEPT and not verdict.target.unschedulable:
        return held
    told: JSONObject = {
        "syncTarget": verdict.target.name, "chosen": verdict.chosen, "reason": str(verdict.reason), "message": verdict.message,
    }  # fmt: skip
    return told | ({"location": verdict.location} if verdict.location else {})


def _remember(status: JSONObject, progress: Progress) -> None:
    _put(status, "rebalanceRequest", progress.request)
    _put(status, "recentMoves", list(progress.moved_at))
    _put(status, "replicasLevelledAt", progress.levelled_at)


def _put(status: JSONObject, field: str, value: object) -> None:
    if value:
        status[field] = value
    else:
        status.pop(field, None)


def _explain(decision: Decision, *, home: str, missing_home: bool) -> tuple[str, str]:
    """Reason and message of the conditions; no reason when all clusters that were asked for are chosen."""
    if missing_home:
        return "LocationNotFound", f'spec.locationWorkspace "{home}" does not exist: check the path with "kubectl ws tree"'
    if not decision.fleet:
        return "NoValidTarget", f'no SyncTargets in workspace "{home}" or above it: create one and start its syncer'
    if not decision.chosen:
        return "NoValidTarget", decision.summary()
    if len(decision.chosen) < decision.number:
        return "NotEnoughClusters", f"{len(decision.chosen)} of {decision.number} clusters found; {decision.summary()}"
    return "", decision.summary()
