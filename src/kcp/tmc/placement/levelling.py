"""Which replicas to move among the clusters that stay: to less full ones, or together onto fewer. Pure and deterministic.

    preference Capacity    one replica after the other from the fullest of its clusters to the emptiest, while they are `gain` points apart
    preference Aggregated  all replicas of a cluster to others that run some, where they fit

Fullness is the greater used share of CPU and memory. Every move makes the fuller of two clusters less full, or leaves a cluster altogether,
so that looking again and again comes to an end, whoever else moves theirs.
Before: `rebalancer`, previews. After: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.placement.policy import Division, Preference
from kcp.tmc.placement.readiness import ready_by_key
from kcp.tmc.placement.schedule import Decision
from kcp.tmc.placement.shares import ClusterShare, Shares, pod_requests
from kcp.tmc.placement.snapshot import Target
from kcp.tmc.placement.usage import MEASURED

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment whose replicas may move."""

    name: str
    current: Mapping[str, int]
    """K → replicas that the cluster is asked to run."""
    ready: Mapping[str, int]
    """K → replicas that run; the others are not part of what the cluster reports as used."""
    pod: Mapping[str, float]
    """Resource → what one replica requests."""
    shares: Shares


def workload_of(obj: JSONObject, current: Mapping[str, int], shares: Shares) -> Workload:
    """Args: current: K → replicas that it is asked to run."""
    ready = ready_by_key(obj, current)
    return Workload(f"{meta.namespace(obj)}/{meta.name(obj)}", current, ready, pod_requests(obj), shares)


def movable(decision: Decision) -> list[Target]:
    """Clusters that may give replicas and take some: chosen, ready, and refused by nothing."""
    taken = decision.selection.taken
    return [t for t in decision.chosen if t.key in taken and t.ready and not t.unschedulable and t.key not in decision.refused]


class Wanted(NamedTuple):
    """How the replicas of a workload should be divided instead."""

    workload: Workload
    after: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Bounds:
    gain: float
    """Points of fullness that clusters must be apart."""
    moves: int
    """Workloads that may begin to move."""
    givers: int | None
    """Clusters that may be losing replicas; None: any number."""


@dataclass(frozen=True, slots=True)
class Plan:
    moves: Sequence[Wanted] = ()
    is_whole: bool = True
    """Nothing more was found that the bounds hold back."""


def is_levelled(shares: Shares) -> bool:
    """Whether there is anything to move: what is duplicated, or divided by weight, is always as it should be."""
    return shares.division is Division.DIVIDED and shares.preference is not Preference.WEIGHTED


def plan(workloads: Iterable[Workload], targets: Iterable[Target], bounds: Bounds, giving: Iterable[str] = ()) -> Plan:
    """What to move now, in order of names. Args: targets: that may give and take. giving: K of those that are losing replicas already."""
    listed = sorted(workloads, key=lambda w: w.name)
    levels = _Levels({t.key: t for t in targets}, bounds, set(giving))
    for workload in listed:
        levels.put(workload.pod, {key: number - min(workload.ready.get(key, 0), number) for key, number in workload.current.items()})
    moves: list[Wanted] = []
    for workload in listed:
        after = levels.better(workload)
        if after == workload.current:
            continue
        if len(moves) == bounds.moves:
            return Plan(moves, is_whole=False)
        moves.append(Wanted(workload, after))
        change = {key: number - workload.current[key] for key, number in after.items()}
        levels.put(workload.pod, change)
        levels.giving |= {key for key, number in change.items() if number < 0}
    return Plan(moves, is_whole=not levels.held_back)


