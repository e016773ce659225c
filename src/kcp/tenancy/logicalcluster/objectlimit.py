"""A limit on the number of all objects of a logical cluster together: beyond it nothing is created, but everything may be deleted.

The limit is the annotation `core.kcp.io/max-total-objects` of the LogicalCluster, else the server's default. Objects are counted when
somebody creates one where a limit holds, from the key lists of the watch cache: that costs a look-up per served resource, not per object.
Part of the server's admission chain. After: the catalog and the watch cache.
Source: kcp pkg/admission/objectcountlimit, docs/content/concepts/quota/object-count-limit.md (there counted by a periodic scan).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ROOT, ClusterName
from kcp.registry.backend import Attributes
from kcp.registry.resource import Catalog
from kcp.storage.keyspace import scope_prefix
from kcp.storage.watchcache import WatchCache
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, READY
from kcp.tenancy.logicalcluster.index import ClusterRecord

EVENTS = frozenset((GroupResource("", "events"), GroupResource("events.k8s.io", "events")))
"""Neither counted nor refused, so that a full workspace can still be understood."""
_OWNERS = GroupResource("rbac.authorization.k8s.io", "clusterrolebindings")


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """How many objects a logical cluster holds now."""

    catalog: Catalog
    cache: WatchCache

    async def count(self, cluster: ClusterName) -> int:
        """All of every served resource but events."""
        prefixes = {r.storage_prefix for r in self.catalog.resources(cluster) if "list" in r.verbs and r.group_resource not in EVENTS}
        total = 0
        for prefix in prefixes:
            total += (await self.cache.prefix(prefix)).count(scope_prefix(prefix, cluster))
        return total


@dataclass(frozen=True, slots=True)
class ObjectLimit:
    """Refuses creations in clusters that are full. Updates, deletions and what a workspace begins with always pass."""

    record: Callable[[ClusterName], ClusterRecord | None]
    count: Callable[[ClusterName], Awaitable[int]]
    default: int = 0
    """Of clusters without the annotation, `root` and `system:…` apart; 0 for none."""

    async def check(self, attributes: Attributes) -> None:
        """Raises: Forbidden."""
        cluster = attributes.scope.cluster
        record = self.record(cluster)
        if record is None or record.phase != READY:
            return
        limit = self._limit(record)
        if limit <= 0 or _is_exempt(attributes):
            return
        held = await self.count(cluster)
        if held >= limit:
            resource, name = attributes.scope.resource.group_resource, attributes.scope.name
            text = f'logical cluster "{cluster}" has reached its total object count limit ({held}/{limit} objects)'
            message = f'{resource} "{name}" is forbidden: {text}; delete objects to free up capacity'
            raise Forbidden(message, resource=resource, name=name)

    def _limit(self, record: ClusterRecord) -> int:
        if record.max_objects is not None:
            return record.max_objects
        return 0 if record.name == ROOT or record.name.startswith("system:") else self.default


def _is_exempt(attributes: Attributes) -> bool:
    resource = attributes.scope.resource.group_resource
    if resource == _OWNERS:
        return attributes.scope.name == "workspace-admin"
    return resource in EVENTS or resource == LOGICAL_CLUSTERS.group_resource
