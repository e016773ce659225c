"""Indexes over the objects of an informer: from a value to the keys of the objects that have it.

Before: `informer`. Most values of most indexes have one key, which then costs no container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from kcp.apimachinery.keys import ObjectKey

Indexer: TypeAlias = Callable[[Mapping[str, Any]], Iterable[str]]
"""The values under which an object is found; pure, and it must not change the object."""


class Index:
    """Keys by value, kept up to date by `replace`."""

    def __init__(self, indexer: Indexer) -> None:
        self._values_of = indexer
        self._keys: dict[str, ObjectKey | dict[ObjectKey, None]] = {}

    def replace(self, key: ObjectKey, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        """Take note that the object at `key` was `old` and is `new`."""
        before = set(self._values_of(old)) if old is not None else set()
        after = set(self._values_of(new)) if new is not None else set()
        for value in before - after:
            self._remove(value, key)
        for value in after - before:
            self._add(value, key)

    def _add(self, value: str, key: ObjectKey) -> None:
        held = self._keys.get(value)
        if held is None:
            self._keys[value] = key
        elif isinstance(held, dict):
            held[key] = None
        elif held != key:
            self._keys[value] = {held: None, key: None}

    def _remove(self, value: str, key: ObjectKey) -> None:
        held = self._keys.get(value)
        if isinstance(held, dict):
            held.pop(key, None)
            if not held:
                del self._keys[value]
        elif held == key:
            del self._keys[value]

    def __contains__(self, value: str) -> bool:
        return value in self._keys

    def keys(self, value: str) -> list[ObjectKey]:
        """In the order of keys, so that decisions made from them do not depend on the order of events."""
        held = self._keys.get(value)
        if held is None:
            return []
        return sorted(held) if isinstance(held, dict) else [held]

    def values(self) -> list[str]:
        return sorted(self._keys)
