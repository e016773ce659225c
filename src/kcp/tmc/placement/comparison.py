"""Two outcomes side by side: what moves, from where to where, which copies change, and what no longer fits and why.

Before: `kubectl tmc preview`. After: `preview`, `overrides`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.names import chosen_keys
from kcp.tmc.overrides.policy import Cluster, OverrideError, patch_for
from kcp.tmc.placement.constraints import amount
from kcp.tmc.placement.preview import Outcome, PlacementID, Town, WorkloadID, present, replicas_of, workload_id
from kcp.tmc.placement.schedule import Decision, Target, Verdict
from kcp.tmc.placement.shares import pod_requests, unplaced

MOST_REFUSALS = 5
"""Different reasons that one line tells."""


@dataclass(frozen=True, slots=True)
class PlacementChange:
    workspace: str
    name: str
    before: Sequence[str]
    after: Sequence[str]
    reasons: Mapping[str, str]
    """Cluster that joins or leaves → why."""

    @property
    def is_change(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Step:
    """Replicas that go from one cluster to another; "" where they are new, or have no place."""

    source: str
    destination: str
    replicas: int


@dataclass(frozen=True, slots=True)
class WorkloadChange:
    workspace: str
    namespace: str
    name: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    steps: Sequence[Step]

    @property
    def is_change(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that has no place, or cannot be carried out."""

    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class CopyChange:
    """What OverridePolicies make of a copy that they did not make of it before; None: no longer."""

    workspace: str
    workload: str
    cluster: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    placements: Sequence[PlacementChange]
    workloads: Sequence[WorkloadChange]
    copies: Sequence[CopyChange]
    problems: Sequence[Problem]
    """Of what would be, and is not so now."""
    standing: Sequence[Problem] = field(default_factory=tuple)
    """What does not fit now, and would not then."""

    @property
    def fits(self) -> bool:
        return not self.problems


def compare(now: Outcome, then: Outcome) -> Comparison:
    """Args: now: of the scene as it is. then: of the scene as it would be."""
    names = {**now.scene.names, **then.scene.names}
    before, after = present(now.scene), then.copies
    held, found = list(_problems(now, now)), list(_problems(then, now))
    return Comparison(
        placements=list(_placements(now, then, names)),
        workloads=[_workload(one, before.get(one, {}), after.get(one, {}), names) for one in sorted({*before, *after})],
        copies=list(_copies(now, then, names)),
        problems=[p for p in found if p not in held],
        standing=[p for p in found if p in held],
    )


def _placements(now: Outcome, then: Outcome, names: Mapping[str, str]) -> Iterator[PlacementChange]:
    held = {(t.path, name): obj for t in now.scene.towns for name, obj in t.placements.items()}
    for one in sorted({*held, *then.decisions}):
        keys = chosen_keys(held[one]) if one in held else ()
        decision = then.decisions.get(one, Decision())
        before = sorted(names.get(key, key) for key in keys)
        after = [t.name for t in decision.chosen]
        moved = [v for v in decision.verdicts if (v.target.key in keys) != v.chosen]
        reasons = {v.target.name: then.arrivals.get((one, v.target.key), v.message) if v.chosen else v.message for v in moved}
        yield PlacementChange(*one, before, after, reasons)


def _workload(one: WorkloadID, before: Mapping[str, int], after: Mapping[str, int], names: Mapping[str, str]) -> WorkloadChange:
    return WorkloadChange(*one, _named(before, names), _named(after, names), list(steps(_named(before, names), _named(after, names))))


def _named(copies: Mapping[str, int], names: Mapping[str, str]) -> Mapping[str, int]:
    return dict(sorted((names.get(key, key), number) for key, number in copies.items()))


