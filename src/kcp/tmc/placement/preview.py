"""What an edit will do, before it is made: all Placements of a scene decided to the end, without a server and without a write.

    objects as they are  → Scene → `settle` → Outcome ┐
    objects as they would be → Scene → `settle` → Outcome ┴→ `comparison.compare`

`settle` decides as the controller does, with the same function on the same snapshot, again and again until nothing moves any more: what a
budget or a bound on moves spreads over time is told as one.
Before: `kubectl tmc preview`. After: `schedule`, `shares`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import Placement
from kcp.tmc.model.names import SHARES_ANNOTATION, UNSYNCED_NAMESPACES, chosen_keys, is_leaving, synced_keys
from kcp.tmc.model.wishes import left_out
from kcp.tmc.placement.inputs import Surroundings, snapshot_of
from kcp.tmc.placement.levelling import Bounds, movable, plan, workload_of
from kcp.tmc.placement.placementpolicies import PlacementPolicy, under
from kcp.tmc.placement.rebalancing import Rebalancing
from kcp.tmc.placement.reservations import Reservations
from kcp.tmc.placement.schedule import Decision, Fleet, schedule
from kcp.tmc.placement.shares import Shares, combine, pod_requests, share, share_of, shares_of
from kcp.tmc.placement.snapshot import Location, Neighbour
from kcp.tmc.placement.spec import Reading, read

ROUNDS = 100
"""Looks at every Placement before a scene that never comes to rest is given up; it always does."""

PlacementID = tuple[str, str]
"""(workspace path, name)."""
WorkloadID = tuple[str, str, str]
"""(workspace path, namespace, name)."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A workspace with SyncTargets."""

    targets: Fleet
    locations: Sequence[Location] = ()


@dataclass(frozen=True, slots=True)
class Town:
    """A workspace with Placements, and what they place."""

    path: str
    placements: Mapping[str, JSONObject]
    """By name."""
    namespaces: Sequence[JSONObject] = ()
    workloads: Sequence[JSONObject] = ()
    """Deployments."""
    policies: Sequence[JSONObject] = ()
    """OverridePolicies."""
    required_apis: Mapping[str, str] | None = None
    placement_policies: Sequence[JSONObject] = ()


@dataclass(frozen=True)
class Scene:
    towns: Sequence[Town]
    grounds: Mapping[str, Ground]
    """By workspace path."""
    now: datetime
    eviction_grace_s: float = 300.0
    heard: Mapping[str, datetime] = field(default_factory=dict)
    """K → when its usage was reported last."""

    def books(self) -> Reservations:
        """What is promised and not yet used."""
        found = Reservations()
        for key, time in self.heard.items():
            found.reported(key, time)
        for town in self.towns:
            for name, obj in town.placements.items():
                found.observe(_books_key(town, name), obj)
        return found

    def home_of(self, town: Town, placement: Placement) -> str:
        """Path of the workspace whose SyncTargets count: the one that is named, or the nearest that has some."""
        if placement.location_workspace:
            return placement.location_workspace
        return next((p for p in ancestry(town.path) if p in self.grounds and self.grounds[p].targets), town.path)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """K → name of the SyncTarget."""
        return {t.key: t.name for ground in self.grounds.values() for t in ground.targets}


def _books_key(town: Town, name: str) -> ObjectKey:
    return ObjectKey(ClusterName(town.path), "", name)


def ancestry(path: str) -> Iterator[str]:
    """The path and those of its parents, nearest first.

    >>> list(ancestry("root:org:team"))
    ['root:org:team', 'root:org', 'root']
    """
    while path:
        yield path
        path = path.rpartition(":")[0]


@dataclass(frozen=True)
class Outcome:
    """Where everything stands once all Placements are carried out."""

    scene: Scene
    decisions: Mapping[PlacementID, Decision]
    copies: Mapping[WorkloadID, Mapping[str, int]]
    """K → replicas."""
    shares: Mapping[WorkloadID, Shares | None] = field(default_factory=dict)
    arrivals: Mapping[tuple[PlacementID, str], str] = field(default_factory=dict)
    """(Placement, K) → why it was chosen, in the words of the decision that did."""


