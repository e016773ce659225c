"""WATCH: the state if asked for, then every change, with bookmarks and an end.

One event object, and so one encoded frame, is shared by all watchers that see it; only a resource served under another version than it
is stored in makes its own.
Before: `generic`. After: `storage.watchcache`. Source: k8s.io/apiserver/pkg/storage/cacher, KEP-956 (bookmarks), KEP-3157 (watch-list).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import Expired
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.registry.alarms import Alarms
from kcp.registry.backend import Scope, WatchQuery
from kcp.registry.encoding import is_converted, serve
from kcp.registry.lifetimes import Lifetime, Lifetimes
from kcp.registry.reads import parse_revision
from kcp.registry.resource import Resource
from kcp.registry.selection import Matches, Selection, select
from kcp.registry.translate import as_status, too_large_revision
from kcp.registry.versions import Presentation
from kcp.storage.interface import Compacted, StoreError
from kcp.storage.item import Item, WatchEvent, at_revision
from kcp.storage.subscriptions import CacheEvent, Trait, translate

if TYPE_CHECKING:
    from kcp.storage.prefixcache import PrefixCache
    from kcp.storage.subscriptions import Subscription

BOOKMARK_INTERVAL_S = 60.0
"""Source: k8s.io/apiserver/pkg/storage/cacher/cacher.go, defaultBookmarkFrequency."""
FIRST_BOOKMARK_S = 20.0
"""The first comes sooner: kcp's clients expect one within half a minute. Source: kcp test/e2e/virtual/terminatingworkspaces."""
_SHORTEST_WATCH_S = 1800
_WATCH_SPREAD_S = 1800
"""A watch without a timeout ends after 30 to 60 minutes. Source: --min-request-timeout of kube-apiserver."""
_INITIAL_BATCH = 500
"""Objects of the state handed over at once, so that a large one does not block everybody else."""


class Cached(Protocol):
    """Where objects and their changes come from: `storage.watchcache`, or what is made of it."""

    async def prefix(self, prefix: bytes, *, since: int = 0) -> PrefixCache: ...

    async def fresh(self) -> int: ...

    def revision(self) -> int: ...


