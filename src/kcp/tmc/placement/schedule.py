"""`schedule(snapshot) → decision`: the placement decision as one pure, deterministic function.

The same function serves the controller, the records of decisions, previews and tests. It says of every target why it was or was not
taken. No clock, no randomness, no dependence on the order of its inputs: ties fall to the name.

Kept targets are sticky: a target that was chosen stays chosen while it fits, also while it is unready for less than the eviction grace,
because one late heartbeat is no reason to move anybody's workload.
Before: `controller`, previews. After: `filters`, `scores`, `selection`. All of it is told in docs/placement.md.
Source for the vocabulary: kcp release-0.11 pkg/reconciler/workload/placement, pkg/reconciler/scheduling/placement (there: a random choice).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from kcp.tmc.placement.filters import Places, Refusal, sift
from kcp.tmc.placement.reasons import CHOSEN, Reason
from kcp.tmc.placement.scores import Scorer, scorers
from kcp.tmc.placement.selection import URGENCY, Move, Selection, select, wanted_number
from kcp.tmc.placement.snapshot import Fleet, Location, Neighbour, Snapshot, Taint, Target, Toleration

__all__ = [
    "Decision", "Fleet", "Location", "Move", "Neighbour", "Reason", "Snapshot", "Taint", "Target", "Toleration", "Verdict", "schedule",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one target, and why."""

    target: Target
    location: str
    """Name of the Location through which it matched; "" where its own labels did."""
    reason: Reason
    message: str
    scores: tuple[tuple[str, float], ...] = ()
    """(name, points) of a target that passed all filters; empty where nothing is scored."""

    @property
    def chosen(self) -> bool:
        return self.reason in CHOSEN

    @property
    def score(self) -> float:
        return sum(points for _, points in self.scores)


