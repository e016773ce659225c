"""The invariant `within`: while replicas move, never fewer are asked for than the user wants; seen at every change of a copy.

Once as many were asked for as the user wants, fewer may be only when the user wants fewer, or when somebody in a cluster takes a copy away.
No copy asks for more than the user wanted at any time: what moves is there twice at most.
Before: `player`. After: the clusters, past all faults.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.replay.fleet import Fleet
from kcp.replay.invariants import DEPLOYMENTS
from kcp.replay.ledger import Ledger
from kcp.tmc.model.names import DEFAULT_HANDOVER_S, DOWNSTREAM_CLUSTER_LABEL


@dataclass
class BoundsWatch:
    fleet: Fleet
    ledger: Ledger
    longest_fault_s: float = 0.0
    """Who is away for longer than a hand-over waits may miss it."""
    found: list[tuple[str, str]] = field(default_factory=list)
    _asked: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """Deployment → cluster → replicas."""
    _reached: dict[str, int] = field(default_factory=dict)
    """Deployment → what its user wanted when as many were asked for."""

    async def follow(self, cluster: str) -> None:
        """Until cancelled."""
        resource = self.fleet.clusters[cluster].observer().resource(DEPLOYMENTS)
        start = (await resource.list()).resource_version
        async for event in resource.watch(resource_version=start):
            if meta.labels(event.object).get(DOWNSTREAM_CLUSTER_LABEL):
                self.see(cluster, event.object, is_gone=event.type == "DELETED")

    def see(self, cluster: str, copy: JSONObject, *, is_gone: bool) -> None:
        name, asked = meta.name(copy), self._asked[meta.name(copy)]
        if is_gone:
            asked.pop(cluster, None)
        else:
            asked[cluster] = int(copy["spec"]["replicas"])
        wanted = self.ledger.wanted.get(name)
        if wanted is None or self._is_excused(name):
            self._reached.pop(name, None)
            return
        total = sum(asked.values())
        if total >= wanted:
            self._reached[name] = wanted
        elif self._reached.get(name) == wanted:
            self.found.append(("within", f"{name} is asked for {total} times in {dict(sorted(asked.items()))}; its user wants {wanted}"))
        highest = self.ledger.highest.get(name, wanted)
        if asked.get(cluster, 0) > highest:
            self.found.append(("within", f"{cluster} is asked for {asked[cluster]} replicas of {name}; its user wanted {highest} at most"))

    def _is_excused(self, name: str) -> bool:
        meddled = any(touched == name for _, touched in self.ledger.meddled)
        return meddled or name in self.ledger.pending or name in self.ledger.exclusive or self.longest_fault_s >= DEFAULT_HANDOVER_S
