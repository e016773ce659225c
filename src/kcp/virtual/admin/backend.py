"""Objects of the whole installation, whatever cluster a URL names: Shards as they are in `root`, policies where nobody else comes.

Of a Shard nothing is changed but whether and how many workspaces are scheduled to it: the rest is what the shard says of itself.
Before: the handlers of verbs. After: the registry.
Source: kcp pkg/virtual/admin/builder/{forwarding,policies}.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable

from kcp.apimachinery import meta
from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.keys import ROOT
from kcp.apimachinery.meta import JSONObject
from kcp.exports.claimpolicies import GLOBAL_ADMIN
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
from kcp.tenancy.kinds import SHARDS, UNSCHEDULABLE

_BOOKKEEPING = ("managedFields", "resourceVersion", "generation")


@dataclass(frozen=True, slots=True)
class AdminBackend:
    """Implements Backend."""

    inner: Backend

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        return await self.inner.get(_at(scope), resource_version=resource_version)

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        return await self.inner.list(_at(scope), query)

    def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        return self.inner.watch(_at(scope), query)

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        return await self.inner.create(_at(scope), obj, options)

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        if scope.resource.gvr != SHARDS:
            return await self.inner.update(_at(scope), mutate, options)

        async def cordoned(live: JSONObject | None) -> JSONObject:
            wanted = mutate(live)
            changed = await wanted if isawaitable(wanted) else wanted
            if live is not None and _settled(live) != _settled(changed):
                why = f"only the [{UNSCHEDULABLE}] annotations and spec.resourceLimits may be changed through the Admin workspace"
                gr = scope.resource.group_resource
                raise Forbidden(
                    f'{gr} "{scope.name}" is forbidden: {why}; Shard objects are owned by the shards themselves', resource=gr,
                    name=scope.name,
                )  # fmt: skip
            return changed

        return await self.inner.update(_at(scope), cordoned, options)

    def elsewhere(self, resource: Resource) -> Show | None:
        return self.inner.elsewhere(resource)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        return await self.inner.delete(_at(scope), options)

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        return await self.inner.delete_collection(_at(scope), query, options)


def _at(scope: Scope) -> Scope:
    return replace(scope, cluster=ROOT if scope.resource.gvr == SHARDS else GLOBAL_ADMIN)


def _settled(shard: JSONObject) -> JSONObject:
    """What is not to be changed."""
    metadata = {key: value for key, value in shard["metadata"].items() if key not in (*_BOOKKEEPING, "annotations")}
    annotations = {key: value for key, value in meta.annotations(shard).items() if key != UNSCHEDULABLE}
    spec = {key: value for key, value in shard["spec"].items() if key != "resourceLimits"}
    return {**shard, "metadata": {**metadata, "annotations": annotations}, "spec": spec}
