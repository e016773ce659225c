"""LogicalClusters as one initializer or terminator may see them, and the one thing it may change: that it is done.

Before: the handlers of verbs. After: the registry, as the system itself.
Source: kcp pkg/virtual/{initializing,terminating}workspaces/builder/forwarding.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from inspect import isawaitable

from kcp.apimachinery import meta
from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import Cause, Invalid, MethodNotAllowed, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.registry.backend import (
    Backend,
    Deleted,
    DeleteOptions,
    Item,
    ListQuery,
    ListResult,
    Mutate,
    Scope,
    UserInfo,
    WatchEvent,
    WatchQuery,
    WriteOptions,
    Written,
)
from kcp.registry.resource import Resource
from kcp.virtual.lifecycle.stage import Stage

_SYSTEM = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))


@dataclass(frozen=True, slots=True)
class LifecycleBackend:
    """Implements Backend over the registry of all workspaces."""

    inner: Backend
    stage: Stage
    identifier: str
    """Of the initializer or terminator, `<cluster>:<type>`."""
    selector: LabelSelector = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "selector", self.stage.selector(self.identifier))

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        item = await self.inner.get(scope, resource_version=resource_version)
        if not self.selector.matches(item.labels) or not self.stage.shows(item.decode()):
            raise NotFound.of(scope.resource.group_resource, scope.name)
        return item

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        found = await self.inner.list(scope, replace(query, labels=self._narrowed(query.labels)))
        return replace(found, items=[item for item in found.items if self.stage.shows(item.decode())])

    async def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        """A cluster that comes to this stage by a change shows first as MODIFIED; watchers take that as new."""
        async for batch in self.inner.watch(scope, replace(query, labels=self._narrowed(query.labels))):
            yield [event for event in batch if event.item is None or event.type == "DELETED" or self.stage.shows(event.item.decode())]

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        raise self._refused("created")

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        async def checked(live: JSONObject | None) -> JSONObject:
            if live is None or not self.selector.matches(meta.labels(live)) or not self.stage.shows(live):
                raise NotFound.of(scope.resource.group_resource, scope.name)
            before = list(meta.nested(live, "status", self.stage.field, default=()))
            wanted = mutate(live)
            changed = await wanted if isawaitable(wanted) else wanted
            self._check(scope, before, list(meta.nested(changed, "status", self.stage.field, default=())))
            return changed

        if scope.subresource != "status":
            raise self._refused("changed but for its status")
        return await self.inner.update(scope, checked, replace(options, user=_SYSTEM, create_if_missing=False))

    def _check(self, scope: Scope, before: Sequence[str], after: Sequence[str]) -> None:
        if self.identifier in before and after == [name for name in before if name != self.identifier]:
            return
        noun, resource = self.stage.noun, scope.resource
        cause = Cause.invalid(f"status.{self.stage.field}", after, f'only removing the "{self.identifier}" {noun} is supported')
        raise Invalid.of(resource.group_resource, resource.kind, scope.name, [cause])

    def elsewhere(self, resource: Resource) -> Show | None:
        return self.inner.elsewhere(resource)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        raise self._refused("deleted")

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        raise self._refused("deleted")

    def _refused(self, done: str) -> MethodNotAllowed:
        return MethodNotAllowed(f"a LogicalCluster cannot be {done} through {self.stage.name}")

    def _narrowed(self, wanted: LabelSelector | None) -> LabelSelector:
        return self.selector if wanted is None else wanted.joined(self.selector)
