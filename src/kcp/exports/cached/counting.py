"""How many objects a ClusterCachedResource selects, and when to count them again.

Before: `controller`. After: `storage.watchcache`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kcp.apimachinery.keys import ClusterName
from kcp.registry.resource import Source
from kcp.storage.keyspace import scope_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.subscriptions import CacheEvent
from kcp.storage.watchcache import WatchCache


@dataclass(slots=True)
class Counting:
    """Counts in the watch cache: no list, no informer. It hears of all clusters' objects of a resource that anybody caches."""

    cache: WatchCache
    told: Callable[[ClusterName], None] = lambda cluster: None
    """Called within each change after which a cluster's counts may be others."""
    _followed: set[bytes] = field(default_factory=set)

    async def count(self, source: Source) -> int:
        """Every write counted that was answered before."""
        items = await self._items(source.resource.storage_prefix)
        await self.cache.fresh()
        found = items.scan(scope_prefix(items.prefix, source.cluster))
        if source.labels.is_everything and not source.names:
            return len(found)
        return sum(source.labels.matches(i.labels) and (not source.names or i.key.name in source.names) for i in found)

    async def _items(self, prefix: bytes) -> PrefixCache:
        items = await self.cache.prefix(prefix)
        if prefix not in self._followed:
            self._followed.add(prefix)
            items.listen(self._heard)
        return items

    def _heard(self, event: CacheEvent) -> None:
        if event.prev_item is None or event.type == "DELETED" or event.prev_item.labels != event.item.labels:
            self.told(event.item.key.cluster)
