"""APIResourceSchemas of all clusters, narrowed to those that one workspace's bindings lead to.

What is bound later is in the next list; a watch shows changes of what is bound when they happen.
Before: the handlers of verbs. After: the registry.
Source: kcp pkg/virtual/apiresourceschema/builder/storage.go (whose watch shows nothing).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import MethodNotAllowed, NotFound
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import (
    Backend,
    Deleted,
    DeleteOptions,
    Item,
    ListQuery,
    ListResult,
    Mutate,
    Scope,
    WatchEvent,
    WatchQuery,
    WriteOptions,
    Written,
)
from kcp.registry.resource import Resource

BoundSchemas: TypeAlias = Callable[[ClusterName], frozenset[tuple[ClusterName, str]]]
"""Of a consumer: the clusters and names of the schemas of what it binds."""


@dataclass(frozen=True, slots=True)
class SchemaBackend:
    """Implements Backend; nothing can be written."""

    inner: Backend
    consumer: ClusterName
    bound: BoundSchemas

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        for cluster, name in sorted(self.bound(self.consumer)):
            if name == scope.name:
                return await self.inner.get(replace(scope, cluster=cluster), resource_version=resource_version)
        raise NotFound.of(scope.resource.group_resource, scope.name)

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        found = await self.inner.list(replace(scope, cluster=WILDCARD), replace(query, limit=0))
        bound = self.bound(self.consumer)
        return replace(found, items=[item for item in found.items if (item.key.cluster, item.key.name) in bound])

    async def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        async for batch in self.inner.watch(replace(scope, cluster=WILDCARD), query):
            bound = self.bound(self.consumer)
            yield [e for e in batch if e.item is None or (e.item.key.cluster, e.item.key.name) in bound]

    def elsewhere(self, resource: Resource) -> Show | None:
        return self.inner.elsewhere(resource)

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        raise _refused(scope)

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        raise _refused(scope)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        raise _refused(scope)

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        raise _refused(scope)


def _refused(scope: Scope) -> MethodNotAllowed:
    return MethodNotAllowed(f"{scope.resource.group_resource} cannot be changed through this virtual workspace")