@dataclass(slots=True)
class _Levels:
    """How full the clusters are, with what was moved so far."""

    targets: Mapping[str, Target]
    bounds: Bounds
    giving: set[str]
    held_back: bool = False
    _more: dict[str, dict[str, float]] = field(default_factory=dict)
    """K → resource → what is used beyond the report."""

    def put(self, pod: Mapping[str, float], replicas: Mapping[str, int]) -> None:
        for key, number in replicas.items():
            held = self._more.setdefault(key, {})
            for resource, amount in pod.items():
                held[resource] = held.get(resource, 0.0) + number * amount

    def used(self, key: str, resource: str) -> float:
        target = self.targets[key]
        return target.used.get(resource, 0.0) + target.reserved.get(resource, 0.0) + self._more.get(key, {}).get(resource, 0.0)

    def fullness(self, key: str, pod: Mapping[str, float], extra: int) -> float:
        held = self.targets[key].allocatable
        return max(((self.used(key, r) + extra * pod.get(r, 0.0)) / held[r] for r in MEASURED if held.get(r)), default=0.0)

    def better(self, workload: Workload) -> Mapping[str, int]:
        keys = workload.current.keys()
        needed = [r for r, amount in workload.pod.items() if amount > 0]
        known = all(key in self.targets and all(self.targets[key].allocatable.get(r) for r in needed) for key in keys)
        if not needed or not known or len(keys) < 2 or not is_levelled(workload.shares):
            return workload.current
        if workload.shares.preference is Preference.AGGREGATED:
            return self._gathered(workload)
        return self._levelled(workload)

    def _levelled(self, workload: Workload) -> Mapping[str, int]:
        current, pod, after = workload.current, workload.pod, dict(workload.current)

        def full(key: str, more: int = 0) -> float:
            return self.fullness(key, pod, after[key] - current[key] + more)

        for _ in range(sum(after.values())):
            givers = [key for key in after if after[key] > max(_bound(workload, key).minimum, 0) and self._may_give(key, current, after)]
            takers = [key for key in after if _has_place(workload, key, after[key] + 1)]
            if not givers or not takers:
                break
            giver, taker = max(givers, key=lambda key: (full(key), key)), min(takers, key=lambda key: (full(key), key))
            before = full(giver)
            is_worth_it = (before - full(taker)) * 100 >= self.bounds.gain
            if not is_worth_it or full(taker, 1) >= before - _ROUNDING or full(giver, -1) >= before - _ROUNDING:
                break
            after[giver] -= 1
            after[taker] += 1
        return after

    def _gathered(self, workload: Workload) -> Mapping[str, int]:
        """With each cluster left that the others have room for, the smallest first."""
        after = dict(workload.current)
        for giver in sorted(after, key=lambda key: (after[key], key)):
            rooms = {k: self._room(workload, k, after) for k in after if k != giver and after[k] > 0}
            if not after[giver] or _bound(workload, giver).minimum or sum(rooms.values()) < after[giver]:
                continue
            if not self._may_give(giver, workload.current, after):
                continue
            for taker in sorted(rooms, key=lambda key: (-after[key], key)):
                number = min(rooms[taker], after[giver])
                after[taker] += number
                after[giver] -= number
        return after

    def _room(self, workload: Workload, key: str, after: Mapping[str, int]) -> int:
        """How many more fit."""
        extra = after[key] - workload.current[key]
        held = self.targets[key].allocatable
        rooms = [int((held[r] - self.used(key, r)) / amount + _ROUNDING) - extra for r, amount in workload.pod.items() if amount > 0]
        most = _bound(workload, key).maximum
        return max(min(rooms if most is None else [*rooms, most - after[key]]), 0)

    def _may_give(self, key: str, current: Mapping[str, int], after: Mapping[str, int]) -> bool:
        """Within the budget of clusters that lose replicas."""
        givers = self.giving | {k for k in after if after[k] < current[k]}
        if key in givers or self.bounds.givers is None or len(givers) < self.bounds.givers:
            return True
        self.held_back = True
        return False


def _bound(workload: Workload, key: str) -> ClusterShare:
    return workload.shares.clusters.get(key) or ClusterShare()


def _has_place(workload: Workload, key: str, number: int) -> bool:
    most = _bound(workload, key).maximum
    return most is None or number <= most
