"""All AggregatedViews of a server: which clusters each is over, and the resources that somebody has looked at in them.

A view costs nothing until it is read, or its status is kept; then what its workspace's objects make. Sources are the watch cache (objects)
and informers (SyncTargets, Placements, namespaces, views, rules).
Before: `workspace`, `controller`. After: `resourceview`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.durations import format_duration
from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Expired
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.registry.backend import Scope
from kcp.registry.resource import Catalog, Resource
from kcp.registry.selection import Matches, select
from kcp.storage.keyspace import object_key
from kcp.storage.prefixcache import History, PrefixCache
from kcp.storage.subscriptions import CacheEvent, QueueLimits
from kcp.storage.wakeups import Wakeups
from kcp.storage.watchcache import WatchCache
from kcp.tmc.model.kinds import AGGREGATED_VIEWS, Placement, SyncTarget
from kcp.tmc.model.names import UNSYNCED_NAMESPACES, chosen_keys, sync_target_key
from kcp.tmc.overview.columns import columns_of
from kcp.tmc.overview.instances import Kind, Target
from kcp.tmc.overview.resourceview import About, ResourceView, selected
from kcp.tmc.overview.rules import StatusRule
from kcp.tmc.overview.spec import ViewSpec

PACE_S = 0.05
"""Changes of so long become one."""
STALENESS_LOOK_S = 1.0
"""How often views with a maxStaleness look whether a cluster has become silent."""
_HISTORY_EVENTS, _HISTORY_BYTES = 2_000, 8 << 20
_QUEUE_EVENTS, _QUEUE_BYTES = 10_000, 16 << 20


@dataclass(frozen=True, slots=True)
class Sources:
    """Where views look."""

    views: Informer
    rules: Informer
    placements: Informer
    namespaces: Informer
    targets: Informer
    """With index BY_KEY."""
    cache: WatchCache
    catalog: Catalog
    shown: Callable[[ClusterName], frozenset[GroupResource]]
    """What of a workspace's resources is synced, or shown from clusters."""
    shown_version: Callable[[], str]
    """As before while `shown` answers as before."""
    clock: Clock
    meter: Meter


@dataclass(slots=True)
class OneView:
    """One AggregatedView."""

    spec: ViewSpec
    targets: dict[str, Target] = field(default_factory=dict)
    """K → the clusters that it is over."""
    namespaces: frozenset[str] | None = None
    """Those that its Placement selects; None: all."""
    resources: dict[GVR, Resource] = field(default_factory=dict)
    """As they are served."""
    opened: dict[GVR, ResourceView] = field(default_factory=dict)
    token: tuple[str, str] = ("", "")
    """Of the catalog, and of what is shown of it, as `resources` were made."""
    shown: frozenset[GroupResource] = frozenset()
    generation: int = 0
    """Of `resources`."""


