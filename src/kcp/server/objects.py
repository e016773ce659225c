"""Single objects straight from the watch cache, for those who must know them now: admission, authentication.

Before: `server.security`. After: `storage.watchcache`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import CacheEvent, WatchCache

NAMESPACES = GroupResource("", "namespaces")
_NAMESPACE_PREFIX = resource_prefix(NAMESPACES)
_MOST_NAMESPACES = 1_024


@dataclass(frozen=True, slots=True)
class BuiltinObjects:
    """Built-in resources only: those whose storage prefix follows from their name."""

    cache: WatchCache
    _namespaces: dict[ObjectKey, tuple[int, JSONObject]] = field(default_factory=dict, init=False)
    """Decoded at a revision: every write into a namespace looks at it, and it hardly ever changes. Forgotten with it: a thousand that
    are left of deleted workspaces keep many times their own memory from being given back."""
    _followed: list[PrefixCache] = field(default_factory=list, init=False)

    async def find(self, resource: GroupResource, cluster: ClusterName, namespace: str, name: str) -> JSONObject | None:
        """The object as it is now; None if there is none."""
        prefix = resource_prefix(resource)
        item = (await self.cache.prefix(prefix)).get(object_key(prefix, ObjectKey(cluster, namespace, name)))
        return item.decode() if item is not None else None

    async def namespace(self, cluster: ClusterName, name: str) -> JSONObject | None:
        """A namespace as it is now, shared with others who ask: not to be changed."""
        key = ObjectKey(cluster, "", name)
        namespaces = await self.cache.prefix(_NAMESPACE_PREFIX)
        if namespaces not in self._followed:
            self._followed.append(namespaces)
            namespaces.listen(self._forget)
        item = namespaces.get(object_key(_NAMESPACE_PREFIX, key))
        if item is None:
            return None
        held = self._namespaces.get(key)
        if held is None or held[0] != item.revision:
            if len(self._namespaces) >= _MOST_NAMESPACES:
                self._namespaces.clear()
            held = self._namespaces[key] = item.revision, item.decode()
        return held[1]

    def _forget(self, event: CacheEvent) -> None:
        if event.type == "DELETED":
            self._namespaces.pop(event.item.key, None)
