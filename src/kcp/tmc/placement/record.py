"""PlacementDecision: the record of one decision, by which it can be understood, and made again, later.

It has the name of its Placement, lies beside it and goes with it. It is written before the decision takes effect, and again only when the
decision changed: scores that moved without consequence are no news.
Before: `controller`. After: nothing. Pure.
"""

from __future__ import annotations

import hashlib

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import PLACEMENT_DECISIONS, PLACEMENTS
from kcp.tmc.placement.reasons import Reason
from kcp.tmc.placement.schedule import Decision, Verdict

_PASSED = frozenset({Reason.NOT_NEEDED, Reason.SKEW, Reason.REBALANCED})
DIGEST_ANNOTATION = "internal.tmc.kcp.io/decision"
"""On PlacementDecisions: by which it is seen whether a decision is recorded, without its body."""


def record(placement: JSONObject, decision: Decision, *, now: str, home: str, revision: str, strategy: str) -> JSONObject:
    """The PlacementDecision as a new object. Args: home: workspace of the SyncTargets. revision: at which they were read."""
    owner = {
        "apiVersion": PLACEMENTS.api_version, "kind": "Placement", "name": meta.name(placement), "uid": meta.uid(placement),
        "controller": True,
    }  # fmt: skip
    digest = _digest(placement, decision, strategy)
    inputs = {
        "placementGeneration": meta.generation(placement),
        "placementRevision": meta.resource_version(placement),
        "revision": revision,
        "workspace": home,
        "syncTargets": len(decision.fleet),
    }
    body: JSONObject = {
        "apiVersion": PLACEMENT_DECISIONS.api_version,
        "kind": "PlacementDecision",
        "metadata": {"name": meta.name(placement), "ownerReferences": [owner], "annotations": {DIGEST_ANNOTATION: digest}},
        "placement": meta.name(placement),
        "decidedAt": now,
        "inputs": inputs,
        "chosen": [_entry(v) for v in decision.verdicts if v.chosen],
        "passed": [_entry(v) for v in decision.verdicts if v.reason in _PASSED],
        "rejected": _rejected(decision),
    }
    body |= {"strategy": strategy} if strategy else {}
    body |= {"tieBreak": decision.tie_break} if decision.tie_break else {}
    moves = [{"from": m.leaves.name, "to": m.arrives.name, "gain": round(m.gain, 2)} for m in decision.moves]
    return body | ({"moves": moves} if moves else {})


def _entry(verdict: Verdict) -> JSONObject:
    found: JSONObject = {"syncTarget": verdict.target.name, "reason": str(verdict.reason), "message": verdict.message}
    found |= {"location": verdict.location} if verdict.location else {}
    return found | ({"score": round(verdict.score, 2), "scores": dict(verdict.scores)} if verdict.scores else {})


def _rejected(decision: Decision) -> list[JSONObject]:
    """Clusters that were refused in the same words stand together: a fleet of a thousand makes a short record."""
    groups: dict[tuple[Reason, str], list[str]] = {}
    for verdict in decision.verdicts:
        if not verdict.chosen and verdict.reason not in _PASSED:
            groups.setdefault((verdict.reason, verdict.message), []).append(verdict.target.name)
    return [{"reason": str(reason), "message": message, "syncTargets": names} for (reason, message), names in groups.items()]


def _digest(placement: JSONObject, decision: Decision, strategy: str) -> str:
    """Of what makes a decision another one: chosen now or before is the same, and so are passed over and moved away."""
    told = [
        meta.uid(placement), meta.generation(placement), strategy,
        [[v.target.name, v.location, v.chosen or v.reason not in _PASSED and str(v.reason)] for v in decision.verdicts],
    ]  # fmt: skip
    return hashlib.sha256(orjson.dumps(told)).hexdigest()[:16]


def is_told(held: JSONObject | None, wanted: JSONObject) -> bool:
    """Whether the record that is there, of which the metadata suffice, tells of this decision already."""
    return held is not None and meta.annotations(held).get(DIGEST_ANNOTATION) == meta.annotations(wanted)[DIGEST_ANNOTATION]
