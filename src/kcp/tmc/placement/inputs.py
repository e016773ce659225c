"""From a Placement and what surrounds it to the Snapshot of its decision: the one way there, for the controller and for previews.

Before: `controller`, `preview`. After: `schedule`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import Placement
from kcp.tmc.model.names import chosen_keys
from kcp.tmc.placement.observe import tolerations_of
from kcp.tmc.placement.policy import Policy, Strategy
from kcp.tmc.placement.snapshot import Fleet, Location, Neighbour, Snapshot

LOADED = frozenset({Strategy.SPREAD, Strategy.BALANCED, Strategy.ONE_TO_ANY, Strategy.ROUND_ROBIN})
"""Strategies that look at how many Placements a target has."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a Placement's decision depends on besides its own object."""

    fleet: Fleet
    locations: Sequence[Location]
    workspace: str
    """Path of the Placement's workspace."""
    eviction_grace_s: float
    """The server's; a Placement may say otherwise."""
    required_apis: Callable[[], Mapping[str, str] | None]
    """Asked only if a target says anything of APIs."""
    load: Callable[[], Mapping[str, int]]
    """K → other Placements on it; asked only if the strategy looks at that."""
    neighbours: Sequence[Neighbour] = ()
    moves: int = 0
    disturbed: int = 0
    workspace_labels: Callable[[], Mapping[str, str] | None] = lambda: None
    """Of its Workspace object; asked only if a target serves workspaces by them."""
    edit_is_done: bool = False
    """The edit of the Placement, if there was one, is carried out."""


def snapshot_of(obj: JSONObject, placement: Placement, policy: Policy, around: Surroundings) -> Snapshot:
    """Args: placement, policy: as read from `obj`; `placement.chosen` is what it has now."""
    fleet = around.fleet
    observed = meta.nested(obj, "status", "observedGeneration", default=0)
    return Snapshot(
        location_selectors=placement.location_selectors,
        number_of_clusters=placement.number_of_clusters,
        targets=fleet,
        locations=around.locations,
        current=frozenset(placement.chosen),
        tolerations=tolerations_of(placement.tolerations),
        eviction_grace_s=around.eviction_grace_s if policy.movement.eviction_s is None else policy.movement.eviction_s,
        policy=policy,
        workspace=around.workspace,
        workspace_labels=around.workspace_labels() if any(t.labelled_workspaces for t in fleet) else None,
        required_apis=around.required_apis() if any(t.missing_apis or t.identities for t in fleet) else None,
        neighbours=around.neighbours,
        load=around.load() if policy.strategy in LOADED else {},
        policy_changed=not around.edit_is_done and observed != meta.generation(obj),
        moves=around.moves,
        disturbed=around.disturbed,
    )


def neighbour_of(obj: JSONObject) -> Neighbour:
    """Another Placement of the workspace, as its neighbours see it."""
    return Neighbour(meta.name(obj), meta.labels(obj), frozenset(chosen_keys(obj)))
