"""From targets that fit to targets that are chosen: rank, spread, stability, budget, rebalancing.

    rank:      fallback group, then score, then name
    stability: what was chosen before and fits comes first, so that nothing moves without a reason
    spread:    one more in a part of the topology only within maxSkew
    budget:    of those to be left, no more than may be disturbed at once; the others stay for now
    rebalance: on request or by policy, the worst of the chosen give way to better ones, a few at a time

Before: `schedule`. After: nothing. Pure and deterministic.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kcp.tmc.placement.policy import EVERY_CLUSTER, SpreadConstraint
from kcp.tmc.placement.reasons import Reason
from kcp.tmc.placement.snapshot import Snapshot, Target

Rank = tuple[int, float, str, str]


class Move(NamedTuple):
    """A chosen target that gives way to another."""

    leaves: Target
    arrives: Target
    gain: float


@dataclass(slots=True)
class Selection:
    """What was made of the targets that fit."""

    taken: dict[str, Target] = field(default_factory=dict)
    """By K, in the order in which they were taken."""
    skewed: dict[str, str] = field(default_factory=dict)
    """K → why the topology had no room for it."""
    moves: list[Move] = field(default_factory=list)
    tie_break: str = ""


def wanted_number(snapshot: Snapshot, fit: int) -> int:
    if snapshot.number_of_clusters is not None:
        return snapshot.number_of_clusters
    return fit if snapshot.policy.strategy in EVERY_CLUSTER else 1


def ranking(snapshot: Snapshot, scores: Mapping[str, float]) -> Callable[[Target], Rank]:
    """Best first; scores lie within a group. Silent targets come after those that are ready."""
    groups = snapshot.policy.groups

    def rank(target: Target) -> Rank:
        group = next((i for i, g in enumerate(groups) if g.holds(target.name, target.labels)), len(groups)) if groups else 0
        return group * 2 + (not target.ready), -scores.get(target.key, 0.0), target.name, target.key

    return rank


def select(snapshot: Snapshot, fit: Sequence[Target], scores: Mapping[str, float], number: int) -> Selection:
    """Args: scores: by K; absent means 0. number: how many to take."""
    rank = ranking(snapshot, scores)
    held = sorted((t for t in fit if t.key in snapshot.current), key=rank)
    if not snapshot.policy.spread and not held and number < len(fit):
        return _best(fit, rank, number)
    chosen = _Chosen(snapshot.policy.spread, fit)
    chosen.take(held, number, bound=snapshot.policy_changed)
    fresh = sorted((t for t in fit if t.key not in snapshot.current), key=rank)
    chosen.take(fresh, number, bound=True)
    found = Selection(chosen.taken, chosen.skewed, tie_break=_tie(fresh, chosen.taken, rank))
    if snapshot.moves > 0:
        _rebalance(snapshot, fit, scores, rank, found, number)
    return found


def _best(fit: Sequence[Target], rank: Callable[[Target], Rank], number: int) -> Selection:
    """The ordinary first choice: nobody was chosen yet, and nothing is to be spread. One more than wanted tells of ties."""
    best = heapq.nsmallest(number + 1, fit, key=rank)
    taken = {t.key: t for t in best[:number]}
    return Selection(taken, tie_break=_tie(best, taken, rank))


def _tie(ranked: Sequence[Target], taken: Mapping[str, Target], rank: Callable[[Target], Rank]) -> str:
    """In words: the name decided between the last one taken and the first one not taken; "" where something else did."""
    last = next((t for t in reversed(ranked) if t.key in taken), None)
    first = next((t for t in ranked if t.key not in taken), None)
    if last is None or first is None or rank(last)[:2] != rank(first)[:2]:
        return ""
    return f"{last.name} before {first.name} by name, both with {-rank(last)[1]:.1f} points"


class _Chosen:
    """Targets taken so far, and how many there are in each part of the topology."""

    def __init__(self, spread: Sequence[SpreadConstraint], fit: Iterable[Target]) -> None:
        self.taken: dict[str, Target] = {}
        self.skewed: dict[str, str] = {}
        self._counts = [(c, {c_key: 0 for t in fit if (c_key := _part(c, t))}) for c in spread]

    def take(self, ranked: Sequence[Target], number: int, *, bound: bool) -> None:
        """Take from `ranked`, best first, until there are `number`. Args: bound: also DoNotSchedule is obeyed."""
        left = [t for t in ranked if t.key not in self.taken]
        if not self._counts or not bound:
            for target in left[: max(number - len(self.taken), 0)]:
                self._add(target)
            return
        buckets = self._buckets(left)
        while buckets and len(self.taken) < number:
            admitted = [parts for parts in buckets if self._excess(parts) is None]
            if not admitted:
                break
            best = min(admitted, key=lambda parts: (self._softly(parts), buckets[parts][-1][0]))
            self._add(buckets[best].pop()[1])
            if not buckets[best]:
                del buckets[best]
        if len(self.taken) < number:
            told = {parts: self._excess(parts) for parts in buckets}
            self.skewed |= {t.key: why for parts, held in buckets.items() if (why := told[parts]) for _, t in held}

    def _buckets(self, left: Sequence[Target]) -> dict[tuple[str, ...], list[tuple[int, Target]]]:
        """Targets that the constraints cannot tell apart, with their place in the ranking; the best of each last."""
        found: dict[tuple[str, ...], list[tuple[int, Target]]] = {}
        for index in range(len(left) - 1, -1, -1):
            target = left[index]
            found.setdefault(tuple([_part(c, target) for c, _ in self._counts]), []).append((index, target))
        return found

    def _add(self, target: Target) -> None:
        self.taken[target.key] = target
        self.skewed.pop(target.key, None)
        for constraint, counts in self._counts:
            if part := _part(constraint, target):
                counts[part] += 1

    def _excess(self, parts: tuple[str, ...]) -> str | None:
        """Which hard constraint one more there would break."""
        for (constraint, counts), part in zip(self._counts, parts, strict=True):
            if constraint.required and part and counts[part] + 1 - min(counts.values()) > constraint.max_skew:
                return f"{constraint.topology_key}={part} has {counts[part]} already; maxSkew {constraint.max_skew} allows no more"
        return None

    def _softly(self, parts: tuple[str, ...]) -> int:
        """By how much one more there would exceed the skew of the soft constraints."""
        over = 0
        for (constraint, counts), part in zip(self._counts, parts, strict=True):
            if not constraint.required and part:
                over += max(counts[part] + 1 - min(counts.values()) - constraint.max_skew, 0)
        return over


def _part(constraint: SpreadConstraint, target: Target) -> str:
    """The part of the topology in which the constraint counts a target; "" if it does not."""
    return target.topology(constraint.topology_key) if constraint.selector.matches(target.labels) else ""


def _rebalance(
    snapshot: Snapshot,
    fit: Sequence[Target],
    scores: Mapping[str, float],
    rank: Callable[[Target], Rank],
    found: Selection,
    number: int,
) -> None:  # noqa: PLR0913 - one step of `select`
    """Let the worst held targets give way to the best that the choice would fall on today; as many as `moves` allows."""
    ideal = _Chosen(snapshot.policy.spread, fit)
    ideal.take(sorted(fit, key=rank), number, bound=True)
    leaving = sorted((t for k, t in found.taken.items() if k in snapshot.current and k not in ideal.taken), key=rank, reverse=True)
    arriving = sorted((t for k, t in ideal.taken.items() if k not in found.taken), key=rank)
    for old, new in zip(leaving, arriving, strict=False):
        gain = scores.get(new.key, 0.0) - scores.get(old.key, 0.0)
        better_group = rank(new)[0] < rank(old)[0]
        worth_it = better_group or gain >= snapshot.policy.movement.min_gain
        if len(found.moves) == snapshot.moves or not worth_it:
            continue
        swapped = {**{k: t for k, t in found.taken.items() if k != old.key}, new.key: new}
        if _skew(snapshot, fit, swapped) <= max(_skew(snapshot, fit, found.taken), 0):
            found.taken = swapped
            found.moves.append(Move(old, new, gain))


def _skew(snapshot: Snapshot, fit: Sequence[Target], taken: Mapping[str, Target]) -> int:
    """By how much the hard constraints are exceeded; 0 or less: they hold."""
    excess = 0
    for constraint in snapshot.policy.spread:
        counts = {part: 0 for t in fit if (part := _part(constraint, t))}
        for target in taken.values():
            if part := _part(constraint, target):
                counts[part] += 1
        if constraint.required and counts:
            excess = max(excess, max(counts.values()) - min(counts.values()) - constraint.max_skew)
    return excess


URGENCY = (Reason.NOT_READY, Reason.EVICTED, Reason.TAINTED)
"""Who goes first when the budget does not let all go."""
