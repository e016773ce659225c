"""`Registry`: Kubernetes' REST semantics for any resource over a Store and its watch cache.

The parts: `reads` (get, list), `watches`, `projection` (of what is stored elsewhere), `writes` (create, update, subresources),
`deletion`; what one kind does differently is its `strategy`. Before: `apiserver.handlers`, virtual workspaces. After: `storage`.
"""

from __future__ import annotations

import random as random_source
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from kcp.aio.clock import Clock
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import (
    Admission,
    Attributes,
    Deleted,
    DeleteOptions,
    ListQuery,
    ListResult,
    Mutate,
    Scope,
    WatchQuery,
    WriteOptions,
    Written,
)
from kcp.registry.deletion import Deletions
from kcp.registry.projection import Projections
from kcp.registry.reads import Reads
from kcp.registry.versions import Converter, Presentation
from kcp.registry.watches import Watches
from kcp.registry.writes import IsStale, Writes, Writing
from kcp.storage.interface import Store
from kcp.storage.item import Item, WatchEvent

if TYPE_CHECKING:
    from kcp.apimachinery.apply.versions import Show
    from kcp.registry.resource import Resource
    from kcp.storage.watchcache import WatchCache


class AdmitEverything:
    """The empty admission chain."""

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        return attributes.new

    async def validate(self, attributes: Attributes) -> None:
        """Nothing is refused."""


class Registry:
    """The ordinary `Backend`. Stateless beside its watches: any number of requests and workspaces share one."""

    def __init__(
        self,
        store: Store,
        cache: WatchCache,
        *,
        clock: Clock,
        admission: Admission,
        annotate_cluster: bool,
        random: random_source.Random | None = None,
        converter: Converter | None = None,
        is_stale: IsStale | None = None,
    ) -> None:
        """Args:
        annotate_cluster: put the logical cluster's name on every object, as kcp does; a single-cluster server does not.
        random: for uids and generated names; seeded by a simulation that must repeat itself.
        converter: asks conversion webhooks.
        is_stale: whether what is stored under a key would be encrypted otherwise now.
        """
        self._presentation = presentation = Presentation(converter)
        writing = Writing(store, cache, clock, admission, random or random_source.Random(), annotate_cluster, presentation, is_stale)
        self._reads = Reads(store, cache, presentation)
        self._watches = Watches(cache, clock, presentation)
        self._projections = Projections(self._reads, self._watches)
        self._writes = Writes(writing)
        self._deletions = Deletions(writing)

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        """The object, at least as new as every write acknowledged before the call; "0": whatever the cache has.

        Raises: NotFound; Timeout for a resourceVersion of the future.
        """
        if scope.resource.projection is not None:
            return await self._projections.get(scope, resource_version)
        return await self._reads.get(scope, resource_version)

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        """One page, all of one revision, ordered by cluster, namespace and name.

        Raises: Expired for a continue token or exact revision below the compaction mark; BadRequest for malformed ones.
        """
        if scope.resource.projection is not None:
            return await self._projections.list(scope, query)
        return await self._reads.list(scope, query)

    def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        """Batches of events until the timeout. Close the iterator to stop.

        Raises: BadRequest at once; from iteration Expired where the revision is too old or the watcher too slow.
        """
        if scope.resource.projection is not None:
            return self._projections.watch(scope, query)
        return self._watches.watch(scope, query)

    def end_watches(self, cluster: ClusterName, resources: Iterable[GVR]) -> None:
        """Let the watches end of resources that a cluster does not serve any more as it did."""
        self._watches.lifetimes.end(cluster, resources)

    def end_all_watches(self, cluster: ClusterName) -> None:
        """Let every watch of one cluster end."""
        self._watches.lifetimes.end_all(cluster)

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        """Store a new object; `obj` is given away.

        Raises: AlreadyExists, Invalid, BadRequest, RequestEntityTooLarge, InsufficientStorage, what admission says.
        """
        return await self._writes.create(scope, obj, options)

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        """Change an object by `mutate(current)`, again when it moved; nothing is written where nothing changes.

        Raises: NotFound, Conflict, Invalid, BadRequest, RequestEntityTooLarge, what admission and `mutate` say.
        """
        return await self._writes.update(scope, mutate, options)

    def elsewhere(self, resource: Resource) -> Show | None:
        return self._presentation.elsewhere(resource)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        """Remove an object, or mark it where something still waits. Raises: NotFound, Conflict (preconditions), what admission says."""
        return await self._deletions.delete(scope, options)

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        """Delete what a list selects; returns that list. Raises the first refusal, after all were tried."""
        found = await self._reads.list(scope, query)
        await self._deletions.delete_all(scope, list(found.items), options)
        return found

    def statistics(self) -> dict[str, int]:
        return self._watches.statistics()
