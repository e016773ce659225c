"""The scores of a placement decision: points for each target that fits, by strategy and by preference. Higher is better.

A scorer is a name and a function of a target; the sum over `scorers` ranks it. The formulas stand in docs/placement.md; a strategy's own
score lies between 0 and 100 unless it says otherwise, a preference gives as many points as its weight.
Before: `selection`. After: nothing. Pure. Source for the vocabulary: the TMC reference §3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from kcp.tmc.placement import constraints, neighbours
from kcp.tmc.placement.filters import Places, matches_term
from kcp.tmc.placement.policy import Strategy
from kcp.tmc.placement.snapshot import Snapshot, Target
from kcp.tmc.placement.usage import MEASURED, UNKNOWN, fullness, utilisation, utilisation_after

Score = Callable[[Target], float]
TAINT_PENALTY = 100.0
"""For each PreferNoSchedule taint that is not tolerated."""


class Scorer(NamedTuple):
    name: str
    score: Score


def scorers(snapshot: Snapshot, fit: Sequence[Target], places: Places) -> Iterator[Scorer]:
    """Those that this snapshot needs. Args: fit: the targets that are compared; some scores are relative to the best of them."""
    policy = snapshot.policy
    build = _STRATEGIES.get(policy.strategy)
    if build is not None:
        yield Scorer(str(policy.strategy), build(snapshot, fit))
    if any(not t.is_plain and any(x.effect == "PreferNoSchedule" for x in t.taints) for t in fit):
        yield Scorer("PreferNoSchedule", lambda t: -TAINT_PENALTY * _avoided(snapshot, t) if t.taints else 0.0)
    for constraint in policy.constraints:
        if not constraint.required:
            yield Scorer(str(constraint), _weighted(constraints.degree(constraint), constraint.weight))
    for term in policy.preferred_terms:
        yield Scorer(f"prefers {term.selector}", _when(lambda t, term=term: matches_term(term, t, places), term.weight))  # type: ignore[misc]
    for wanted in policy.placement_terms:
        if not wanted.required:
            sign, word = (-1.0, "away from") if wanted.away else (1.0, "near")
            yield Scorer(f"{word} {wanted.selector}", _when(neighbours.test(snapshot, wanted), sign * wanted.weight))


def _weighted(score: Score, weight: float) -> Score:
    return lambda t: weight * score(t)


def _when(test: Callable[[Target], bool], points: float) -> Score:
    return lambda t: points if test(t) else 0.0


def _avoided(snapshot: Snapshot, target: Target) -> int:
    soft = [t for t in target.taints if t.effect == "PreferNoSchedule"]
    return sum(1 for t in soft if not any(x.tolerates(t) for x in snapshot.tolerations))


def _spread(snapshot: Snapshot, fit: Sequence[Target]) -> Score:  # noqa: ARG001 - strategies have one shape
    """100 − 50 × fullness + 25 × (1 − utilisation) + health (ready 25, silent within its grace −15)."""
    return lambda t: 100.0 - 50.0 * fullness(snapshot, t) + 25.0 * (1.0 - utilisation(t)) + (25.0 if t.ready else -15.0)


def _pack(snapshot: Snapshot, fit: Sequence[Target]) -> Score:  # noqa: ARG001 - strategies have one shape
    """100 × utilisation with the request: the fullest first. What would pass the threshold was refused before."""
    return lambda t: 100.0 * utilisation_after(snapshot, t)


def _balanced(snapshot: Snapshot, fit: Sequence[Target]) -> Score:  # noqa: ARG001 - strategies have one shape
    """Weighted mean of resource, health, capacity and latency, each 0 to 100."""
    given = snapshot.policy.parameters.weights
    wr, wh, wc, wl = (given.get(name, 1.0) for name in ("resource", "health", "capacity", "latency"))
    total = (wr + wh + wc + wl) or 1.0
    far = snapshot.policy.parameters.reference_latency_ms

    def score(target: Target) -> float:
        latency = constraints.latency(target, "")
        near = UNKNOWN if latency is None else max(1.0 - latency / far, 0.0)
        health = 1.0 if target.ready else UNKNOWN
        parts = wr * (1.0 - utilisation(target)) + wh * health + wc * (1.0 - fullness(snapshot, target)) + wl * near
        return 100.0 * parts / total

    return score


def _affinity(snapshot: Snapshot, fit: Sequence[Target]) -> Score:  # noqa: ARG001 - strategies have one shape
    """100 for each required term, which all that fit meet; the preferred ones come on top."""
    points = 100.0 * (len(snapshot.policy.required_terms) + len(snapshot.policy.forbidden_terms))
    return lambda t: points  # noqa: ARG005 - the same for all


def _round_robin(snapshot: Snapshot, fit: Sequence[Target]) -> Score:  # noqa: ARG001 - strategies have one shape
    """100 / (1 + Placements there): whose turn it is stands in the Placements."""
    load = snapshot.load
    return lambda t: 100.0 / (1 + load.get(t.key, 0))


def weight_of(snapshot: Snapshot, target: Target) -> float:
    """The weight that the Placement's rules give a target; without one, its free CPU and memory count."""
    weight = snapshot.policy.rule_for(target.name, target.labels).weight
    return float(weight) if weight is not None else -1.0


def _by_weight(snapshot: Snapshot, fit: Sequence[Target]) -> Score:
    """100 × weight / greatest weight; where no rule gives weights, 100 × mean share of the most free CPU and memory."""
    if not any(rule.weight is not None for rule in snapshot.policy.rules):
        return _by_freedom(fit)
    most = max((weight_of(snapshot, t) for t in fit), default=0.0)
    return lambda t: 100.0 * max(weight_of(snapshot, t), 0.0) / most if most > 0 else 0.0


def _by_freedom(fit: Sequence[Target]) -> Score:
    """Relative to the target with the most."""
    most = {r: max((t.free(r) or 0.0 for t in fit), default=0.0) for r in MEASURED}
    counted = [r for r in MEASURED if most[r] > 0]
    if not counted:
        return lambda t: 0.0  # noqa: ARG005 - nobody reports anything
    return lambda t: 100.0 * sum((t.free(r) or 0.0) / most[r] for r in counted) / len(counted)


def _capacity(snapshot: Snapshot, fit: Sequence[Target]) -> Score:
    """100 × what is left of the scarcest requested resource, as a share of what is free; without requests, as Weighted."""
    requests = [(r, n) for r, n in snapshot.policy.requests.items() if n > 0]
    if not requests:
        return _by_freedom(fit)
    return lambda t: 100.0 * min(1.0 - n / free if (free := t.free(r)) else 0.0 for r, n in requests)


def _priority(snapshot: Snapshot, fit: Sequence[Target]) -> Score:  # noqa: ARG001 - strategies have one shape
    """The priority by rule, or else the SyncTarget's own; any number."""

    def score(target: Target) -> float:
        ruled = snapshot.policy.rule_for(target.name, target.labels).priority
        return float(target.priority if ruled is None else ruled)

    return score


_STRATEGIES: dict[Strategy, Callable[[Snapshot, Sequence[Target]], Score]] = {
    Strategy.SPREAD: _spread,
    Strategy.PACK: _pack,
    Strategy.BALANCED: _balanced,
    Strategy.ONE_TO_ANY: _balanced,
    Strategy.AFFINITY: _affinity,
    Strategy.ROUND_ROBIN: _round_robin,
    Strategy.WEIGHTED: _by_weight,
    Strategy.CAPACITY: _capacity,
    Strategy.PRIORITY: _priority,
}
"""OneToMany takes all and needs no order."""
