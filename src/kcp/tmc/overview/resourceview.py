"""One resource of one AggregatedView, aggregated and ready to serve: kept up to date object by object, as the workspace's objects change.

What changes is only noted at once; it is aggregated when somebody reads, or a moment later for those who watch. So a status that changes a
hundred times a second costs a few aggregations, and a change in one cluster reads that cluster's word only, however many there are.
Before: `views`, `backend`. After: `instances`, `aggregate`, `storage.prefixcache`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from kcp.aio.clock import Clock
from kcp.aio.metrics import Meter
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.selection import Matches
from kcp.storage.interface import Compacted, Event, Revision
from kcp.storage.item import Item, make_item
from kcp.storage.keyspace import object_key
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache
from kcp.tmc.health.states import Status
from kcp.tmc.metrics import families
from kcp.tmc.overview.aggregate import Aggregated, Member, aggregate, unreadable, without
from kcp.tmc.overview.instances import Instance, Kind, Target, keys_of, read
from kcp.tmc.overview.spec import Policy

REVISION_BITS = 20
"""A SyncTarget that fails changes many objects at one revision of the store; each needs one of its own, in order."""
_SLICE = 100
"""Objects that are aggregated before others get their turn: some 10 ms."""
_MOST_PROBLEMS = 20
_ODD = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)
"""What comes of a status that is not as its kind's statuses are: a number that is a text, a list that is a map. Anybody who may write an
object may have written that, and only this object is to suffer from it."""


@dataclass(slots=True)
class Work:
    """What has been done, for tests and metrics."""

    aggregated: int = 0
    read: int = 0
    """Words of one cluster about one object."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An aggregated object, encoded."""

    value: bytes
    health: Status
    problems: tuple[str, ...]

    @classmethod
    def of(cls, made: Aggregated) -> Shown:
        return cls(orjson.dumps(made.obj), made.health, made.problems)


@dataclass(frozen=True, slots=True)
class About:
    """What a resource's aggregation depends on."""

    kind: Kind
    policy: Policy
    targets: Callable[[], Mapping[str, Target]]
    """K → the clusters of the view."""
    selects: Callable[[Item], bool]
    """The view's selectors and namespaces."""


