"""What a view answers: get, list and watch of aggregated objects, with the times at which clusters were last heard of.

Before: `workspace`. After: `views`, `resourceview`, and the registry's own watches.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

from kcp.aio.clock import Clock
from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import BadRequest, Expired, MethodNotAllowed, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import (
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
from kcp.registry.reads import parse_revision
from kcp.registry.resource import Resource
from kcp.registry.selection import select
from kcp.registry.translate import as_status, too_large_revision
from kcp.registry.versions import Presentation
from kcp.registry.watches import Watches
from kcp.storage.interface import StoreError
from kcp.storage.keyspace import object_key
from kcp.tmc.metrics import families
from kcp.tmc.overview.columns import plain_columns
from kcp.tmc.overview.resourceview import ResourceView
from kcp.tmc.overview.views import OneView, Views

_SEEN = re.compile(rb"@seen:([0-9A-Za-z]+)@")


@dataclass(frozen=True, slots=True)
class ViewBackend:
    """Implements Backend for one AggregatedView, to be read only."""

    views: Views
    held: OneView
    clock: Clock
    max_staleness_s: float | None = None
    """What the reader demands."""
    _watches: dict[int, tuple[ResourceView, Watches]] = field(default_factory=dict)

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        with self._measured("get"):
            return await self._get(scope, resource_version)

    async def _get(self, scope: Scope, resource_version: str) -> Item:
        view = await self._fresh(scope, resource_version)
        item = view.cache.get(object_key(view.cache.prefix, scope.key))
        if item is None:
            raise NotFound.of(scope.resource.group_resource, scope.name)
        return self._shown(view, [item])[0]

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        """Always whole, whatever its limit: pages would be of different moments. Source: the API concepts allow a server to do so."""
        with self._measured("list"):
            return await self._list(scope, query)

    async def _list(self, scope: Scope, query: ListQuery) -> ListResult:
        if query.continue_token:
            raise Expired("a view answers whole lists: there is nothing to continue")
        selection = select(scope, query.labels, query.fields)
        view = await self._fresh(scope, query.resource_version)
        if query.resource_version_match == "Exact" and parse_revision(query.resource_version) != view.revision():
            raise Expired(f"a view has its latest state only, which is {view.revision()}")
        if selection.key is not None:
            item = view.cache.get(selection.key)
            found: Sequence[Item] = [item] if item is not None else []
        else:
            found = view.cache.scan(selection.prefix)
        if selection.matches is not None:
            found = [item for item in found if selection.matches(item)]
        return ListResult(self._shown(view, found), view.revision())

    async def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        if self.max_staleness_s is not None:
            raise BadRequest("maxStaleness is for get and list; what a watch shows follows spec.maxStaleness of the AggregatedView")
        view = await self._open(scope)
        async with aclosing(self._watching(view).watch(scope, query)) as batches:  # type: ignore[type-var]  # a generator
            async for batch in batches:
                yield [self._event(event) for event in batch]

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        meter, workspace, started_s = self.views.sources.meter, str(self.held.spec.cluster), self.clock.monotonic()
        try:
            yield
        except StatusError as error:
            meter.count(families.VIRTUAL_WORKSPACE_ERRORS, workspace, error.reason, "CrossClusterResourceAggregator")
            raise
        finally:
            meter.observe(families.VIRTUAL_WORKSPACE_DURATION, self.clock.monotonic() - started_s, operation, workspace)

    def _watching(self, view: ResourceView) -> Watches:
        held = self._watches.get(id(view))
        if held is None or held[0] is not view:
            self._watches.clear() if len(self._watches) > len(self.held.opened) else None
            held = self._watches[id(view)] = view, Watches(view, self.clock, Presentation(None))
        return held[1]

    async def _fresh(self, scope: Scope, resource_version: str) -> ResourceView:
        view = await self._open(scope)
        if resource_version == "0":
            await view.settle()
            return view
        asked = parse_revision(resource_version)
        try:
            current = await view.fresh()
        except StoreError as error:
            raise as_status(error, scope.resource.group_resource, scope.name) from error
        if asked > current:
            raise too_large_revision(asked, current)
        return view

    async def _open(self, scope: Scope) -> ResourceView:
        try:
            return await self.views.open(self.held, scope.resource)
        except StoreError as error:
            raise as_status(error, scope.resource.group_resource) from error

    # --- what the reader gets ---

    def _shown(self, view: ResourceView, items: Sequence[Item]) -> Sequence[Item]:
        if self.max_staleness_s is not None:
            distrusted = self.views.older_than(self.held, self.max_staleness_s)
            concerned: set[ObjectKey] = set().union(*(view.by_target.get(key, ()) for key in distrusted))
            items = [(view.shown(i.key, distrusted) or i) if i.key in concerned else i for i in items]
        times = _Times(self.views, self.held)
        return [Item(i.key, i.revision, _SEEN.sub(times.of, i.raw), i.labels) for i in items]

    def _event(self, event: WatchEvent) -> WatchEvent:
        if event.item is None:
            return event
        return WatchEvent(event.type, replace(event.item, raw=_SEEN.sub(_Times(self.views, self.held).of, event.item.raw)), event.revision)

    # --- what a view does not do ---

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        raise _refused(scope)

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        raise _refused(scope)

    def elsewhere(self, resource: Resource) -> Show | None:
        return None

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        raise _refused(scope)

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        raise _refused(scope)


class _Times(dict[bytes, bytes]):
    """K → when the cluster was last heard of, looked up once for each answer. What only looks like a question for that stays as it is."""

    def __init__(self, views: Views, held: OneView) -> None:
        super().__init__()
        self._views, self._held = views, held

    def __missing__(self, key: bytes) -> bytes:
        k = key.decode()
        found = self[key] = self._views.seen(k).encode() if k in self._held.targets else b"@seen:" + key + b"@"
        return found

    def of(self, match: re.Match[bytes]) -> bytes:
        return self[match[1]]


def _refused(scope: Scope) -> MethodNotAllowed:
    return MethodNotAllowed("a view can only be read: change the object in its workspace", resource=scope.resource.group_resource)


@dataclass(frozen=True, slots=True)
class ViewCatalog:
    """Implements `registry.resource.Catalog`: what a view shows, for discovery and for everything else."""

    views: Views
    held: OneView
    is_of_one_cluster: bool = False
    """Whose tables are those of any cluster."""
    _plain: dict[GVR, Resource] = field(default_factory=dict)

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        found = self.views.served(self.held).get(gvr)
        return self._plainly(found) if found is not None and self.is_of_one_cluster else found

    def _plainly(self, resource: Resource) -> Resource:
        held = self._plain.get(resource.gvr)
        if held is None or held.schema_id != resource.schema_id:
            held = self._plain[resource.gvr] = replace(resource, columns=plain_columns(resource.columns))
        return held

    def resources(self, cluster: ClusterName) -> Sequence[Resource]:
        return [found for gvr in sorted(self.views.served(self.held)) if (found := self.resolve(cluster, gvr)) is not None]

    def version(self, cluster: ClusterName) -> str:
        self.views.served(self.held)
        return f"{self.held.spec.uid}/{self.held.spec.generation}/{self.held.generation}"
