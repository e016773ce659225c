"""Who hears of which change of one resource: subscriptions, found by what they ask for, so that a change costs its listeners only.

A subscription stands in one place: under its scope (all clusters, one cluster, one namespace), there under a name, a label, or neither.
Before: `prefixcache`. After: `apiserver.handlers.watch` through `registry`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

from kcp.storage.interface import SlowConsumer, StoreError
from kcp.storage.item import Item, WatchEvent, at_revision
from kcp.storage.wakeups import Wakeups

log = logging.getLogger(__name__)

Matches: TypeAlias = Callable[[Item], bool]
Label: TypeAlias = tuple[str, str]
ChangeType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]


class CacheEvent:
    """One change of one object as the log has it; its views for watchers are made once and shared."""

    __slots__ = ("_entered", "_is_shared", "_left", "_plain", "item", "prev_item", "revision", "type")

    def __init__(self, type_: ChangeType, item: Item, prev_item: Item | None, revision: int) -> None:
        self.type = type_
        self.item = item
        """The object; for DELETED its last state with the revision of the deletion."""
        self.prev_item = prev_item
        """What was there before; None for ADDED."""
        self.revision = revision
        self._plain: WatchEvent | None = None
        self._entered: WatchEvent | None = None
        self._left: WatchEvent | None = None
        self._is_shared = True

    def forget_views(self) -> None:
        """From now on views are made for each watcher: they hold an encoded frame, and hardly anybody asks for an old change."""
        self._plain = self._entered = self._left = None
        self._is_shared = False

    def concerns(self, matches: Matches) -> bool:
        """Whether the object matches now or did before."""
        return (self.type != "DELETED" and matches(self.item)) or (self.prev_item is not None and matches(self.prev_item))

    def plain(self) -> WatchEvent:
        if self._plain is not None:
            return self._plain
        made = WatchEvent(self.type, self.item, self.revision)
        if self._is_shared:
            self._plain = made
        return made

    def entered(self) -> WatchEvent:
        """As a watcher sees it for whom the object is new."""
        if self._entered is not None:
            return self._entered
        made = WatchEvent("ADDED", self.item, self.revision)
        if self._is_shared:
            self._entered = made
        return made

    def left(self) -> WatchEvent:
        """As a watcher sees it for whom the object is gone: what it last saw, at the revision of this change."""
        if self._left is not None:
            return self._left
        assert self.prev_item is not None, "only what was there can leave"
        made = WatchEvent("DELETED", at_revision(self.prev_item, self.revision), self.revision)
        if self._is_shared:
            self._left = made
        return made


def translate(event: CacheEvent, matches: Matches | None) -> WatchEvent | None:
    """The event as a watcher with this selector sees it, None if it is not concerned: entering is ADDED, leaving is DELETED.

    Source: k8s.io/apiserver/pkg/storage/cacher/cache_watcher.go convertToWatchEvent.
    """
    if matches is None:
        return event.plain()
    matched = event.prev_item is not None and matches(event.prev_item)
    if event.type == "DELETED":
        return event.plain() if matched else None
    if matches(event.item):
        return event.plain() if matched or event.type == "ADDED" else event.entered()
    return event.left() if matched else None


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What may wait for a watcher that does not take it."""

    events: int
    bytes: int
    """Of encoded objects."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the subscriptions of one resource share."""

    limits: QueueLimits
    wakeups: Wakeups
    progress: Callable[[], int]
    """The revision that the watch cache as a whole has reached."""
    close: Callable[[Subscription], None]


