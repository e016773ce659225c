"""Single objects straight from the watch cache, for those who must know them now: admission, authentication.

Before: `server.security`. After: `storage.watchcache`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.watchcache import WatchCache

NAMESPACES = GroupResource("", "namespaces")


@dataclass(frozen=True, slots=True)
class BuiltinObjects:
    """Built-in resources only: those whose storage prefix follows from their name."""

    cache: WatchCache

    async def find(self, resource: GroupResource, cluster: ClusterName, namespace: str, name: str) -> JSONObject | None:
        """The object as it is now; None if there is none."""
        prefix = resource_prefix(resource)
        item = (await self.cache.prefix(prefix)).get(object_key(prefix, ObjectKey(cluster, namespace, name)))
        return item.decode() if item is not None else None

    async def namespace(self, cluster: ClusterName, name: str) -> JSONObject | None:
        return await self.find(NAMESPACES, cluster, "", name)