def steps(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[Step]:
    """Pairs what becomes fewer with what becomes more, in name order.

    >>> [tuple((s.source, s.destination, s.replicas)) for s in steps({"a": 3, "b": 1}, {"b": 2, "c": 1})]
    [('a', 'b', 1), ('a', 'c', 1), ('a', '', 1)]
    """
    fewer = {c: n - after.get(c, 0) for c, n in sorted(before.items()) if n > after.get(c, 0)}
    more = {c: n - before.get(c, 0) for c, n in sorted(after.items()) if n > before.get(c, 0)}
    for source in fewer:
        for destination in more:
            number = min(fewer[source], more[destination])
            if number:
                fewer[source] -= number
                more[destination] -= number
                yield Step(source, destination, number)
    yield from (Step(source, "", left) for source, left in fewer.items() if left)
    yield from (Step("", destination, left) for destination, left in more.items() if left)


# --- what does not fit ---


def _problems(outcome: Outcome, now: Outcome) -> Iterator[Problem]:
    """Args: now: what runs already, and is part of what clusters use."""
    for one, decision in sorted(outcome.decisions.items(), key=lambda item: item[0]):
        yield from _of_placement(one, decision)
    for town in outcome.scene.towns:
        for obj in town.workloads:
            yield from _of_workload(outcome, town, obj)
    yield from _overfull(outcome, now)


def _of_placement(one: PlacementID, decision: Decision) -> Iterator[Problem]:
    missing = decision.number - len(decision.chosen)
    if missing > 0:
        refused = [v for v in decision.verdicts if not v.chosen]
        yield Problem(f"Placement {one[1]}", f"{len(decision.chosen)} of {decision.number} clusters found: {_reasons(refused)}")
    for verdict in decision.verdicts:
        if verdict.chosen and not verdict.target.ready and verdict.target.key in decision.refused:
            yield Problem(f"Placement {one[1]}", f"{verdict.target.name}: {verdict.message}")


def _reasons(refused: Sequence[Verdict]) -> str:
    """Clusters refused in the same words stand together."""
    groups: dict[str, list[str]] = {}
    for verdict in refused:
        groups.setdefault(verdict.message, []).append(verdict.target.name)
    told = [f"{', '.join(names) if len(names) <= MOST_REFUSALS else f'{len(names)} clusters'}: {why}" for why, names in groups.items()]
    more = [f"and {len(told) - MOST_REFUSALS} more reasons"] if len(told) > MOST_REFUSALS else []
    return "; ".join([*told[:MOST_REFUSALS], *more]) or "there are no more"


def _of_workload(outcome: Outcome, town: Town, obj: JSONObject) -> Iterator[Problem]:
    one = workload_id(town, obj)
    title = f"Deployment {meta.namespace(obj)}/{meta.name(obj)}"
    placed = outcome.copies[one]
    if not placed:
        yield Problem(title, f"{replicas_of(obj)} replicas run nowhere: no cluster is chosen for namespace {meta.namespace(obj)}")
    elif why := unplaced(replicas_of(obj), outcome.shares[one], placed):
        yield Problem(title, f"no place for {why}")
    for key in placed:
        found = _patch(outcome, town, obj, key)
        if isinstance(found, str):
            yield Problem(title, f"the copy on {outcome.scene.names[key]} would be held back: {found}")


def _overfull(outcome: Outcome, now: Outcome) -> Iterator[Problem]:
    """Clusters that are asked for more than they have free."""
    before, after = _demands(now, present(now.scene)), _demands(outcome, outcome.copies)
    for target in (t for ground in outcome.scene.grounds.values() for t in ground.targets):
        held, asked = before.get(target.key, {}), after.get(target.key, {})
        for resource in sorted({r for demand in asked.values() for r in demand}):
            more = {one: asked.get(one, {}).get(resource, 0.0) - held.get(one, {}).get(resource, 0.0) for one in sorted({*held, *asked})}
            yield from _too_much(target, resource, more)


def _demands(outcome: Outcome, copies: Mapping[WorkloadID, Mapping[str, int]]) -> Mapping[str, Mapping[WorkloadID, Mapping[str, float]]]:
    """K → workload → what its replicas there request."""
    found: dict[str, dict[WorkloadID, Mapping[str, float]]] = {}
    for town in outcome.scene.towns:
        for obj in town.workloads:
            one, pod = workload_id(town, obj), pod_requests(obj)
            for key, number in copies.get(one, {}).items():
                found.setdefault(key, {})[one] = {resource: number * wanted for resource, wanted in pod.items()}
    return found


def _too_much(target: Target, resource: str, more: Mapping[WorkloadID, float]) -> Iterator[Problem]:
    free, wanted = target.free(resource), sum(more.values())
    if free is not None and wanted > free:
        whose = ", ".join(f"{one[2]} {'+' if n > 0 else '-'}{amount(resource, abs(n))}" for one, n in more.items() if n)
        room = f"{amount(resource, free)} of {resource} free, {amount(resource, wanted)} more asked for"
        yield Problem(target.name, f"{room} ({whose}): Pods would wait")


# --- copies ---


def _patch(outcome: Outcome, town: Town, obj: JSONObject, key: str) -> Sequence[JSONObject] | str:
    """What OverridePolicies do to the copy on target K; in words why they cannot."""
    held = [p for p in town.policies if meta.namespace(p) == meta.namespace(obj)]
    target = next((t for ground in outcome.scene.grounds.values() for t in ground.targets if t.key == key), None)
    if not held or target is None:
        return ()
    copy = {**obj, "spec": {**(obj.get("spec") or {}), "replicas": outcome.copies[workload_id(town, obj)][key]}}
    try:
        return patch_for(held, copy, Cluster(target.name, target.labels))
    except OverrideError as error:
        return str(error)


def _copies(now: Outcome, then: Outcome, names: Mapping[str, str]) -> Iterator[CopyChange]:
    """Of copies that are there and stay."""
    towns = {town.path: town for town in now.scene.towns}
    for town in then.scene.towns:
        was = towns.get(town.path)
        if was is None or was.policies == town.policies:
            continue
        known = {workload_id(was, obj) for obj in was.workloads}
        for obj in town.workloads:
            one = workload_id(town, obj)
            shared = sorted(set(then.copies[one]) & set(now.copies[one])) if one in known else ()
            for key in shared:
                before, after = _fields(_patch(now, was, obj, key)), _fields(_patch(then, town, obj, key))
                paths = sorted({*before, *after})
                changed = {p: after.get(p) for p in paths if (p in before, before.get(p)) != (p in after, after.get(p))}
                if changed:
                    yield CopyChange(town.path, f"{one[1]}/{one[2]}", names[key], changed)


def _fields(patch: Sequence[JSONObject] | str) -> Mapping[str, Any]:
    return {} if isinstance(patch, str) else {operation["path"]: operation.get("value") for operation in patch}