class Subscription:
    """Async iterator over batches of the changes that one watcher asked for. Close it, or use it as a context manager.

    Raises from iteration: SlowConsumer when more than the limits waits undelivered; the cache's error when it restarts or stops.
    Cancelling a waiting `__anext__` loses nothing.
    """

    __slots__ = (
        "_after", "_bytes", "_delivery", "_ended", "_events", "_is_due", "_waiter", "matches", "name", "prefix", "where",
    )  # fmt: skip

    def __init__(
        self,
        prefix: bytes,
        *,
        after: int,
        matches: Matches | None,
        name: str,
        label: Label | None,
        delivery: Delivery,
    ) -> None:
        self.prefix = prefix
        self.name = name
        self.where: Label | None = None if name else label
        self.matches = _with_label(matches, label)
        self._after = after
        self._delivery = delivery
        self._events: list[CacheEvent] = []
        self._bytes = 0
        self._is_due = False
        """Whether it is among those to be woken already."""
        self._waiter: asyncio.Future[None] | None = None
        self._ended: StoreError | None = None

    def offer(self, event: CacheEvent) -> None:
        """Take in an event of this subscription's place in the index."""
        if event.revision <= self._after or self._ended is not None:
            return
        if self.matches is not None and not event.concerns(self.matches):
            return
        self._events.append(event)
        if self._waiter is not None:
            if not self._is_due:
                self._is_due = True
                self._delivery.wakeups.add(self)
            return
        self._bytes += len(event.item.raw)
        limits = self._delivery.limits
        if len(self._events) > limits.events or self._bytes > limits.bytes:
            self._end_slow()

    def _end_slow(self) -> None:
        what = f"{len(self._events)} undelivered events, {self._bytes} bytes, under {self.prefix!r}"
        log.warning("a watch does not keep up and is ended: %s", what)
        self.end(SlowConsumer(what))

    def backfill(self, events: Iterable[CacheEvent]) -> None:
        """Put the part of the history that this subscription asked for before everything live; the limit does not count here."""
        self._events += [event for event in events if self.matches is None or event.concerns(self.matches)]

    def end(self, error: StoreError) -> None:
        """Let the watcher fail with `error`; what it has not taken is dropped."""
        if self._ended is None:
            self._ended = error
            self._events.clear()
            self.wake()

    def translate(self, event: CacheEvent) -> WatchEvent | None:
        """The event as this watcher is to see it."""
        return translate(event, self.matches)

    def progress(self) -> int:
        """Everything up to this revision has been taken: what a bookmark may say. 0 while something waits to be taken."""
        return 0 if self._events or self._ended is not None else max(self._delivery.progress(), self._after)

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._delivery.close(self)

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._is_due = False
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[CacheEvent]:
        while not self._events:
            if self._ended is not None:
                raise self._ended
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        events, self._events = self._events, []
        self._bytes = 0
        return events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _with_label(matches: Matches | None, label: Label | None) -> Matches | None:
    if label is None:
        return matches
    name, value = label
    if matches is None:
        return lambda item: item.labels.get(name) == value
    return lambda item: item.labels.get(name) == value and matches(item)


class _Place:
    """The subscriptions of one scope."""

    __slots__ = ("by_label", "by_name", "everything")

    def __init__(self) -> None:
        self.everything: dict[Subscription, None] = {}
        self.by_name: dict[str, dict[Subscription, None]] = {}
        self.by_label: dict[Label, dict[Subscription, None]] = {}

    def slot(self, subscription: Subscription) -> dict[Subscription, None]:
        if subscription.name:
            return self.by_name.setdefault(subscription.name, {})
        if subscription.where is not None:
            return self.by_label.setdefault(subscription.where, {})
        return self.everything

    def drop_empty(self, subscription: Subscription) -> None:
        if subscription.name and not self.by_name[subscription.name]:
            del self.by_name[subscription.name]
        elif not subscription.name and subscription.where is not None and not self.by_label[subscription.where]:
            del self.by_label[subscription.where]

    @property
    def is_empty(self) -> bool:
        return not (self.everything or self.by_name or self.by_label)

    def dispatch(self, event: CacheEvent) -> None:
        for subscription in self.everything:
            subscription.offer(event)
        if self.by_name and (named := self.by_name.get(event.item.key.name)):
            for subscription in named:
                subscription.offer(event)
        if self.by_label:
            for label in _labels_touched(event):
                for subscription in self.by_label.get(label, ()):
                    subscription.offer(event)


def _labels_touched(event: CacheEvent) -> Iterable[Label]:
    """The labels that the object has or had."""
    now = event.item.labels.items()
    if event.prev_item is None or event.prev_item.labels == event.item.labels:
        return now
    return now | event.prev_item.labels.items()


class SubscriptionIndex:
    """All subscriptions of one resource prefix."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._places: dict[bytes, _Place] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Subscription]:
        for place in list(self._places.values()):
            for slot in [place.everything, *place.by_name.values(), *place.by_label.values()]:
                yield from list(slot)

    def add(self, subscription: Subscription) -> None:
        place = self._places.setdefault(subscription.prefix, _Place())
        place.slot(subscription)[subscription] = None
        self._count += 1

    def remove(self, subscription: Subscription) -> None:
        place = self._places.get(subscription.prefix)
        if place is None:
            return
        if place.slot(subscription).pop(subscription, subscription) is None:
            self._count -= 1
        place.drop_empty(subscription)
        if place.is_empty:
            del self._places[subscription.prefix]

    def dispatch(self, key: bytes, event: CacheEvent) -> None:
        """Offer the event to the subscriptions of its resource, its cluster and its namespace."""
        places = self._places
        if not places:
            return
        if (place := places.get(self._prefix)) is not None:
            place.dispatch(event)
        end = key.find(b"/", len(self._prefix)) + 1
        while end:
            if (place := places.get(key[:end])) is not None:
                place.dispatch(event)
            end = key.find(b"/", end) + 1