class Watches:
    """The watching part of `Registry`."""

    def __init__(self, cache: Cached, clock: Clock, presentation: Presentation) -> None:
        self._cache = cache
        self._presentation = presentation
        self._clock = clock
        self._alarms = Alarms(clock)
        self._started = 0
        self.lifetimes = Lifetimes()

    def watch(self, scope: Scope, query: WatchQuery, *, shown_as: Scope | None = None) -> AsyncIterator[Sequence[WatchEvent]]:
        """Raises BadRequest at once for a malformed query; iterating may raise Expired, Timeout and ServiceUnavailable.

        Args: shown_as: whose end is the watch's end, where what is watched is shown as something else.
        """
        selection = select(scope, query.labels, query.fields)
        revision = parse_revision(query.resource_version)
        served = shown_as or scope
        return self._stream(scope, (served.cluster, served.resource.gvr, self.lifetimes.now), query, selection, revision)

    async def _stream(
        self, scope: Scope, served: tuple[ClusterName, GVR, int], query: WatchQuery, selection: Selection, revision: int
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        resource = scope.resource
        try:
            items = await self._cache.prefix(resource.storage_prefix, since=revision)
            filtering = _Filtering.of(selection, resource)
            initial, revision = await self._initial(query, selection, filtering, items, revision)
            with (
                self.lifetimes.lifetime(*served) as lifetime,
                items.subscribe(
                    selection.prefix, after=revision, matches=filtering.stored, name=selection.name, traits=filtering.traits
                ) as subscription,
            ):
                for start in range(0, len(initial), _INITIAL_BATCH):
                    shown = await self._presentation.all(initial[start : start + _INITIAL_BATCH], resource)
                    yield [WatchEvent("ADDED", item, item.revision) for item in shown if filtering.shows(item)]
                initial = ()
                if query.send_initial_events and query.bookmarks:
                    yield [bookmark(scope, revision, ends_initial_events=True)]
                async with aclosing(self._live(scope, query, filtering, subscription, lifetime)) as live:
                    async for batch in live:
                        yield batch
        except Compacted as error:
            raise Expired(f"too old resource version: {revision} ({error.oldest})") from error
        except StoreError as error:
            raise as_status(error, resource.group_resource) from error

    async def _initial(
        self, query: WatchQuery, selection: Selection, filtering: _Filtering, items: PrefixCache, revision: int
    ) -> tuple[Sequence[Item], int]:
        """The objects to begin with, and the revision from which changes follow."""
        wants_state = query.send_initial_events if query.send_initial_events is not None else revision == 0
        if not wants_state and revision:
            if revision > self._cache.revision() and revision > (current := await self._cache.fresh()):
                raise too_large_revision(revision, current)
            return (), revision
        if query.resource_version != "0":
            current = await self._cache.fresh()
            if revision > current:
                raise too_large_revision(revision, current)
        found: Sequence[Item] = ()
        if wants_state:
            found = items.scan(selection.prefix)
            if filtering.stored is not None:
                found = [item for item in found if filtering.stored(item)]
        return found, self._cache.revision()

    async def _live(
        self, scope: Scope, query: WatchQuery, filtering: _Filtering, subscription: Subscription, lifetime: Lifetime
    ) -> AsyncGenerator[Sequence[WatchEvent], None]:
        """Changes as they come, and a bookmark soon, then each minute, and at the end; ends at the timeout."""
        deadlines = _Deadlines(self._clock, self._alarms, subscription, self._timeout_s(query), lifetime, wants_bookmarks=query.bookmarks)
        try:
            while True:
                changes = await deadlines.next()
                if changes is not None:
                    events = await self._events(changes, scope.resource, filtering, subscription)
                    if events:
                        yield events
                    continue
                if query.bookmarks and not lifetime.is_over and (revision := subscription.progress()):
                    yield [bookmark(scope, revision)]
                if lifetime.is_over:
                    if not subscription.progress():  # what happened before still counts
                        yield await self._events(await anext(subscription), scope.resource, filtering, subscription)
                    return
                if deadlines.is_over():
                    return
        finally:
            deadlines.close()

    async def _events(
        self, changes: Sequence[CacheEvent], resource: Resource, filtering: _Filtering, subscription: Subscription
    ) -> Sequence[WatchEvent]:
        """What this watcher sees of the changes. Raises Unexplained where a webhook fails."""
        if resource.versions is None:
            events = [event for change in changes if (event := subscription.translate(change)) is not None]
            return [_converted(event, resource) for event in events] if is_converted(resource) else events
        before = [change.prev_item for change in changes if change.prev_item is not None]
        after = [change.item for change in changes if change.type != "DELETED"]
        stored = [*before, *after]
        shown = dict(zip(stored, await self._presentation.all(stored, resource), strict=True))
        seen = (_shown_change(change, shown) for change in changes)
        return [event for change in seen if (event := translate(change, filtering.shown)) is not None]

    def _timeout_s(self, query: WatchQuery) -> float:
        """The client's wish, or 30 to 60 minutes, spread so that watches opened together do not end together."""
        self._started += 1
        return query.timeout_s or _SHORTEST_WATCH_S + self._started * 61 % _WATCH_SPREAD_S

    def statistics(self) -> dict[str, int]:
        return {"watches_started": self._started, **self._alarms.statistics()}


class _Deadlines:
    """Waits for changes, but not past the next bookmark or the end of the watch."""

    def __init__(  # noqa: PLR0913 - all that ends or interrupts a watch
        self, clock: Clock, alarms: Alarms, subscription: Subscription, timeout_s: float, lifetime: Lifetime, *, wants_bookmarks: bool
    ) -> None:
        self._clock = clock
        self._alarms = alarms
        self._end = clock.monotonic() + timeout_s
        self._wants_bookmarks = wants_bookmarks
        self._subscription = subscription
        self._is_due = False
        self._arm(FIRST_BOOKMARK_S)
        lifetime.wake(self._ring)

    def _arm(self, seconds: float) -> None:
        next_bookmark = self._clock.monotonic() + seconds if self._wants_bookmarks else self._end
        self._alarm = self._alarms.set(min(next_bookmark, self._end), self._ring)

    def _ring(self) -> None:
        self._is_due = True
        self._subscription.interrupt()

    async def next(self) -> Sequence[CacheEvent] | None:
        """The next changes, or None when a deadline has come first."""
        if not self._is_due and (changes := await anext(self._subscription)):
            return changes
        self._is_due = False
        if not self.is_over():
            self._arm(BOOKMARK_INTERVAL_S)
        return None

    def is_over(self) -> bool:
        return self._clock.monotonic() >= self._end

    def close(self) -> None:
        self._alarm.cancel()
        self._alarms.tidy()


@dataclass(frozen=True, slots=True)
class _Filtering:
    """Where a watch selects: among the objects as they are stored, or as they are shown."""

    stored: Matches | None
    traits: Sequence[Trait]
    """For the index of subscriptions."""
    shown: Matches | None

    @classmethod
    def of(cls, selection: Selection, resource: Resource) -> _Filtering:
        if resource.versions is None:
            return cls(selection.matches, selection.traits, None)
        return cls(selection.by_key, (), selection.by_content)

    def shows(self, item: Item) -> bool:
        return self.shown is None or self.shown(item)


def _shown_change(change: CacheEvent, shown: Mapping[Item, Item]) -> CacheEvent:
    """A change of an object as it is shown; the last state of a deleted one is what was there before."""
    before = shown[change.prev_item] if change.prev_item is not None else None
    if change.type != "DELETED":
        return CacheEvent(change.type, shown[change.item], before, change.revision)
    last = before if before is not None else change.item
    return CacheEvent("DELETED", at_revision(last, change.revision), before, change.revision)


def _converted(event: WatchEvent, resource: Resource) -> WatchEvent:
    assert event.item is not None, "changes carry an object"
    item = serve(event.item, resource)
    return event if item is event.item else WatchEvent(event.type, item, event.revision)


def bookmark(scope: Scope, revision: int, *, ends_initial_events: bool = False) -> WatchEvent:
    """`revision` has been reached: a watch may start again from there."""
    metadata: dict[str, object] = {"resourceVersion": str(revision)}
    if ends_initial_events:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": scope.resource.kind, "apiVersion": scope.resource.gvr.api_version, "metadata": metadata}
    return WatchEvent("BOOKMARK", None, revision, frame=orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n")
