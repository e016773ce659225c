"""The filters of a placement decision: each may rule a target out, and then says why.

A filter is a `Check`: a quick test for every target, and the words for those it refuses, which are put together only when somebody asks.
`checks` lists those that a snapshot needs, in the order in which they are asked; a filter that nothing asks for is not in it.
Before: `schedule`. After: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kcp.tmc.placement import constraints, neighbours
from kcp.tmc.placement.policy import CHANGING, ClusterTerm, Constraint, ConstraintType, PlacementTerm, SpreadConstraint, Strategy
from kcp.tmc.placement.reasons import Reason
from kcp.tmc.placement.snapshot import Snapshot, Taint, Target
from kcp.tmc.placement.usage import utilisation_after


class Check(NamedTuple):
    """One filter, made for one snapshot."""

    reason: Reason
    refuses: Callable[[Target], bool]
    explain: Callable[[Target], str]
    """For a target that is refused."""
    spares_held: bool = False
    """A target chosen before stays, whatever this filter says: its changes are ignored during execution."""
    of_state: bool = False
    """Refuses none of the targets whose state is plain."""


class Refusal(NamedTuple):
    reason: Reason
    explain: Callable[[Target], str]


@dataclass(frozen=True, slots=True)
class Places:
    """Which Location a target matched through."""

    locations: dict[str, str]
    """K → name of the Location, "" where the target's own labels matched. Those that match nothing are not in it."""

    @classmethod
    def of(cls, snapshot: Snapshot, fleet: Sequence[Target]) -> Places:
        """Locations that the selectors match, the first by name; where they match none at all, the targets' own labels."""
        selectors = snapshot.location_selectors
        found: dict[str, str] = {}
        matching = [loc for loc in snapshot.locations if not selectors or any(s.matches(loc.labels) for s in selectors)]
        for location in sorted(matching, key=lambda loc: loc.name):
            found |= {t.key: location.name for t in fleet if t.key not in found and location.instances.matches(t.labels)}
        if matching:
            return cls(found)
        if len(selectors) == 1:
            only = selectors[0]
            return cls({t.key: "" for t in fleet if only.matches(t.labels)})
        return cls({t.key: "" for t in fleet if not selectors or any(s.matches(t.labels) for s in selectors)})


def sift(snapshot: Snapshot, fleet: Sequence[Target], places: Places) -> tuple[list[Target], dict[str, Refusal]]:
    """Targets that fit, in order, and what refused each of the others, by K."""
    held = snapshot.current
    spared: frozenset[str] = frozenset() if snapshot.policy_changed else held
    refused: dict[str, Refusal] = {}
    left = list(fleet)
    odd = [t for t in fleet if not t.is_plain]
    for check in checks(snapshot, places):
        refuses = check.refuses
        out = {t.key for t in odd if t.key not in refused and refuses(t)} if check.of_state else {t.key for t in left if refuses(t)}
        if check.spares_held:
            out -= held if check.reason in _NEVER_MOVES else spared
        if out:
            refused |= dict.fromkeys(out, Refusal(check.reason, check.explain))
            left = [t for t in left if t.key not in out]
    return left, refused


_NEVER_MOVES = frozenset({Reason.UNSCHEDULABLE, Reason.INSUFFICIENT})
"""A cordon only keeps new work away, and what runs there is part of what is used there."""


def checks(snapshot: Snapshot, places: Places) -> Iterator[Check]:
    """The filters that this snapshot needs, in order."""
    policy = snapshot.policy
    matched = places.locations
    yield Check(Reason.LOCATION_MISMATCH, lambda t: t.key not in matched, _no_location)
    if snapshot.workspace:
        yield Check(Reason.WORKSPACE_NOT_SERVED, lambda t: not t.serves(snapshot.workspace, snapshot.workspace_labels), _not_served)
    yield from _state(snapshot)
    if policy.groups:
        groups = policy.groups
        names = ", ".join(g.name for g in groups)
        yield Check(Reason.NO_GROUP, lambda t: not any(g.holds(t.name, t.labels) for g in groups), lambda _: f"in none of {names}")
    yield from (_constraint(c) for c in policy.constraints if c.required)
    if policy.requests:
        yield Check(
            Reason.INSUFFICIENT, lambda t: _short_of(snapshot, t) is not None, lambda t: _short_of(snapshot, t) or "", spares_held=True
        )
    if policy.strategy is Strategy.PACK:
        yield _not_too_full(snapshot)
    yield from _affinity(snapshot, places)
    for spread in policy.spread:
        if spread.required:
            yield _has_topology(spread)
    yield from _readiness(snapshot)


def _state(snapshot: Snapshot) -> Iterator[Check]:
    """Draining, taints and APIs: what moves also those that were chosen before."""
    held, tolerations = snapshot.current, snapshot.tolerations

    def untolerated(target: Target) -> Taint | None:
        is_held = target.key in held
        keeping = (t for t in target.taints if _keeps_out(t, held=is_held))
        return next((t for t in keeping if not any(x.tolerates(t) for x in tolerations)), None)

    yield Check(Reason.EVICTED, lambda t: t.evicting, lambda _: "being drained: spec.evictAfter has passed", of_state=True)
    yield Check(Reason.TAINTED, lambda t: untolerated(t) is not None, lambda t: f"taint {untolerated(t)} is not tolerated", of_state=True)
    yield _accepts_apis(snapshot.required_apis)


