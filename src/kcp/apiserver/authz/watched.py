"""RBAC objects from the watch cache: the `RBACSource` of a running server.

Before: `authz.rbac`. After: `storage.watchcache`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.policy import GROUP
from kcp.apiserver.authz.rbac import RESOURCES
from kcp.registry.backend import Item
from kcp.storage.keyspace import resource_prefix, scope_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache


class WatchedRBAC:
    """The caches of the four RBAC resources. They are always as new as the watch cache: a write counts as soon as it was answered."""

    def __init__(self, caches: Mapping[str, PrefixCache]) -> None:
        self._caches = dict(caches)
        self._roles, self._role_bindings, self._cluster_roles, self._cluster_role_bindings = (self._caches[r] for r in RESOURCES)

    @classmethod
    async def open(cls, cache: WatchCache) -> WatchedRBAC:
        """Fills the four caches."""
        return cls({resource: await cache.prefix(resource_prefix(GroupResource(GROUP, resource))) for resource in RESOURCES})

    def revision(self) -> int:
        """The sum of the four latest changes: each only rises, so it changes if one does."""
        return (
            self._roles.last_change + self._role_bindings.last_change + self._cluster_roles.last_change
            + self._cluster_role_bindings.last_change
        )  # fmt: skip

    def scan(self, resource: str, cluster: ClusterName) -> Sequence[Item]:
        cache = self._caches[resource]
        return cache.scan(scope_prefix(cache.prefix, cluster))
