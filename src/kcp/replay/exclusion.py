"""The invariant `twice`: Pods of an exclusive Deployment never run in two clusters at once, seen at every change of a Pod.

Before: `player`. After: the clusters, past all faults.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.replay.fleet import Fleet
from kcp.replay.ledger import Ledger

PODS = GVR("", "v1", "pods")


@dataclass
class ExclusionWatch:
    fleet: Fleet
    ledger: Ledger
    found: list[tuple[str, str]] = field(default_factory=list)
    _running: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    """Deployment → cluster → uids of its Pods that run, those that are ending included."""

    async def follow(self, cluster: str) -> None:
        """Until cancelled."""
        resource = self.fleet.clusters[cluster].observer().resource(PODS)
        start = (await resource.list()).resource_version
        async for event in resource.watch(resource_version=start):
            self._see(cluster, event.object, is_gone=event.type == "DELETED")

    def _see(self, cluster: str, pod: JSONObject, *, is_gone: bool) -> None:
        name = meta.labels(pod).get("app", "")
        if name not in self.ledger.exclusive:
            return
        held = self._running[name]
        if is_gone or meta.nested(pod, "status", "phase", default="Pending") != "Running":
            held[cluster].discard(meta.uid(pod))
            return
        held[cluster].add(meta.uid(pod))
        clusters = sorted(c for c, pods in held.items() if pods)
        if len(clusters) > 1 and not self._is_excused(name, clusters):
            self.found.append(("twice", f"{name} runs in {' and '.join(clusters)}"))

    def _is_excused(self, name: str, clusters: list[str]) -> bool:
        """A lease binds a syncer that lives: where it was killed and stayed away, only `confirmed` holds."""
        return self.ledger.exclusive[name] == "lease" and any(c in self.ledger.unwatched for c in clusters)
