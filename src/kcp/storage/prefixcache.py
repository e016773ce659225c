"""The objects of one resource over all logical clusters, encoded and ready to serve, with the recent changes.

Filled by `watchcache` from one list of the store, then kept up to date by its one watch. Everything here is synchronous: between two
awaits a reader sees one revision.
Before: `watchcache`. After: `registry`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.storage.interface import SEALED, Compacted, Event, KeyValue, Revision, StoreError, Unreadable
from kcp.storage.item import Item, at_revision, make_item
from kcp.storage.keyindex import SortedKeys
from kcp.storage.keyspace import parse_key
from kcp.storage.subscriptionindex import SubscriptionIndex
from kcp.storage.subscriptions import CacheEvent, Delivery, Matches, QueueLimits, Subscription, Trait
from kcp.storage.wakeups import Wakeups

log = logging.getLogger(__name__)

_SHARED_EVENTS = 64
"""The latest changes keep what was encoded for a watcher, for the next one; a whole history of frames would double its size."""


class History:
    """The latest changes of one resource, bounded by number and by bytes."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: deque[CacheEvent] = deque()
        self._bytes = 0
        self.oldest = 0
        """Every change after this revision is kept."""

    def __len__(self) -> int:
        return len(self._events)

    def restart(self, revision: int) -> None:
        self._events.clear()
        self._bytes, self.oldest = 0, revision

    def add(self, event: CacheEvent) -> None:
        self._events.append(event)
        self._bytes += len(event.item.raw)
        if len(self._events) > _SHARED_EVENTS:
            self._events[-_SHARED_EVENTS - 1].forget_views()
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            self._drop_oldest()

    def forget(self, revision: int) -> int:
        """Drop what happened at or before `revision`. Returns the bytes of the objects in it."""
        before = self._bytes
        while self._events and self._events[0].revision <= revision:
            self._drop_oldest()
        self.oldest = max(self.oldest, revision)
        return before - self._bytes

    def _drop_oldest(self) -> None:
        event = self._events.popleft()
        self._bytes -= len(event.item.raw)
        self.oldest = event.revision

    def since(self, after: int) -> list[CacheEvent]:
        """Changes after `after`, in order; costs what it returns.

        Raises: Compacted.
        """
        if after < self.oldest:
            raise Compacted(Revision(self.oldest))
        found: list[CacheEvent] = []
        for event in reversed(self._events):
            if event.revision <= after:
                break
            found.append(event)
        found.reverse()
        return found


