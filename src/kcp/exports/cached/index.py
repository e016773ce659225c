"""Where virtual resources lead: from an export's storage over its endpoint slice to the ClusterCachedResource and the objects it selects.

Fed by the watch cache with each change; asked anew with each request for a virtual resource.
Before: `server.foundation`, the virtual workspace `replication`. After: `registry.projection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from kcp.apimachinery import meta
from kcp.apimachinery.errors import ServiceUnavailable
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.exports.cached.names import CACHE_GROUP, CachedKinds, Reference, cached_gvr
from kcp.exports.names import VirtualStorage
from kcp.registry.resource import Resource, Source

_READS = ("get", "list", "watch")
NOWHERE = VirtualStorage("", "APIExport", "", "")
"""Of what an export that is gone has published."""


@dataclass(frozen=True, slots=True)
class CachedRecord:
    """What is known of a cached resource."""

    key: ObjectKey
    gvr: GVR
    labels: LabelSelector
    names: frozenset[str]
    identity: str

    @classmethod
    def of(cls, key: ObjectKey, cached: JSONObject) -> CachedRecord:
        spec = cached["spec"]
        identity = meta.nested(cached, "status", "identityHash", default="")
        return cls(key, cached_gvr(cached), selector_of(cached), frozenset(spec.get("names") or ()), identity)


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """What is known of an endpoint slice."""

    cached: Reference
    export: Reference


def selector_of(cached: JSONObject) -> LabelSelector:
    held = cached["spec"].get("labelSelector")
    return LabelSelector.EVERYTHING if held is None else LabelSelector.from_object(held)


class CachedIndex:
    """Cached resources and endpoint slices of all workspaces, of one pair of kinds."""

    def __init__(self, kinds: CachedKinds, resolve: Callable[[str], ClusterName | None]) -> None:
        """Args: resolve: workspace path → cluster."""
        self.kinds = kinds
        self.resolve = resolve
        self._cached: dict[ObjectKey, CachedRecord] = {}
        self._slices: dict[ObjectKey, SliceRecord] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, told: Callable[[], None]) -> None:
        """Call `told` within each change after which virtual resources may show other objects."""
        self._listeners.append(told)

    def resource_changed(self, key: ObjectKey, cached: JSONObject | None) -> None:
        before = self._cached.pop(key, None)
        after = CachedRecord.of(key, cached) if cached is not None else None
        if after is not None:
            self._cached[key] = after
        self._tell(differ=before != after)

    def slice_changed(self, key: ObjectKey, endpoint_slice: JSONObject | None) -> None:
        before = self._slices.pop(key, None)
        after = None
        if endpoint_slice is not None:
            after = SliceRecord(Reference.of(endpoint_slice, self.kinds.field), Reference.of(endpoint_slice, "export"))
            self._slices[key] = after
        self._tell(differ=before != after)

    def _tell(self, *, differ: bool) -> None:
        for told in self._listeners if differ else ():
            told()

    def resource(self, key: ObjectKey) -> CachedRecord | None:
        return self._cached.get(key)

    def slice(self, key: ObjectKey) -> SliceRecord | None:
        return self._slices.get(key)

    def at(self, cluster: ClusterName, reference: Reference) -> ObjectKey | None:
        """The key that a reference of an object of `cluster` leads to; None where there is no such workspace."""
        home = self.resolve(reference.path) if reference.path else cluster
        return ObjectKey(home, "", reference.name) if home else None

    def same_resource(self, cluster: ClusterName, gvr: GVR) -> list[str]:
        """Names of a workspace's cached resources of one resource."""
        return [key.name for key, record in self._cached.items() if key.cluster == cluster and record.gvr == gvr]

    def find(self, cluster: ClusterName, virtual: VirtualStorage) -> CachedRecord:
        """What the storage of an export in `cluster` leads to. Raises ServiceUnavailable, which tells consumers nothing of it."""
        held = None
        if (virtual.group, virtual.kind) == (CACHE_GROUP, self.kinds.slice_kind):
            held = self._slices.get(ObjectKey(cluster, "", virtual.name))
        key = self.at(cluster, held.cached) if held is not None else None
        found = self._cached.get(key) if key is not None else None
        if virtual is NOWHERE:
            raise ServiceUnavailable("the APIExport that published these objects is gone, or publishes them no longer")
        if found is None:
            raise ServiceUnavailable(f"the provider's {virtual.kind} {virtual.name!r} is not there, or leads to no cached resource")
        if not found.identity or found.identity != virtual.identity:
            raise ServiceUnavailable(f"the provider's {virtual.kind} {virtual.name!r} leads to a cached resource of another identity")
        return found


class VirtualResources:
    """Resources as consumers have them that read a provider's objects: made once for each schema."""

    def __init__(
        self,
        indexes: Sequence[CachedIndex],
        resolve: Callable[[ClusterName, GVR], Resource | None],
        consumers: Callable[[ClusterName, VirtualStorage], Sequence[ClusterName]],
    ) -> None:
        """Args:
        indexes: the last is asked for kinds that none knows.
        resolve: the catalog's.
        consumers: workspaces that bind an export of a cluster with such a storage, in order.
        """
        self._indexes = indexes
        self._consumers = consumers
        self._resolve = resolve
        self._made: dict[tuple[ClusterName, VirtualStorage], tuple[Sequence[Resource], tuple[Resource, ...]]] = {}

    def of(self, stored: Sequence[Resource], cluster: ClusterName, virtual: VirtualStorage) -> Sequence[Resource]:
        """Args: stored: every version of the resource as it would be if consumers had objects of their own."""
        held = self._made.get((cluster, virtual))
        if held is None or held[0] is not stored:
            made = tuple(
                replace(
                    resource, verbs=_READS, has_status=False, scale=None, projection=partial(self._source, cluster, virtual, resource.gvr)
                )
                for resource in stored
            )
            held = self._made[cluster, virtual] = stored, made
        return held[1]

    def _source(self, cluster: ClusterName, virtual: VirtualStorage, gvr: GVR) -> Source:
        """Objects in the version that is asked for, as their own workspace has them. Raises ServiceUnavailable."""
        index = next((index for index in self._indexes if index.kinds.slice_kind == virtual.kind), self._indexes[-1])
        cached = index.find(cluster, virtual)
        found = self._resolve(cached.key.cluster, gvr) if gvr.group_resource == cached.gvr.group_resource else None
        if found is None or found.projection is not None or found.namespaced:
            raise ServiceUnavailable(f"the provider of {gvr.group_resource} does not serve {gvr.api_version} of it itself")
        shown_by = None if index.kinds.names_export else partial(self._consumers, cluster, virtual)
        return Source(found, cached.key.cluster, cached.labels, cached.names, shown_by)
