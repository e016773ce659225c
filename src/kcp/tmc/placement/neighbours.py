"""Affinity between Placements: near to, or away from, what other Placements of the workspace have chosen.

Before: `filters`, `scores`. After: nothing. Pure. Source for the meaning: k8s.io/api/core/v1 PodAffinityTerm, with Placements for Pods.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.tmc.placement.policy import PlacementTerm
from kcp.tmc.placement.snapshot import Snapshot, Target


def test(snapshot: Snapshot, term: PlacementTerm) -> Callable[[Target], bool]:
    """Whether a target lies where the Placements of the term are."""
    keys = {key for n in snapshot.neighbours if term.selector.matches(n.labels) for key in n.chosen}
    if not term.topology_key:
        return lambda t: t.key in keys
    topology = term.topology_key
    places = {place for t in snapshot.targets if t.key in keys and (place := t.topology(topology))}
    return lambda t: t.topology(topology) in places


def explanation(snapshot: Snapshot, term: PlacementTerm) -> Callable[[Target], str]:
    """In which words a target that does not meet a required term is refused."""

    def told(target: Target) -> str:
        names = ", ".join(sorted(n.name for n in snapshot.neighbours if term.selector.matches(n.labels)))
        where = f"{term.topology_key}={target.topology(term.topology_key) or 'none'}" if term.topology_key else "this cluster"
        if term.away:
            return f"placement anti-affinity: {names} is at {where}"
        if not names:
            return f"placement affinity: no placement matches {term.selector}"
        return f"placement affinity: {names} is not at {where}"

    return told