@dataclass(slots=True)
class ResourceView:
    """Implements what `registry.watches` asks of a watch cache, for its own objects."""

    about: About
    source: PrefixCache
    """The workspace's objects, and everybody else's."""
    store_cache: WatchCache
    cache: PrefixCache
    clock: Clock
    noticed: Callable[[], None]
    """Called when there is something to aggregate."""
    cluster_prefix: bytes
    meter: Meter
    work: Work = field(default_factory=Work)
    health: Counter[Status] = field(default_factory=Counter)
    """Of all objects shown."""
    by_target: dict[str, set[ObjectKey]] = field(default_factory=dict)
    problems: dict[ObjectKey, tuple[str, ...]] = field(default_factory=dict)
    """The first StatusRules that failed."""
    _dirty: dict[ObjectKey, None] = field(default_factory=dict)
    _instances: dict[ObjectKey, dict[str, Instance]] = field(default_factory=dict)
    _healths: dict[ObjectKey, Status] = field(default_factory=dict)
    _last: int = 0
    _reached: int = 0

    def begin(self) -> None:
        """Note all there is."""
        self._last = self._reached = self._now()
        self.cache.load({}, self._reached)
        self.cache.is_ready = True
        self.touch(item.key for item in self.source.scan(self.cluster_prefix))

    def _now(self) -> int:
        return self.store_cache.revision() << REVISION_BITS

    def touch(self, keys: Iterable[ObjectKey]) -> None:
        """These objects, or something of what they are shown with, have changed."""
        before = len(self._dirty)
        self._dirty.update(dict.fromkeys(keys))
        if len(self._dirty) > before:
            self.noticed()

    def touch_target(self, key: str) -> None:
        """What is known of a cluster has changed."""
        self.touch(sorted(self.by_target.get(key, ())))

    def touch_all(self) -> None:
        """The clusters of the view have changed."""
        self.touch(item.key for item in self.source.scan(self.cluster_prefix))

    @property
    def waiting(self) -> int:
        return len(self._dirty)

    async def settle(self) -> None:
        """Aggregate what has changed."""
        while self._dirty:
            self.step()
            if self._dirty:
                await self.clock.sleep(0)
        self._reached = max(self._last, self._now())

    def step(self) -> None:
        """A part of it, in the order in which it changed."""
        for key in list(self._dirty)[:_SLICE]:
            del self._dirty[key]
            self._render(key)
        if not self._dirty:
            self._reached = max(self._last, self._now())
        self.cache.flush()

    def end(self) -> None:
        """Whoever watches must begin anew."""
        self.cache.end_subscriptions(Compacted(Revision(self._reached)))

    # --- as a watch cache ---

    async def prefix(self, prefix: bytes, *, since: int = 0) -> PrefixCache:  # noqa: ARG002 - one, with the history that it has
        await self.settle()
        return self.cache

    async def fresh(self) -> int:
        """Everything acknowledged before the call is in the aggregate."""
        await self.store_cache.fresh()
        await self.settle()
        return self._reached

    def revision(self) -> int:
        return self._reached

    # --- one object ---

    def shown(self, key: ObjectKey, distrusted: Mapping[str, str]) -> Item | None:
        """An object for a reader who does not accept the word of some clusters. Args: distrusted: K → why."""
        made = self._aggregated(key, distrusted)
        held = self.cache.get(object_key(self.cache.prefix, key))
        return make_item(key, made.value, held.revision) if made is not None and held is not None else None

    def _render(self, key: ObjectKey) -> None:
        started_s = self.clock.monotonic()
        made = self._aggregated(key, {})
        self._measure(key, made, started_s)
        self._count(key, made)
        where = object_key(self.cache.prefix, key)
        held = self.cache.get(where)
        if made is None and held is None:
            return
        value = made.value if made is not None else None
        if held is not None and value is not None and make_item(key, value, held.revision).raw == held.raw:
            return
        self._last = max(self._last + 1, self._now())
        self.cache.apply(Event(where, value, b"" if held is not None else None, Revision(self._last)))

    def _measure(self, key: ObjectKey, made: Shown | None, started_s: float) -> None:
        self.work.aggregated += 1
        if self.meter.is_on:
            outcome = "error" if made is not None and made.problems else "success"
            self.meter.count(families.AGGREGATIONS, str(self.about.kind.resource), self.about.policy.merge, outcome)
            self.meter.observe(families.AGGREGATION_DURATION, self.clock.monotonic() - started_s, str(key.cluster))

    def _count(self, key: ObjectKey, made: Shown | None) -> None:
        if (before := self._healths.pop(key, None)) is not None:
            self.health[before] -= 1
        self.problems.pop(key, None)
        if made is not None:
            self._healths[key] = made.health
            self.health[made.health] += 1
            if made.problems and len(self.problems) < _MOST_PROBLEMS:
                self.problems[key] = made.problems

    def _aggregated(self, key: ObjectKey, distrusted: Mapping[str, str]) -> Shown | None:
        item = self.source.get(object_key(self.source.prefix, key))
        obj = item.decode() if item is not None and self.about.selects(item) else None
        try:
            made = self._put_together(key, obj, distrusted)
            return Shown.of(made) if made is not None else None
        except _ODD as error:
            if item is None:
                raise
            self._forget(key)
            return Shown.of(unreadable(item.decode(), f"{type(error).__name__}: {error}"))

    def _put_together(self, key: ObjectKey, obj: JSONObject | None, distrusted: Mapping[str, str]) -> Aggregated | None:
        instances = self._read(key, obj)
        if obj is None or not instances:
            return None
        targets = self.about.targets()
        members = sorted((Member(targets[k], i) for k, i in instances.items()), key=lambda m: m.target.name)
        if distrusted:
            members = [without(m, distrusted[k]) if (k := m.target.key) in distrusted and m.is_known else m for m in members]
        return aggregate(obj, members, self.about.kind, self.about.policy, clusters=len(targets))

    def _read(self, key: ObjectKey, obj: JSONObject | None) -> dict[str, Instance]:
        """What each cluster of the view says; only what it has not said before is read."""
        targets = self.about.targets()
        held = self._instances.get(key, {})
        found: dict[str, Instance] = {}
        for k in keys_of(obj) if obj is not None else ():
            if (target := targets.get(k)) is not None:
                made = found[k] = read(obj or {}, target, self.about.kind, held.get(k))
                self.work.read += made is not held.get(k)
        self._forget(key, held.keys() - found.keys())
        for new in found.keys() - held.keys():
            self.by_target.setdefault(new, set()).add(key)
        if found:
            self._instances[key] = found
        return found

    def _forget(self, key: ObjectKey, targets: Iterable[str] | None = None) -> None:
        """What these clusters said of an object; None: all of them."""
        held = self._instances.get(key, {})
        for gone in list(held) if targets is None else list(targets):
            del held[gone]
            self.by_target[gone].discard(key)
            if not self.by_target[gone]:
                del self.by_target[gone]
        if not held:
            self._instances.pop(key, None)


def selected(view_selects: Iterable[Matches], namespaces: Callable[[], frozenset[str] | None]) -> Callable[[Item], bool]:
    """Whether an object is in the view. Args: view_selects: any of these; none: all. namespaces: None: all."""
    tests = tuple(view_selects)

    def selects(item: Item) -> bool:
        wanted = namespaces()
        if wanted is not None and item.key.namespace not in wanted:
            return False
        return not tests or any(test(item) for test in tests)

    return selects