def settle(scene: Scene) -> Outcome:
    """Decide all Placements, in order, until none wants anything else."""
    readings = {(t.path, name): _read(t, obj) for t in scene.towns for name, obj in t.placements.items()}
    held = {(t.path, name): chosen_keys(obj) for t in scene.towns for name, obj in t.placements.items()}
    decisions: dict[PlacementID, Decision] = {}
    carried_out: set[PlacementID] = set()
    arrivals: dict[tuple[PlacementID, str], str] = {}
    books = scene.books()
    for _ in range(ROUNDS):
        before = dict(held)
        for town in scene.towns:
            for name in sorted(town.placements):
                one = town.path, name
                found = decisions[one] = _decide(scene, books, town, name, readings[one], held, edit_is_done=one in carried_out)
                fresh = [t.key for t in found.chosen if t.key not in held[one]]
                arrivals |= {(one, v.target.key): v.message for v in found.verdicts if fresh and v.target.key in fresh}
                if _is_in_use(town, name):
                    books.assume(_books_key(town, name), readings[one].policy.requests, fresh, scene.now)
                held[one] = tuple(t.key for t in found.chosen)
                if found.is_complete:
                    carried_out.add(one)
        if held == before:
            break
    return _with_copies(Outcome(scene, decisions, {}, arrivals=arrivals), readings)


def _read(town: Town, obj: JSONObject) -> Reading:
    """With what the PlacementPolicies of the workspace add."""
    placement = Placement.of(obj, ())
    mine = [ns for ns in town.namespaces if meta.name(ns) not in UNSYNCED_NAMESPACES and placement.selects(ns)]
    return under(read(obj.get("spec") or {}), [PlacementPolicy.of(policy) for policy in town.placement_policies], mine)


def _decide(  # noqa: PLR0913 - what one decision depends on
    scene: Scene,
    books: Reservations,
    town: Town,
    name: str,
    reading: Reading,
    held: Mapping[PlacementID, tuple[str, ...]],
    *,
    edit_is_done: bool,
) -> Decision:
    obj = town.placements[name]
    placement = Placement.of(obj, held[town.path, name])
    home = scene.home_of(town, placement)
    ground = scene.grounds.get(home, Ground(Fleet()))

    def load() -> dict[str, int]:
        others = [keys for one, keys in held.items() if one != (town.path, name)]
        return {t.key: sum(t.key in keys for keys in others) for t in ground.targets}

    rebalancing = Rebalancing.of(obj, reading.policy, scene.now)
    moves = len(ground.targets) if rebalancing.wanted and reading.policy.movement.moves_per_minute else 0
    fleet = books.applied(ground.targets, _books_key(town, name))
    around = Surroundings(fleet, ground.locations, town.path, scene.eviction_grace_s, lambda: town.required_apis, load,
                          _neighbours(town, name, held), moves, edit_is_done=edit_is_done)  # fmt: skip
    return schedule(snapshot_of(obj, placement, reading.policy, around))


def _is_in_use(town: Town, name: str) -> bool:
    placement = Placement.of(town.placements[name], ())
    return any(meta.name(ns) not in UNSYNCED_NAMESPACES and placement.selects(ns) for ns in town.namespaces)


def _neighbours(town: Town, name: str, held: Mapping[PlacementID, tuple[str, ...]]) -> list[Neighbour]:
    others = sorted((n, obj) for n, obj in town.placements.items() if n != name)
    return [Neighbour(n, meta.labels(obj), frozenset(held[town.path, n])) for n, obj in others]