@dataclass(frozen=True, eq=False)
class Decision:
    """What was decided; the words for it are put together when somebody asks."""

    snapshot: Snapshot | None = None
    """None: there was nothing to decide."""
    fleet: Fleet = field(default_factory=Fleet)
    places: Places = field(default_factory=lambda: Places({}))
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    scorers: Sequence[Scorer] = ()
    selection: Selection = field(default_factory=Selection)
    held_back: frozenset[str] = frozenset()
    """K of targets that stay for now because of the budget."""
    number: int = 1
    """How many targets were asked for."""

    @cached_property
    def chosen(self) -> tuple[Target, ...]:
        """In name order."""
        taken, held_back = self.selection.taken, self.held_back
        if not held_back and len(taken) * 4 < len(self.fleet):
            return tuple(Fleet.of(taken.values()))
        return tuple(t for t in self.fleet if t.key in taken or t.key in held_back)

    @property
    def is_complete(self) -> bool:
        """Nothing is left that this decision wanted but could not do yet."""
        return not self.held_back

    @property
    def tie_break(self) -> str:
        return self.selection.tie_break

    @property
    def moves(self) -> Sequence[Move]:
        """Of rebalancing."""
        return self.selection.moves

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for every target of the snapshot, in name order."""
        return tuple(self._verdict(t) for t in self.fleet)

    @property
    def location(self) -> str:
        """Location of the first chosen target."""
        return next((found for t in self.chosen if (found := self.places.locations.get(t.key, ""))), "")

    def summary(self) -> str:
        """One line that explains the whole decision.

        >>> Decision().summary()
        'no SyncTargets exist in the location workspace'
        """
        if not self.fleet:
            return "no SyncTargets exist in the location workspace"
        head = f"chosen: {', '.join(t.name for t in self.chosen)}" if self.chosen else f"none of {len(self.fleet)} SyncTargets can be used"
        rejected = (f"{v.target.name}: {v.message}" for v in self.verdicts if not v.chosen)
        return "; ".join([head, *_first(rejected, SUMMARISED)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and (self.verdicts, self.tie_break) == (other.verdicts, other.tie_break)

    def __hash__(self) -> int:
        return hash(self.verdicts)

    def _verdict(self, target: Target) -> Verdict:
        key = target.key
        location = self.places.locations.get(key, "")
        refusal = self.refused.get(key)
        if key in self.held_back:
            why = refusal.explain(target) if refusal else "more clusters than wanted"
            return Verdict(target, location, Reason.KEPT_FOR_BUDGET, f"stays until other clusters have been left: {why}")
        if refusal is not None and key not in self.selection.taken:
            return Verdict(target, location, refusal.reason, refusal.explain(target))
        scores = tuple((s.name, round(s.score(target), 2)) for s in self.scorers)
        reason, message = self._passed(target, location)
        return Verdict(target, location, reason, message, scores)

    def _passed(self, target: Target, location: str) -> tuple[Reason, str]:
        """Of a target that no filter refused."""
        key = target.key
        through = f"location {location}" if location else "its own labels"
        if key in self.selection.taken:
            if self.snapshot is None or key not in self.snapshot.current:
                return Reason.SELECTED, f"matched through {through}"
            if target.ready:
                return Reason.KEPT, f"chosen before and still matched through {through}"
            why = "no other cluster could take its work" if key in self.refused else "workloads stay where they run"
            return Reason.KEPT_UNREADY, f"kept although not ready ({target.not_ready_reason or 'no report'}): {why}"
        move = next((m for m in self.moves if m.leaves.key == key), None)
        if move is not None:
            return Reason.REBALANCED, f"gives way to {move.arrives.name}, which scores {move.gain:.1f} more"
        if skewed := self.selection.skewed.get(key):
            return Reason.SKEW, skewed
        return Reason.NOT_NEEDED, f"fits, but {len(self.selection.taken)} clusters are enough"


SUMMARISED = 20
"""Rejected targets that one line tells of."""


def _first(lines: Iterable[str], number: int) -> list[str]:
    found = list(lines)
    return found if len(found) <= number else [*found[:number], f"and {len(found) - number} more"]


def schedule(snapshot: Snapshot) -> Decision:
    """Choose targets for one placement: filter, score, select; then keep what may not be left yet.

    >>> from kcp.apimachinery.selectors import LabelSelector
    >>> east = Target("K1", "east", {"region": "east"}, ready=True)
    >>> west = Target("K2", "west", {"region": "west"}, ready=False, not_ready_reason="no heartbeat for 70 s")
    >>> decision = schedule(Snapshot([LabelSelector.parse("region in (east, west)")], 2, [west, east]))
    >>> [(v.target.name, v.chosen, str(v.reason)) for v in decision.verdicts]
    [('east', True, 'Selected'), ('west', False, 'NotReady')]
    """
    fleet = Fleet.of(snapshot.targets)
    places = Places.of(snapshot, fleet)
    fit, refused = sift(snapshot, fleet, places)
    if not fit and snapshot.current:
        fit = _last_resort(snapshot, fleet, refused)
    scoring = list(scorers(snapshot, fit, places))
    scores: dict[str, float] = {}
    for scorer in scoring:
        points = scorer.score
        scores = {t.key: scores[t.key] + points(t) for t in fit} if scores else {t.key: points(t) for t in fit}
    number = wanted_number(snapshot, len(fit))
    held_back: frozenset[str] = frozenset()
    selection = select(snapshot, fit, scores, number)
    if snapshot.policy.movement.max_disrupted is not None:
        held_back = _over_budget(snapshot, fleet, refused, selection, snapshot.policy.movement.max_disrupted)
        if held_back:
            selection = _with_room_for(snapshot, fit, scores, held_back, number)
    return Decision(snapshot, fleet, places, refused, scoring, selection, held_back, number)


def _last_resort(snapshot: Snapshot, fleet: Sequence[Target], refused: Mapping[str, Refusal]) -> list[Target]:
    """Held targets that only their silence speaks against: where nobody else could take their work, it stays."""
    return [t for t in fleet if t.key in snapshot.current and refused[t.key].reason is Reason.NOT_READY]


def _over_budget(
    snapshot: Snapshot, fleet: Sequence[Target], refused: Mapping[str, Refusal], selection: Selection, budget: int
) -> frozenset[str]:
    """K of the targets that may not be left yet; the urgent ones go first, then by name."""
    leaving = [t for t in fleet if t.key in snapshot.current and t.key not in selection.taken]
    allowed = max(budget - snapshot.disturbed, 0)

    def urgency(target: Target) -> int:
        refusal = refused.get(target.key)
        return URGENCY.index(refusal.reason) if refusal and refusal.reason in URGENCY else len(URGENCY)

    return frozenset(t.key for t in sorted(leaving, key=urgency)[allowed:])


def _with_room_for(
    snapshot: Snapshot, fit: Sequence[Target], scores: Mapping[str, float], held_back: frozenset[str], number: int
) -> Selection:
    """The selection again, with the places that those who stay still fill."""
    others = [t for t in fit if t.key not in held_back]
    kept = sum(1 for t in others if t.key in snapshot.current)
    return select(snapshot, others, scores, max(number - len(held_back), min(kept, number)))
