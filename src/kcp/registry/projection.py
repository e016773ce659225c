"""Reading what is shown as one cluster's and stored as another's: the virtual resources of APIExports.

A projected resource names its source anew with each request; nothing is copied. Before: `generic`. After: `reads`, `watches`.
Source: kcp pkg/virtual/replication/builder/wrap.go; for all consumers at once 0.31, unwrap.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Expired, NotFound
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, WILDCARD, ClusterName, ObjectKey
from kcp.registry.backend import Item, ListQuery, ListResult, Scope, WatchEvent, WatchQuery
from kcp.registry.reads import Reads
from kcp.registry.resource import Source
from kcp.registry.watches import Watches

Query = TypeVar("Query", ListQuery, WatchQuery)


class Projections:
    """The part of `Registry` for resources with a `projection`."""

    def __init__(self, reads: Reads, watches: Watches) -> None:
        self._reads = reads
        self._watches = watches

    async def get(self, scope: Scope, resource_version: str) -> Item:
        source = _source(scope)
        item = await self._reads.get(_at(scope, source), resource_version)
        if not source.labels.matches(item.labels) or not _is_called(source, item):
            raise NotFound.of(scope.resource.group_resource, scope.name)
        return _shown(item, scope.cluster)

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        source = _source(scope)
        whole = replace(query, limit=0) if source.names else query
        found = await self._reads.list(_at(scope, source), _narrowed(whole, source))
        clusters = _clusters(scope, source)
        return replace(found, items=[_shown(item, cluster) for item in found.items if _is_called(source, item) for cluster in clusters])

    def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        source = _source(scope)
        return self._projected(scope, source, self._watches.watch(_at(scope, source), _narrowed(query, source), shown_as=scope))

    @staticmethod
    async def _projected(scope: Scope, source: Source, batches: AsyncIterator[Sequence[WatchEvent]]) -> AsyncIterator[Sequence[WatchEvent]]:
        clusters = _clusters(scope, source)
        async with aclosing(batches) as open_batches:  # type: ignore[type-var]  # a generator
            async for batch in open_batches:
                if _clusters(scope, source) != clusters:
                    raise Expired(f"{scope.resource.gvr.group_resource}: other workspaces bind it than before: list again")
                events = [shown for event in batch for shown in _events(event, source, clusters)]
                if events:
                    yield events


def _source(scope: Scope) -> Source:
    """Raises BadRequest for all clusters at once, and what the projection says."""
    assert scope.resource.projection is not None
    source = scope.resource.projection()
    if scope.cluster == WILDCARD and source.shown_by is None:
        raise BadRequest("Wildcard request not supported")
    return source


def _clusters(scope: Scope, source: Source) -> Sequence[ClusterName]:
    """Whose objects they are to be."""
    return (scope.cluster,) if scope.cluster != WILDCARD or source.shown_by is None else source.shown_by()


def _at(scope: Scope, source: Source) -> Scope:
    return replace(scope, resource=source.resource, cluster=source.cluster)


def _narrowed(query: Query, source: Source) -> Query:
    return replace(query, labels=source.labels if query.labels is None else query.labels.joined(source.labels))


def _is_called(source: Source, item: Item) -> bool:
    return not source.names or item.key.name in source.names


def _events(event: WatchEvent, source: Source, clusters: Sequence[ClusterName]) -> Iterator[WatchEvent]:
    if event.item is None:
        yield event
    elif _is_called(source, event.item):
        yield from (WatchEvent(event.type, _shown(event.item, cluster), event.revision) for cluster in clusters)


def _shown(item: Item, cluster: ClusterName) -> Item:
    """As if it were the cluster's own."""
    obj = item.decode()
    meta.set_annotation(obj, CLUSTER_ANNOTATION, cluster)
    return Item(ObjectKey(cluster, item.key.namespace, item.key.name), item.revision, orjson.dumps(obj), item.labels)
