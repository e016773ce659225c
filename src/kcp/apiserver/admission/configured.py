"""Policies, bindings and webhook configurations by logical cluster, kept in step with the watch cache.

A cluster that has none costs a dictionary look-up per write; what a cluster has is parsed when a write first needs it.
Before: `policies`, `webhooks`. After: `storage.watchcache`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.storage.item import Item
from kcp.storage.keyspace import resource_prefix
from kcp.storage.watchcache import CacheEvent, WatchCache

_T = TypeVar("_T")


class Configured(Generic[_T]):
    """The objects of one resource, as parsed views."""

    def __init__(self, parse: Callable[[JSONObject], _T]) -> None:
        self._parse = parse
        self._items: dict[ClusterName, dict[str, Item]] = {}
        self._parsed: dict[ClusterName, tuple[_T, ...]] = {}

    @classmethod
    async def open(cls, cache: WatchCache, resource: GroupResource, parse: Callable[[JSONObject], _T]) -> Configured[_T]:
        held = cls(parse)
        (await cache.prefix(resource_prefix(resource))).listen(held.changed)
        return held

    def changed(self, event: CacheEvent) -> None:
        """Take note of one object as it is now stored."""
        key = event.item.key
        held = self._items.setdefault(key.cluster, {})
        if event.type == "DELETED":
            held.pop(key.name, None)
        else:
            held[key.name] = event.item
        if not held:
            del self._items[key.cluster]
        self._parsed.pop(key.cluster, None)

    def of(self, cluster: ClusterName) -> Sequence[_T]:
        """Those of one cluster by name; the same tuple as long as none of them changes."""
        items = self._items.get(cluster)
        if items is None:
            return ()
        parsed = self._parsed.get(cluster)
        if parsed is None:
            parsed = self._parsed[cluster] = tuple(self._parse(items[name].decode()) for name in sorted(items))
        return parsed

    def has_any(self, cluster: ClusterName) -> bool:
        return cluster in self._items

    def statistics(self) -> dict[str, int]:
        return {"clusters": len(self._items), "objects": sum(map(len, self._items.values()))}