def _with_copies(outcome: Outcome, readings: Mapping[PlacementID, Reading]) -> Outcome:
    """Divide the replicas as the namespace scheduler and the resource controller do."""
    copies: dict[WorkloadID, Mapping[str, int]] = {}
    divided: dict[WorkloadID, Shares | None] = {}
    for town in outcome.scene.towns:
        namespaces = {meta.name(ns): ns for ns in town.namespaces if meta.name(ns) not in UNSYNCED_NAMESPACES}
        placements = [Placement.of(town.placements[name], ()) for name in sorted(town.placements)]
        for obj in town.workloads:
            namespace = namespaces.get(meta.namespace(obj))
            mine = [p.name for p in placements if namespace is not None and p.places(obj, namespace)]
            found = [s for name in mine if (s := _shares(outcome, town, name, readings)) is not None]
            keys = sorted({t.key for name in mine for t in outcome.decisions[town.path, name].chosen})
            one = workload_id(town, obj)
            divided[one] = combine(found)
            here = [k for k in keys if not left_out(obj, outcome.scene.names[k])]
            copies[one] = _divide(obj, here, divided[one], outcome.scene.names)
        copies |= _rebalanced(outcome, town, readings, copies, divided)
    return replace(outcome, copies=copies, shares=divided)


def _rebalanced(
    outcome: Outcome, town: Town, readings: Mapping[PlacementID, Reading], copies: Mapping[WorkloadID, Mapping[str, int]],
    divided: Mapping[WorkloadID, Shares | None],
) -> Mapping[WorkloadID, Mapping[str, int]]:  # fmt: skip
    """Where rebalancing is asked for: what stays on its clusters, with the replicas moved between them."""
    found: dict[WorkloadID, Mapping[str, int]] = {}
    for name in sorted(town.placements):
        movement = readings[town.path, name].policy.movement
        asked = Rebalancing.of(town.placements[name], readings[town.path, name].policy, outcome.scene.now).wanted
        if not asked or not movement.moves_per_minute:
            continue
        placement = Placement.of(town.placements[name], ())
        selected = {meta.name(ns) for ns in town.namespaces if placement.selects(ns)}
        listed = []
        for obj in town.workloads:
            one = workload_id(town, obj)
            held, shares = asked_now(obj), divided.get(one)
            if meta.namespace(obj) in selected and one not in found and shares is not None and held == copies[one]:
                listed.append((one, workload_of(obj, held, shares)))
        bounds = Bounds(movement.min_gain, len(listed), None)
        by_name = {workload.name: one for one, workload in listed}
        wanted = plan([workload for _, workload in listed], movable(outcome.decisions[town.path, name]), bounds)
        found |= {by_name[workload.name]: after for workload, after in wanted.moves}
    return found


def _shares(outcome: Outcome, town: Town, name: str, readings: Mapping[PlacementID, Reading]) -> Shares | None:
    held = Shares.from_json(meta.annotations(town.placements[name]).get(SHARES_ANNOTATION))
    return shares_of(readings[town.path, name].policy, outcome.decisions[town.path, name].chosen, held)


def _divide(obj: JSONObject, keys: Sequence[str], shares: Shares | None, names: Mapping[str, str]) -> Mapping[str, int]:
    current = {key: number for key in keys if (number := share_of(obj, key)) is not None}
    return share(replicas_of(obj), keys, shares, current=current, pod=pod_requests(obj) if shares is not None else {}, names=names)


def present(scene: Scene) -> Mapping[WorkloadID, Mapping[str, int]]:
    """Which clusters are asked for how many replicas now, by what stands on the objects."""
    found: dict[WorkloadID, Mapping[str, int]] = {}
    for town in scene.towns:
        for obj in town.workloads:
            found[workload_id(town, obj)] = asked_now(obj)
    return found


def asked_now(obj: JSONObject) -> dict[str, int]:
    """K → replicas that are asked for there, by what stands on the object."""
    shares = {key: share_of(obj, key) for key in synced_keys(obj) if not is_leaving(obj, key)}
    return {key: replicas_of(obj) if held is None else held for key, held in shares.items()}


def replicas_of(obj: JSONObject) -> int:
    return int(meta.nested(obj, "spec", "replicas", default=1))


def workload_id(town: Town, obj: JSONObject) -> WorkloadID:
    return town.path, meta.namespace(obj), meta.name(obj)