def _accepts_apis(required: Mapping[str, str] | None) -> Check:
    """Source: kcp 0.11 pkg/reconciler/workload/placement, isAPICompatible: every bound API is accepted, with the same identity."""
    clashes: dict[int, list[str]] = {}

    def clashing(target: Target) -> list[str]:
        """APIs of the same name from another export; looked up once for all targets that report the same."""
        if not required or not target.identities:
            return []
        known = clashes.get(id(target.identities))
        if known is None:
            known = [api for api, identity in target.identities.items() if identity and required.get(api, identity) != identity]
            clashes[id(target.identities)] = known
        return known

    def refused(target: Target) -> list[str]:
        return [api for api in target.missing_apis if required is None or api in required]

    def told(target: Target) -> str:
        missing = [f"{api} ({why})" if (why := target.api_faults.get(api)) else api for api in refused(target)]
        return f"does not accept {', '.join(missing)}" if missing else f"accepts {', '.join(clashing(target))} of another APIExport only"

    return Check(Reason.API_INCOMPATIBLE, lambda t: bool((t.missing_apis and refused(t)) or (t.identities and clashing(t))), told)


def _keeps_out(taint: Taint, *, held: bool) -> bool:
    """NoExecute moves what runs there; NoSchedule only keeps new work away; PreferNoSchedule never rules out."""
    return taint.effect == "NoExecute" or (taint.effect == "NoSchedule" and not held)


def _readiness(snapshot: Snapshot) -> Iterator[Check]:
    """Last, so that a target that would not fit anyway is not blamed for being silent."""
    held, grace_s = snapshot.current, snapshot.eviction_grace_s

    def silent(target: Target) -> bool:
        return not target.ready and not (target.key in held and target.not_ready_for_s < grace_s)

    cordoned = "cordoned: spec.unschedulable is true"
    yield Check(Reason.UNSCHEDULABLE, lambda t: t.unschedulable, lambda _: cordoned, spares_held=True, of_state=True)
    yield Check(Reason.NOT_READY, silent, lambda t: f"not ready: {t.not_ready_reason or 'its syncer has not reported yet'}", of_state=True)


def _constraint(constraint: Constraint) -> Check:
    meets = constraints.test(constraint)
    reason = Reason.INSUFFICIENT if constraint.type is ConstraintType.RESOURCE else Reason.CONSTRAINT
    return Check(reason, lambda t: not meets(t), constraints.explanation(constraint), spares_held=constraint.type in CHANGING)


def _affinity(snapshot: Snapshot, places: Places) -> Iterator[Check]:
    policy = snapshot.policy
    yield from (_required(term, places) for term in policy.required_terms)
    yield from (_forbidden(term, places) for term in policy.forbidden_terms)
    yield from (_near(snapshot, term) for term in policy.placement_terms if term.required)


def _required(term: ClusterTerm, places: Places) -> Check:
    explain = _with_labels(f"required cluster affinity {_told(term)} does not match")
    return Check(Reason.AFFINITY, lambda t: not matches_term(term, t, places), explain, spares_held=True)


def _forbidden(term: ClusterTerm, places: Places) -> Check:
    explain = _with_labels(f"cluster anti-affinity {_told(term)} matches")
    return Check(Reason.ANTI_AFFINITY, lambda t: matches_term(term, t, places), explain, spares_held=True)


def _near(snapshot: Snapshot, term: PlacementTerm) -> Check:
    near, away = neighbours.test(snapshot, term), term.away
    reason = Reason.PLACEMENT_ANTI_AFFINITY if away else Reason.PLACEMENT_AFFINITY
    return Check(reason, lambda t: near(t) is away, neighbours.explanation(snapshot, term), spares_held=True)


def matches_term(term: ClusterTerm, target: Target, places: Places) -> bool:
    return (not term.locations or places.locations.get(target.key) in term.locations) and term.selector.matches(target.labels)


def _told(term: ClusterTerm) -> str:
    parts = [str(term.selector)] if term.selector.requirements else []
    parts += [f"location in ({', '.join(sorted(term.locations))})"] if term.locations else []
    return " and ".join(parts) or "of everything"


def _with_labels(what: str) -> Callable[[Target], str]:
    return lambda target: f"{what} (labels: {shown_labels(target)})"


def shown_labels(target: Target) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(target.labels.items()) if "kcp.io/" not in k) or "none"


def _no_location(target: Target) -> str:
    return f"no locationSelector matches (labels: {shown_labels(target)})"


def _not_served(target: Target) -> str:
    return f"serves only the workspaces {target.served()}"


def _short_of(snapshot: Snapshot, target: Target) -> str | None:
    """The first resource that is not there in full."""
    for resource, wanted in snapshot.policy.requests.items():
        free = target.free(resource)
        if free is None:
            return f"does not report how much {resource} it has; {constraints.amount(resource, wanted)} is required"
        if free < wanted:
            promised = target.reserved.get(resource, 0.0)
            aside = f" ({constraints.amount(resource, promised)} reserved for work on its way)" if promised else ""
            return f"{constraints.amount(resource, free)} of {resource} free{aside}, {constraints.amount(resource, wanted)} required"
    return None


def _not_too_full(snapshot: Snapshot) -> Check:
    threshold = snapshot.policy.parameters.resource_threshold

    def told(target: Target) -> str:
        return f"would be {utilisation_after(snapshot, target):.0%} full; resourceThreshold is {threshold:.0%}"

    return Check(Reason.INSUFFICIENT, lambda t: utilisation_after(snapshot, t) > threshold, told, spares_held=True)


def _has_topology(spread: SpreadConstraint) -> Check:
    key, selector = spread.topology_key, spread.selector
    return Check(
        Reason.NO_TOPOLOGY,
        lambda t: not t.topology(key) and selector.matches(t.labels),
        lambda _: f'has no label or cell "{key}" to spread over',
        spares_held=True,
    )