class PrefixCache:
    """One resource's objects and changes. Get it from `WatchCache.prefix` on each request."""

    def __init__(self, prefix: bytes, *, history: History, limits: QueueLimits, wakeups: Wakeups, progress: Callable[[], int]) -> None:
        """`progress` tells the revision that the watch cache as a whole has reached."""
        self.prefix = prefix
        self.last_change = 0
        """Revision of the last change of this resource, as far as known: nothing changed since."""
        self.is_ready = False
        self.fault: Unreadable | None = None
        """Something in it cannot be decrypted: until it is loaded again, nobody is told anything of this resource."""
        self.mend_after_s = 0.0
        """When to try that again."""
        self.settled = asyncio.Event()
        """Set once the first fill has succeeded or failed."""
        self._loaded_at = 0
        self._early: list[Event] | None = []
        """Events that came before the list; None once it is loaded."""
        self._items: dict[bytes, Item] = {}
        self._keys = SortedKeys()
        self._history = history
        self._subscriptions = SubscriptionIndex(prefix)
        self._delivery = Delivery(limits, wakeups, progress, self._subscriptions.remove)
        self._listeners: list[Callable[[CacheEvent], None]] = []

    def __len__(self) -> int:
        return len(self._items)

    # --- reads ---

    def get(self, key: bytes) -> Item | None:
        return self._items.get(key)

    def scan(self, prefix: bytes, *, after: bytes = b"", limit: int = 0) -> Sequence[Item]:
        """Objects whose keys start with `prefix` and sort after `after`, in key order; `limit` 0 for all."""
        items = self._items
        return [items[key] for key in self._keys.scan(prefix, after, limit)]

    def is_as_at(self, revision: int) -> bool:
        """Whether this is also what there was at a revision that the cache has reached, and that is not forgotten yet."""
        return self.is_ready and max(self.last_change, self._history.oldest) <= revision

    def count(self, prefix: bytes, after: bytes = b"") -> int:
        return self._keys.count(prefix, after)

    def subscribe(
        self, prefix: bytes, *, after: int, matches: Matches | None = None, name: str = "", traits: Sequence[Trait] = ()
    ) -> Subscription:
        """Hear of the changes after `after`: those kept in the history, then live.

        Args:
            prefix: this cache's prefix, that of a cluster or that of a namespace (with its closing slash).
            matches: only objects that match now or did just before; `Subscription.translate` makes entering and leaving of it.
            name: only objects of exactly this name.
            traits: what everything has that matches, for the index; without `matches` this is what is asked for.
        Raises: Compacted if the history does not reach back to `after`.
        """
        subscription = Subscription(
            prefix,
            after=after,
            matches=matches,
            name=name,
            traits=traits,
            delivery=self._delivery,
        )
        subscription.backfill(
            event
            for event in self._history.since(after)
            if (not name or event.item.key.name == name) and self._key_bytes(event.item.key).startswith(prefix)
        )
        self._subscriptions.add(subscription)
        return subscription

    def listen(self, listener: Callable[[CacheEvent], None]) -> None:
        """Call `listener` for every object there is, and then within each change: before anybody can have been told of its revision.

        For indexes that must be as true as the cache itself (what is served where). The listener must be quick and must not raise.
        """
        self._listeners.append(listener)
        for item in self._items.values():
            listener(CacheEvent("ADDED", item, None, item.revision))

    def statistics(self) -> dict[str, int]:
        return {"objects": len(self._items), "history": len(self._history), "subscriptions": len(self._subscriptions)}

    # --- feeding, by the watch cache only ---

    def make_items(self, values: Iterable[KeyValue]) -> dict[bytes, Item]:
        """What a page of the store holds, ready to be loaded."""
        return {kv.key: item for kv in values if (item := self._make(kv.key, kv.value, kv.mod_revision)) is not None}

    def load(self, items: dict[bytes, Item], revision: int, changes: Sequence[Event] = ()) -> None:
        """Replace the content by a list taken at `revision`, then take in the changes that followed, and the events that came before it
        was there.
        """
        before, self._items = self._items, items
        self._tell_of_load(before, revision)
        self._keys = SortedKeys(items)
        self._history.restart(revision)
        self._loaded_at = self.last_change = revision
        early, self._early = self._early or [], None
        known = changes[-1].revision if changes else revision
        for event in (*changes, *(event for event in early if event.revision > known)):
            self.apply(event)

    def _tell_of_load(self, before: dict[bytes, Item], revision: int) -> None:
        for listener in self._listeners:
            for key, old in before.items():
                if key not in self._items:
                    listener(CacheEvent("DELETED", at_revision(old, revision), old, revision))
            for key, item in self._items.items():
                listener(CacheEvent("MODIFIED" if key in before else "ADDED", item, before.get(key), item.revision))

    def apply(self, event: Event) -> None:
        """Take in one write, the next of this resource."""
        if self.fault is not None:
            return
        if self._early is not None:
            self._early.append(event)
        elif event.value is not None and event.value.startswith(SEALED):
            self.lose(Unreadable(event.key, "it was written with a key that this server does not have"))
        elif event.revision > self._loaded_at and (change := self._change(event)) is not None:
            self.last_change = event.revision
            self._history.add(change)
            for listener in self._listeners:
                listener(change)
            self._subscriptions.dispatch(event.key, change)

    def lose(self, fault: Unreadable) -> None:
        """What is there is not the truth any more: readers are told so, and watchers end."""
        if self.fault is None:
            log.error("nothing of %s is served: %s", self.prefix.decode(errors="replace"), fault)
        self.fault, self.is_ready = fault, False
        self.end_subscriptions(fault)

    def reopen(self) -> None:
        """Before it is filled again: events are kept from now on."""
        self.fault, self._early = None, []
        self.settled.clear()

    def flush(self) -> None:
        """Wake the watchers that the changes since the last time concern. Call after each batch."""
        self._delivery.wakeups.flush()

    def _change(self, event: Event) -> CacheEvent | None:
        key, revision = event.key, event.revision
        old = self._items.get(key)
        if event.value is None:
            if old is None:
                return None
            del self._items[key]
            self._keys.discard(key)
            return CacheEvent("DELETED", at_revision(old, revision), old, revision)
        item = self._make(key, event.value, revision) if old is None else make_item(old.key, event.value, revision)
        if item is None:
            return None
        self._items[key] = item
        if old is None:
            self._keys.add(key)
            return CacheEvent("ADDED", item, None, revision)
        return CacheEvent("MODIFIED", item, old, revision)

    def _make(self, key: bytes, value: bytes, revision: int) -> Item | None:
        try:
            parsed = parse_key(self.prefix, key)
        except ValueError as e:
            log.warning("a key that no object can have is left out: %s", e)
            return None
        shared = ObjectKey(ClusterName(sys.intern(parsed.cluster)), sys.intern(parsed.namespace), parsed.name)
        return make_item(shared, value, revision)

    def _key_bytes(self, key: ObjectKey) -> bytes:
        scope = f"{key.cluster}/{key.namespace}/" if key.namespace else f"{key.cluster}/"
        return self.prefix + scope.encode() + key.name.encode()

    def end_subscriptions(self, error: StoreError) -> None:
        for subscription in self._subscriptions:
            subscription.end(error)

    def compact(self, revision: int) -> int:
        """Forget changes at or before `revision`: watches from there on only. Returns the bytes of the objects in them."""
        return self._history.forget(revision)
