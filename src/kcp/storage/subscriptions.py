"""What one watcher hears of a resource: the changes that concern it, as it is to see them, until it has fallen too far behind.

Before: `subscriptionindex`, `prefixcache`. After: `apiserver.handlers.watch` through `registry`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

from kcp.storage.interface import SlowConsumer, StoreError
from kcp.storage.item import Item, WatchEvent, at_revision
from kcp.storage.wakeups import Wakeups

log = logging.getLogger(__name__)

Matches: TypeAlias = Callable[[Item], bool]
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
        made = WatchEvent(self.type, self.item, self.revision, before=self.prev_item)
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
class Trait:
    """A label or a field that every object has that a watcher wants to hear of."""

    name: str
    values: tuple[str, ...] = ()
    """One of these; none for a label with any value."""
    read: Callable[[Item], str] | None = None
    """Of a field: its value; None for a label."""

    def is_of(self, item: Item) -> bool:
        if self.read is not None:
            return self.read(item) in self.values
        value = item.labels.get(self.name)
        return value in self.values if self.values else value is not None


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
        "_after", "_bytes", "_delivery", "_ended", "_events", "_is_due", "_is_interrupted", "_waiter", "matches", "name", "prefix",
        "traits", "where",
    )  # fmt: skip

    def __init__(
        self,
        prefix: bytes,
        *,
        after: int,
        matches: Matches | None,
        name: str,
        traits: Sequence[Trait],
        delivery: Delivery,
    ) -> None:
        self.prefix = prefix
        self.name = name
        self.traits = traits
        self.matches = _has_all(traits) if matches is None and traits else matches
        self.where: Trait | None = None
        """The one of its traits under which the index has it."""
        self._after = after
        self._delivery = delivery
        self._events: list[CacheEvent] = []
        self._bytes = 0
        self._is_due = False
        """Whether it is among those to be woken already."""
        self._is_interrupted = False
        self._waiter: asyncio.Future[None] | None = None
        self._ended: StoreError | None = None

    def offer(self, event: CacheEvent) -> None:
        """Take in an event of this subscription's place in the index; once, though it may stand under several values."""
        if event.revision <= self._after or self._ended is not None:
            return
        self._after = event.revision
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

    def interrupt(self) -> None:
        """Let whoever waits now go on with an empty batch. Costs a change nothing, as a timeout around each wait would."""
        if self._waiter is not None:
            self._is_interrupted = True
            self.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[CacheEvent]:
        while not self._events:
            if self._ended is not None:
                raise self._ended
            if self._is_interrupted:
                break
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._is_interrupted = False
        events, self._events = self._events, []
        self._bytes = 0
        return events

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _has_all(traits: Sequence[Trait]) -> Matches:
    return lambda item: all(trait.is_of(item) for trait in traits)
