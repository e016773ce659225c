"""All pods of the cluster as `PodView`s, indexed by owner, node and labels; fed by one informer and shared by the workload controllers.

A controller's own writes show at once (`assume`, `doom`), before the watch brings them back, so that it never acts twice on one need.
Before: `sim.workloads.*` controllers. After: the pod informer.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.sim.workloads.podview import PodView, view

Listener: TypeAlias = Callable[[PodView | None, PodView | None], None]
"""Called with the view before and after each change; None for absent."""

LOCAL_CLUSTER = ClusterName("")
_ASSUMED_FOR_S = 5.0
"""How long a pod that was created but has not come back by the watch counts: it may have been deleted at once by somebody else."""


_MOST_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class NamesTaken:
    """The names of all pods of a namespace and of those that went lately, to be asked one at a time."""

    views: Mapping[ObjectKey, PodView]
    gone: Container[ObjectKey]
    namespace: str

    def __contains__(self, name: object) -> bool:
        key = ObjectKey(LOCAL_CLUSTER, self.namespace, str(name))
        return key in self.views or key in self.gone


class PodBook:
    """Not a cache of objects: only views. One pod is read once per change, however many controllers ask."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._views: dict[ObjectKey, PodView] = {}
        self._index: dict[tuple[str, ...], dict[ObjectKey, PodView]] = {}
        self._assumed: dict[ObjectKey, float] = {}
        self._doomed: set[str] = set()
        self._gone: dict[ObjectKey, None] = {}
        """The last pods that went: whoever waits for one to go must not take its successor for it."""
        self._untracked: set[str] = set()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def on_event(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """The informer's handler."""
        self._assumed.pop(key, None)
        after = view(new) if new is not None else None
        before = self._views.get(key)
        if before is not None and (after is None or after.uid != before.uid or after.terminating):
            self._doomed.discard(before.uid)
        if after is not None and after.uid in self._doomed:
            after = replace(after, terminating=True)
        if before is not None and (after is None or after.uid != before.uid or not after.tracked):
            self._untracked.discard(before.uid)
        if after is not None and after.uid in self._untracked:
            after = replace(after, tracked=False)
        self._put(key, before, after)

    def assume(self, pod: JSONObject) -> None:
        """Count a pod that the server has just acknowledged, until the watch confirms it."""
        made = view(pod)
        if made.key not in self._views:
            self._assumed[made.key] = self._clock.monotonic() + _ASSUMED_FOR_S
            self._put(made.key, None, made)

    def assume_node(self, pod: PodView, node: str) -> None:
        """Count a pod as bound as soon as its binding is acknowledged."""
        held = self._views.get(pod.key)
        if held is not None and held.uid == pod.uid and not held.node:
            self._put(pod.key, held, replace(held, node=node))

    def doom(self, pod: PodView) -> None:
        """Count a pod as terminating as soon as its deletion is acknowledged."""
        held = self._views.get(pod.key)
        if held is not None and held.uid == pod.uid and not held.terminating:
            self._doomed.add(pod.uid)
            self._put(pod.key, held, replace(held, terminating=True))

    def untrack(self, pod: PodView) -> None:
        """Know at once that a Job need not count a pod any more."""
        held = self._views.get(pod.key)
        if held is not None and held.uid == pod.uid and held.tracked:
            self._untracked.add(pod.uid)
            self._put(pod.key, held, replace(held, tracked=False))

    def _put(self, key: ObjectKey, before: PodView | None, after: PodView | None) -> None:
        if before is not None:
            del self._views[key]
            for place in _places(before):
                held = self._index[place]
                del held[key]
                if not held:
                    del self._index[place]
            if after is None:
                self._remember(key)
        if after is not None:
            self._views[key] = after
            for place in _places(after):
                self._index.setdefault(place, {})[key] = after
        if before != after:
            for listener in self._listeners:
                listener(before, after)

    def _remember(self, key: ObjectKey) -> None:
        self._gone.pop(key, None)
        self._gone[key] = None
        if len(self._gone) > _MOST_REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def _drop_unconfirmed(self) -> None:
        """Forget assumed pods that the watch never brought."""
        now = self._clock.monotonic()
        for key in [k for k, until in self._assumed.items() if until <= now]:
            del self._assumed[key]
            self._put(key, self._views.get(key), None)

    def _at(self, *place: str) -> Mapping[ObjectKey, PodView]:
        return self._index.get(place, {})

    def get(self, key: ObjectKey) -> PodView | None:
        return self._views.get(key)

    def owned_by(self, uid: str) -> list[PodView]:
        if self._assumed:
            self._drop_unconfirmed()
        return list(self._at("owner", uid).values())

    def names(self, namespace: str) -> NamesTaken:
        """Names that a new pod cannot have, whoever's they are, or should not have so soon again."""
        return NamesTaken(self._views, self._gone, namespace)

    def orphans(self, namespace: str) -> list[PodView]:
        """Pods without a controller, in order of name."""
        return sorted(self._at("orphan", namespace).values(), key=lambda p: p.key)

    def tracked_by(self, namespace: str, job: str) -> list[PodView]:
        """Pods that a Job of this name still has to count, whether it is there or not."""
        return list(self._at("tracked", namespace, job).values())

    def on_node(self, node: str) -> list[PodView]:
        return list(self._at("node", node).values())

    def unassigned(self) -> list[PodView]:
        """Pods without a node, in order of name."""
        if self._assumed:
            self._drop_unconfirmed()
        return sorted(self._at("node", "").values(), key=lambda p: p.key)

    def selected(self, namespace: str, selector: LabelSelector) -> list[PodView]:
        """Pods of a namespace that match, in order of name; found by the rarest exact label of the selector."""
        exact = selector.exact_values()
        pools = [self._at("label", namespace, label, value) for label, value in exact.items()]
        pool = min(pools, key=len) if pools else self._at("namespace", namespace)
        return sorted((p for p in pool.values() if selector.matches(p.labels)), key=lambda p: p.key)

    def all(self) -> list[PodView]:
        return list(self._views.values())

    def statistics(self) -> dict[str, int]:
        return {"pods": len(self._views), "assumed": len(self._assumed), "doomed": len(self._doomed)}


def _places(pod: PodView) -> Iterator[tuple[str, ...]]:
    """Where a pod stands in the index."""
    yield ("owner", pod.owner_uid) if pod.owner_uid else ("orphan", pod.key.namespace)
    if pod.tracked:
        yield "tracked", pod.key.namespace, pod.owner_name
    yield "node", pod.node
    yield "namespace", pod.key.namespace
    for label, value in pod.labels.items():
        yield "label", pod.key.namespace, label, value
