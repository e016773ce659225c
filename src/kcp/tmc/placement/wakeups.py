"""Which Placements to look at again when something changed: all that it may concern, and no more.

With thousands of Placements and a heartbeat from every cluster each few seconds, looking at all of them for each event would be most of
the work there is. Before: `controller`. After: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.index import Indexer
from kcp.controller.informer import Informer
from kcp.tmc.model.kinds import READY
from kcp.tmc.model.names import chosen_keys
from kcp.tmc.placement.observe import Observed, target_of
from kcp.tmc.placement.policy import RebalanceMode

BY_CHOSEN, NEEDING, NEIGHBOURLY = "tmc-chosen", "tmc-needing", "tmc-neighbourly"
_YES = "yes"


def _needs(obj: Mapping[str, Any]) -> list[str]:
    """Placements that a change of mere numbers concerns: those that lack clusters, and those that are rebalanced."""
    always = meta.nested(obj, "spec", "movement", "rebalance", default="") == RebalanceMode.ALWAYS
    return [] if conditions.is_true(obj, READY) and not always else [_YES]


def _neighbourly(obj: Mapping[str, Any]) -> list[str]:
    spec = obj.get("spec") or {}
    return [str(meta.cluster(obj))] if spec.get("placementAffinity") or spec.get("placementAntiAffinity") else []


INDEXERS: Mapping[str, Indexer] = {BY_CHOSEN: chosen_keys, NEEDING: _needs, NEIGHBOURLY: _neighbourly}
"""Of the informer of Placements: K of a target → those that have chosen it; and two kinds of Placements."""


@dataclass(frozen=True, slots=True)
class Wakeups:
    """Maps from events to keys of Placements."""

    placements: Informer
    """With `INDEXERS`."""
    observed: Observed
    clock: Clock

    def everywhere(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG002 - a map function
        return self.placements.keys()

    def of_workspace(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG002 - a map function
        return self.placements.keys(cluster=key.cluster)

    def of_labels(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG002 - a map function
        """Those of a workspace whose Workspace has other labels now: SyncTargets may serve workspaces by them."""
        if old is None or new is None or meta.labels(old) == meta.labels(new):
            return ()
        cluster = meta.nested(new, "spec", "cluster", default="")
        return self.placements.keys(cluster=ClusterName(cluster)) if cluster else ()

    def of_target(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Those that have chosen it come first. A heartbeat concerns nobody, usage only who waits for room."""
        if old is None or new is None:
            self.observed.forget(key)
            return self.placements.keys()
        now = self.clock.now()
        before, after = target_of(old, now), target_of(new, now)
        if before == after:
            return ()
        if replace(before, used={}, allocatable={}) == replace(after, used={}, allocatable={}):
            return self.placements.index_keys(NEEDING, _YES)
        return [*self.placements.index_keys(BY_CHOSEN, after.key), *self.placements.keys()]

    def of_placement(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Itself, and those of its workspace that look at what others have chosen."""
        seen = [(chosen_keys(p), meta.labels(p)) if p is not None else None for p in (old, new)]
        near = () if seen[0] == seen[1] else self.placements.index_keys(NEIGHBOURLY, str(key.cluster))
        return [key, *(k for k in near if k != key)]

    def of_record(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG002 - a map function
        """A record that was deleted is written anew."""
        return (key,) if new is None and key in self.placements else ()
