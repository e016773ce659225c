"""Who hears of which change of one resource: subscriptions, found by what they ask for, so that a change costs its listeners only.

A subscription stands in one place: under its scope (all clusters, one cluster, one namespace), there under a name, a label, a field, or
none of these. Of several labels and fields it stands under the one that the fewest others share.
Before: `prefixcache`. After: `subscriptions`. Source: k8s.io/apiserver/pkg/storage/cacher/cacher.go (indexedWatchers, IndexerFunc).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeAlias, TypeVar

from kcp.storage.item import Item
from kcp.storage.subscriptions import CacheEvent, Subscription, Trait

K = TypeVar("K")
Slot: TypeAlias = dict[Subscription, None]
"""Subscriptions in the order of their coming."""


class _Field:
    """Subscriptions by the value of one field."""

    __slots__ = ("by_value", "read")

    def __init__(self, read: Callable[[Item], str]) -> None:
        self.read = read
        self.by_value: dict[str, Slot] = {}


class _Place:
    """The subscriptions of one scope."""

    __slots__ = ("by_field", "by_label", "by_name", "everything")

    def __init__(self) -> None:
        self.everything: Slot = {}
        self.by_name: dict[str, Slot] = {}
        self.by_label: dict[tuple[str, str | None], Slot] = {}
        """By name and value of a label, or by its name alone."""
        self.by_field: dict[str, _Field] = {}

    def __iter__(self) -> Iterator[Slot]:
        yield self.everything
        yield from self.by_name.values()
        yield from self.by_label.values()
        for field in self.by_field.values():
            yield from field.by_value.values()

    def add(self, subscription: Subscription) -> None:
        if not subscription.name and subscription.traits:
            subscription.where = min(subscription.traits, key=self._crowd)
        for slot in self._slots(subscription):
            slot[subscription] = None

    def _crowd(self, trait: Trait) -> int:
        """How many stand under it already."""
        if trait.read is None:
            return sum(len(self.by_label.get((trait.name, value), ())) for value in trait.values or (None,))
        field = self.by_field.get(trait.name)
        return sum(len(field.by_value.get(value, ())) for value in trait.values) if field is not None else 0

    def _slots(self, subscription: Subscription) -> list[Slot]:
        """Where it stands."""
        if subscription.name:
            return [self.by_name.setdefault(subscription.name, {})]
        if (trait := subscription.where) is None:
            return [self.everything]
        if trait.read is None:
            return [self.by_label.setdefault((trait.name, value), {}) for value in trait.values or (None,)]
        if (field := self.by_field.get(trait.name)) is None:
            field = self.by_field[trait.name] = _Field(trait.read)
        return [field.by_value.setdefault(value, {}) for value in trait.values]

    def remove(self, subscription: Subscription) -> bool:
        """Whether it was there."""
        was_there = False
        for slot in self._slots(subscription):
            was_there |= slot.pop(subscription, subscription) is None
        if subscription.name:
            _drop_empty(self.by_name, [subscription.name])
        elif (trait := subscription.where) is not None:
            if trait.read is None:
                _drop_empty(self.by_label, [(trait.name, value) for value in trait.values or (None,)])
            else:
                _drop_empty(self.by_field[trait.name].by_value, trait.values)
                if not self.by_field[trait.name].by_value:
                    del self.by_field[trait.name]
        return was_there

    @property
    def is_empty(self) -> bool:
        return not (self.everything or self.by_name or self.by_label or self.by_field)

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
        for field in self.by_field.values():
            for value in _values_touched(event, field.read):
                for subscription in field.by_value.get(value, ()):
                    subscription.offer(event)


def _drop_empty(slots: dict[K, Slot], keys: Iterable[K]) -> None:
    for key in keys:
        if not slots[key]:
            del slots[key]


def _labels_touched(event: CacheEvent) -> Iterator[tuple[str, str | None]]:
    """The labels that the object has or had, and their names."""
    touched: Collection[tuple[str, str]] = event.item.labels.items()
    if event.prev_item is not None and event.prev_item.labels != event.item.labels:
        touched = event.item.labels.items() | event.prev_item.labels.items()
    for label in touched:
        yield label
        yield label[0], None


def _values_touched(event: CacheEvent, read: Callable[[Item], str]) -> Iterable[str]:
    """The values that a field of the object has or had."""
    before = event.prev_item
    if before is None:
        return (read(event.item),)
    if event.type == "DELETED":
        return (read(before),)
    return {read(event.item), read(before)}


class SubscriptionIndex:
    """All subscriptions of one resource prefix."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._places: dict[bytes, _Place] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Subscription]:
        yield from dict.fromkeys(subscription for place in self._places.values() for slot in place for subscription in slot)

    def add(self, subscription: Subscription) -> None:
        self._places.setdefault(subscription.prefix, _Place()).add(subscription)
        self._count += 1

    def remove(self, subscription: Subscription) -> None:
        place = self._places.get(subscription.prefix)
        if place is None:
            return
        self._count -= place.remove(subscription)
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