@dataclass(slots=True)
class Views:
    """Knows nothing until `run`."""

    sources: Sources
    tasks: Supervisor = field(default_factory=lambda: Supervisor("aggregated views"))
    _held: dict[ObjectKey, OneView] = field(default_factory=dict)
    _listening: dict[bytes, dict[ClusterName, list[ResourceView]]] = field(default_factory=dict)
    """Prefix of a resource → cluster → who wants to hear of changes."""
    _targets: dict[str, SyncTarget] = field(default_factory=dict)
    """K → all that there are."""
    _unsettled: set[ClusterName] = field(default_factory=set)
    """Workspaces whose views may be over other clusters, or of other namespaces, than before."""
    _noticed: asyncio.Event = field(default_factory=asyncio.Event)

    def connect(self) -> None:
        """Follow the informers."""
        self.sources.targets.add_handler(self._on_target)
        self.sources.placements.add_handler(lambda key, _old, _new: self._unsettle(key.cluster))
        self.sources.namespaces.add_handler(self._on_namespace)
        self.sources.rules.add_handler(self._on_rule)
        self.sources.views.add_handler(self._on_view)

    async def wait_synced(self) -> None:
        s = self.sources
        for informer in (s.targets, s.placements, s.namespaces, s.rules, s.views):
            await informer.wait_synced()

    async def run(self) -> None:
        """Aggregate what has changed, a little later than it changes."""
        try:
            while True:
                await self._noticed.wait()
                self._noticed.clear()
                self._refresh()
                for view in [opened for held in self._held.values() for opened in held.opened.values()]:
                    await view.settle()
                    view.cache.flush()
                await self.sources.clock.sleep(PACE_S)
        finally:
            await self.tasks.stop()

    async def watch_staleness(self) -> None:
        """Tell views with a maxStaleness of clusters that have become silent, or are heard of again."""
        while True:
            await self.sources.clock.sleep(STALENESS_LOOK_S)
            for held in self._held.values():
                if held.spec.max_staleness_s is not None:
                    for key in held.targets:
                        self._renew(held, key)

    # --- who asks ---

    def get(self, key: ObjectKey) -> OneView | None:
        self._refresh()
        return self._held.get(key)

    def every(self) -> Iterable[OneView]:
        return self._held.values()

    async def find(self, key: ObjectKey) -> OneView | None:
        """The same, for a reader who may have made it a moment ago: the informer tells of it a little later."""
        await self.wait_synced()
        if key not in self._held and (resource := self.sources.catalog.resolve(key.cluster, AGGREGATED_VIEWS)) is not None:
            await self.sources.cache.fresh()
            stored = (await self.sources.cache.prefix(resource.storage_prefix)).get(object_key(resource.storage_prefix, key))
            if stored is not None:
                self._on_view(key, None, stored.decode())
        return self.get(key)

    def served(self, held: OneView) -> Mapping[GVR, Resource]:
        """The resources of a view, as it serves them; the same objects until something changes."""
        cluster = held.spec.cluster
        token = self.sources.catalog.version(cluster), self.sources.shown_version()
        if token == held.token:
            return held.resources
        shown = self.sources.shown(cluster)
        if token[0] != held.token[0] or shown != held.shown:
            self._close(held)
            held.resources = {
                r.gvr: _reading(r)
                for r in self.sources.catalog.resources(cluster)
                if r.group_resource in shown and held.spec.shows(r.gvr.group, r.kind) and _is_stored_so(r)
            }
            held.shown, held.generation = shown, held.generation + 1
        held.token = token
        return held.resources

    async def open(self, held: OneView, resource: Resource) -> ResourceView:
        """The resource in the view, made when it is first asked for. Args: resource: of `served`."""
        if (found := held.opened.get(resource.gvr)) is not None:
            return found
        source = await self.sources.cache.prefix(resource.storage_prefix)
        if (found := held.opened.get(resource.gvr)) is not None:
            return found
        if self._held.get(ObjectKey(held.spec.cluster, "", held.spec.name)) is not held or held.resources.get(resource.gvr) is not resource:
            raise Expired(f"AggregatedView {held.spec.name} has changed: list again")
        made = self._make(held, resource, source)
        held.opened[resource.gvr] = made
        if resource.storage_prefix not in self._listening:
            followers = self._listening[resource.storage_prefix] = {}
            source.listen(lambda event: _pass_on(followers, event))
        self._listening[resource.storage_prefix].setdefault(held.spec.cluster, []).append(made)
        made.begin()
        return made

    def seen(self, key: str) -> str:
        """When a cluster was last heard of, RFC 3339; "" for never."""
        target = self._targets.get(key)
        instant = _last_seen(target) if target is not None else None
        return rfc3339(instant) if instant is not None else ""

    def older_than(self, held: OneView, seconds: float) -> dict[str, str]:
        """K → why, of the clusters that were not heard of for so long."""
        why = f"not heard of for more than {format_duration(seconds)}"
        return {key: why for key in held.targets if self._age_s(key) > seconds}

    def _age_s(self, key: str) -> float:
        target = self._targets.get(key)
        instant = _last_seen(target) if target is not None else None
        return (self.sources.clock.now() - instant).total_seconds() if instant is not None else float("inf")

    # --- making ---

    def _make(self, held: OneView, resource: Resource, source: PrefixCache) -> ResourceView:
        spec, s = held.spec, self.sources
        group, kind = resource.gvr.group, resource.kind
        policy = spec.policy(group, kind)
        stored = s.catalog.resolve(spec.cluster, resource.gvr)
        scope = Scope(resource, spec.cluster)
        tests: list[Matches] = [_test(select(scope, labels, None).matches) for labels in policy.labels]
        fields: list[Matches] = [_test(select(scope, None, fields).matches) for fields in policy.fields]
        of_view = selected([_both(tests, fields)] if tests or fields else (), lambda: held.namespaces)
        about = About(
            Kind(resource.group_resource, kind, stored is not None and stored.has_status, self._rule(spec.cluster, group, kind)),
            policy, lambda: held.targets, of_view,
        )  # fmt: skip
        cache = PrefixCache(
            resource.storage_prefix, history=History(_HISTORY_EVENTS, _HISTORY_BYTES), limits=QueueLimits(_QUEUE_EVENTS, _QUEUE_BYTES),
            wakeups=Wakeups(s.clock, self.tasks), progress=lambda: view.revision(),
        )  # fmt: skip
        prefix = resource.storage_prefix + f"{spec.cluster}/".encode()
        view = ResourceView(about, source, s.cache, cache, s.clock, self._noticed.set, prefix, s.meter)
        return view

    def _rule(self, cluster: ClusterName, group: str, kind: str) -> StatusRule | None:
        """The workspace's rule for a kind; of several the first by name."""
        found = (StatusRule.of(obj) for obj in self.sources.rules.list(cluster=cluster))
        return next((rule for rule in found if (rule.group, rule.kind) == (group, kind)), None)

    def _close(self, held: OneView, *, kind: tuple[str, str] | None = None) -> None:
        """Forget what is aggregated; whoever watches begins anew. Args: kind: (group, kind); None: everything."""
        for gvr, view in list(held.opened.items()):
            if kind is None or (gvr.group, view.about.kind.kind) == kind:
                del held.opened[gvr]
                followers = self._listening[view.source.prefix]
                followers[held.spec.cluster].remove(view)
                if not followers[held.spec.cluster]:
                    del followers[held.spec.cluster]
                view.end()

    # --- what happens ---

    def _on_view(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        held = self._held.get(key)
        if new is None:
            if held is not None:
                self._close(self._held.pop(key))
            return
        if held is not None and (held.spec.uid, held.spec.generation) == (meta.uid(new), meta.generation(new)):
            return
        if held is not None:
            self._close(held)
        made = self._held[key] = OneView(ViewSpec.of(new))
        self._choose(made)

    def _on_rule(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        for obj in (old, new):
            if obj is not None:
                rule = StatusRule.of(obj)
                for held in self._of(key.cluster):
                    self._close(held, kind=(rule.group, rule.kind))

    def _on_namespace(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        if old is None or new is None or meta.labels(old) != meta.labels(new):
            self._unsettle(key.cluster)

    def _on_target(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        k = sync_target_key(key.cluster, key.name)
        if new is not None:
            self._targets[k] = SyncTarget.of(new)
        else:
            self._targets.pop(k, None)
        if old is None or new is None or meta.labels(old) != meta.labels(new):
            for one in self._held:
                self._unsettle(one.cluster)
        for held in self._held.values():
            if k in held.targets:
                self._renew(held, k)

    def _unsettle(self, cluster: ClusterName) -> None:
        """Look again at the workspace's views, soon: with a hundred namespaces that come at once, once."""
        self._unsettled.add(cluster)
        self._noticed.set()

    def _of(self, cluster: ClusterName) -> Iterable[OneView]:
        return [held for key, held in self._held.items() if key.cluster == cluster]

    def _refresh(self) -> None:
        """Settle what is unsettled."""
        while self._unsettled:
            for held in self._of(self._unsettled.pop()):
                before = held.targets.keys(), held.namespaces
                self._choose(held)
                if before != (held.targets.keys(), held.namespaces):
                    for view in held.opened.values():
                        view.touch_all()

    def _choose(self, held: OneView) -> None:
        """Set the clusters and the namespaces of a view."""
        spec = held.spec
        placements = self.sources.placements.list(cluster=spec.cluster)
        if spec.placement:
            placements = [p for p in placements if meta.name(p) == spec.placement]
            views = [Placement.of(p, ()) for p in placements]
            namespaces = self.sources.namespaces.list(cluster=spec.cluster)
            held.namespaces = frozenset(
                meta.name(ns) for ns in namespaces if meta.name(ns) not in UNSYNCED_NAMESPACES and any(v.selects(ns) for v in views)
            )
        keys = {key for p in placements for key in chosen_keys(p)}
        if not spec.placement:
            keys |= {k for k, target in self._targets.items() if target.cluster == spec.cluster}
        made = (self._target(held, key) for key in sorted(keys))
        held.targets = {t.key: t for t in made if spec.selects(t.name, t.labels)}

    def _target(self, held: OneView, key: str) -> Target:
        target = self._targets.get(key)
        if target is None:
            known = held.targets.get(key)
            return Target(key, known.name if known else key, known.labels if known else {}, trouble="its SyncTarget is gone")
        terms, trouble = held.spec.terms(target.name), ""
        limit = held.spec.max_staleness_s
        if not target.ready:
            trouble = target.not_ready_reason or "not ready"
        elif limit is not None and self._age_s(key) > limit:
            trouble = f"not heard of for more than {format_duration(limit)}"
        return Target(key, target.name, target.labels, terms.priority, terms.weight, trouble)

    def _renew(self, held: OneView, key: str) -> None:
        """Something of a cluster may have changed."""
        made = self._target(held, key)
        if made != held.targets[key]:
            held.targets = {**held.targets, key: made}
            for view in held.opened.values():
                view.touch_target(key)


def _last_seen(target: SyncTarget) -> datetime | None:
    """A cluster that is not ready was heard of until it ceased to be."""
    if target.ready or target.ready_since is None or target.heartbeat is None:
        return target.heartbeat
    return min(target.heartbeat, target.ready_since)


def _pass_on(followers: Mapping[ClusterName, Iterable[ResourceView]], event: CacheEvent) -> None:
    for view in followers.get(event.item.key.cluster, ()):
        view.touch((event.item.key,))


def _is_stored_so(resource: Resource) -> bool:
    """Of a resource with several versions the one that objects are stored in is shown."""
    return resource.gvr.version == (resource.storage_version or resource.gvr.version) and resource.conversion is None


def _reading(resource: Resource) -> Resource:
    """As it is served: to be read only."""
    return replace(
        resource, verbs=("get", "list", "watch"), has_status=False, scale=None, subresources=frozenset(), versions=None, storage_version="",
        projection=None, columns=columns_of(resource),
    )  # fmt: skip


def _test(matches: Matches | None) -> Matches:
    return matches if matches is not None else lambda _item: True


def _both(labels: list[Matches], fields: list[Matches]) -> Matches:
    """Any of the one and any of the other; of none it is true."""
    return lambda item: (not labels or any(t(item) for t in labels)) and (not fields or any(t(item) for t in fields))
