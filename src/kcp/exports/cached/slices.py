"""Endpoint slices of cached resources: whether what they tie together is there, and where consumers of it are served.

observe (slice, cached resource, export, partition, shard, consumers) → `decide` (pure) → commit.
Before: `server.controllers`. After: the URLs served by `virtual.replication`.
Source: kcp pkg/reconciler/cache/clustercachedresourceendpointslice{,urls}; of 0.31: cachedresourceendpointslice{,urls}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.cached.index import CachedIndex
from kcp.exports.cached.names import CACHE_GROUP, RESOURCE_VALID, SKIP_SLICE_ANNOTATION, CachedKinds, Reference, replication_url
from kcp.exports.endpointslices import (
    BY_BOUND_EXPORT,
    PARTITION_VALID,
    PARTITIONS,
    SHARDS,
    DefaultSliceReconciler,
    bound_export,
    changed_exports,
)
from kcp.exports.names import API_EXPORT_VALID, BINDINGS, EXPORTS, export_label, exported_resources

_BY_EXPORT, _BY_CACHED, _BY_PUBLISHED = "export", "cached resource", "published objects"
_NEXT_LOOK_S = 5.0
"""At a reference to what does not exist: its workspace may come without an event that leads here."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decides a slice's status."""

    kinds: CachedKinds
    cached: ObjectKey | None
    """None: it does not exist."""
    export: JSONObject | None
    partition: JSONObject | None
    shard_labels: Mapping[str, str]
    has_consumers: bool
    server_url: str


def decide(endpoint_slice: JSONObject, cluster: ClusterName, observed: Observed, now: str) -> JSONObject:
    """The slice as it should be. Pure."""
    wanted: JSONObject = meta.copy_json(endpoint_slice)
    status = meta.ensure(wanted, "status")
    kinds, cached = observed.kinds, Reference.of(endpoint_slice, observed.kinds.field)
    text = "" if observed.cached is not None else f"Error getting {kinds.kind} {cached.where(cluster)}"
    _judge(wanted, RESOURCE_VALID, f"{kinds.kind}NotFound", text, now)
    if kinds.names_export:
        _judge(wanted, API_EXPORT_VALID, "APIExportInvalidReference", _export_fault(endpoint_slice, cluster, observed), now)
    selector: LabelSelector | None = LabelSelector.EVERYTHING
    if partition := endpoint_slice["spec"].get("partition"):
        held = observed.partition
        selector = None if held is None else LabelSelector.from_object(meta.nested(held, "spec", "selector", default={}))
        text = f'Partition "{partition}" not found in this workspace: create it, or correct spec.partition' if held is None else ""
    else:
        text = ""
    _judge(wanted, PARTITION_VALID, "PartitionInvalidReference", text, now)
    if selector is not None:
        status["shardSelector"] = str(selector)
    judged = (RESOURCE_VALID, PARTITION_VALID, *((API_EXPORT_VALID,) if kinds.names_export else ()))
    served = ObjectKey(cluster, "", meta.name(endpoint_slice)) if kinds.names_export else observed.cached
    is_right = served is not None and all(conditions.is_true(wanted, kind) for kind in judged)
    if served and is_right and selector is not None and observed.has_consumers and selector.matches(observed.shard_labels):
        status["endpoints"] = [{"url": replication_url(observed.server_url, served.cluster, served.name)}]
    else:
        status.pop("endpoints", None)
    return wanted


def _export_fault(endpoint_slice: JSONObject, cluster: ClusterName, observed: Observed) -> str:
    where = Reference.of(endpoint_slice, "export").where(cluster)
    if observed.export is None:
        return f"APIExport {where} not found"
    wanted = (CACHE_GROUP, observed.kinds.slice_kind, meta.name(endpoint_slice))
    virtual = [own.virtual for own in exported_resources(observed.export) if own.virtual is not None]
    names_it = any((storage.group, storage.kind, storage.name) == wanted for storage in virtual)
    return "" if names_it else f"APIExport {where} does not reference this {observed.kinds.slice_kind}"


def _judge(obj: JSONObject, kind: str, reason: str, message: str, now: str) -> None:
    """Args: message: of what is wrong; "" if nothing is."""
    status, why = (conditions.FALSE, reason) if message else (conditions.TRUE, "")
    conditions.set_condition(obj, conditions.build(kind, status, reason=why, message=message, severity="Error", now=now))


@dataclass(frozen=True, slots=True)
class CachedSliceReconciler:
    kinds: CachedKinds
    get: Callable[[ObjectKey], JSONObject | None]
    observe: Callable[[ClusterName, JSONObject], Observed]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.get(key)
        if held is None or meta.deletion_timestamp(held):
            return Result()
        observed = self.observe(key.cluster, held)
        wanted = decide(held, key.cluster, observed, rfc3339(self.clock.now()))
        await commit(self.for_cluster(key.cluster).resource(self.kinds.slices), held, wanted)
        is_settled = observed.cached is not None and (observed.export is not None or not self.kinds.names_export)
        return Result(requeue_after_s=None if is_settled else _NEXT_LOOK_S)


class Surroundings:
    """What slices of one pair of kinds refer to, and which slices something else's change is about."""

    def __init__(self, informers: InformerFactory, index: CachedIndex, server_url: Callable[[], str]) -> None:
        self._kinds, self._index, self._server_url = index.kinds, index, server_url
        self.partitions, self._shards = informers.informer(PARTITIONS), informers.informer(SHARDS)
        self.cached = informers.informer(index.kinds.resources)
        self.exports = informers.informer(EXPORTS, indexers={_BY_PUBLISHED: _published})
        self.bindings = informers.informer(BINDINGS, indexers={BY_BOUND_EXPORT: bound_export})
        self.slices = informers.informer(index.kinds.slices, indexers={_BY_EXPORT: self._by_export, _BY_CACHED: self._by_cached})

    def observe(self, cluster: ClusterName, endpoint_slice: JSONObject) -> Observed:
        source, export = self._referred(endpoint_slice, self._kinds.field), self._referred(endpoint_slice, "export")
        cached = self.cached.get(source) if source is not None else None
        serving = [export] if self._kinds.names_export else self._publishing(source)
        return Observed(
            self._kinds,
            source if cached is not None else None,
            self.exports.get(export) if export is not None else None,
            self.partitions.get(ObjectKey(cluster, "", endpoint_slice["spec"].get("partition") or "")),
            dict(meta.labels(self._shards.get(ObjectKey(ROOT, "", "root")) or {})),
            any(key is not None and self.bindings.is_indexed(BY_BOUND_EXPORT, export_label(key.cluster, key.name)) for key in serving),
            self._server_url(),
        )

    def _publishing(self, cached: ObjectKey | None) -> Iterable[ObjectKey]:
        """Exports, of whatever workspace, that publish a resource under its identity."""
        record = self._index.resource(cached) if cached is not None else None
        return self.exports.index_keys(_BY_PUBLISHED, _label(record.identity, record.gvr.group_resource)) if record is not None else ()

    def _referred(self, obj: Mapping[str, Any], field: str) -> ObjectKey | None:
        return self._index.at(meta.cluster(obj), Reference.of(dict(obj), field))

    def _by_export(self, obj: Mapping[str, Any]) -> Iterable[str]:
        key = self._referred(obj, "export") if self._kinds.names_export else None
        return [export_label(key.cluster, key.name)] if key is not None else []

    def _by_cached(self, obj: Mapping[str, Any]) -> Iterable[str]:
        key = self._referred(obj, self._kinds.field)
        return [str(key)] if key is not None else []

    def of_export(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        if self._kinds.names_export:
            return self.slices.index_keys(_BY_EXPORT, export_label(key.cluster, key.name))
        return self._published_by(key, old, new)

    def _published_by(self, key: ObjectKey, *states: JSONObject | None) -> list[ObjectKey]:
        """Slices of the cached resources to which the slices lead that an export names."""
        virtual = [own.virtual for export in states if export is not None for own in exported_resources(export)]
        named = (self.slices.get(ObjectKey(key.cluster, "", storage.name)) for storage in virtual if storage is not None)
        labels = {label for held in named if held is not None for label in self._by_cached(held)}
        return [found for label in sorted(labels) for found in self.slices.index_keys(_BY_CACHED, label)]

    def of_cached(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        is_other = old is None or new is None or _identity(old) != _identity(new)
        return self.slices.index_keys(_BY_CACHED, str(key)) if is_other else ()

    def of_binding(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        labels = changed_exports(old, new)
        if self._kinds.names_export:
            return [found for label in labels for found in self.slices.index_keys(_BY_EXPORT, label)]
        exports = {_consumed(binding) for binding in (old, new) if binding is not None} if labels else set()
        return [found for export in sorted(exports) for found in self._published_by(export, self.exports.get(export))]

    def in_workspace(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return self.slices.keys(cluster=key.cluster)


def _label(identity: str, resource: GroupResource) -> str:
    return f"{identity} {resource}"


def _published(export: Mapping[str, Any]) -> Iterable[str]:
    """What an export publishes of objects that are not its consumers' own, for an index."""
    found = exported_resources(dict(export))
    return [_label(own.virtual.identity, own.group_resource) for own in found if own.virtual is not None and own.virtual.identity]


def _identity(cached: JSONObject) -> str:
    return str(meta.nested(cached, "status", "identityHash", default=""))


def _consumed(binding: JSONObject) -> ObjectKey:
    """The export that a binding has or had."""
    cluster = meta.nested(binding, "status", "apiExportClusterName", default="")
    return ObjectKey(ClusterName(cluster), "", meta.nested(binding, "spec", "reference", "export", "name", default=""))


def build_cached_slice_controllers(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    index: CachedIndex,
    server_url: Callable[[], str],
    clock: Clock,
) -> list[Controller]:
    kinds, around = index.kinds, Surroundings(informers, index, server_url)
    reconciler = CachedSliceReconciler(kinds, around.slices.get, around.observe, for_cluster, clock)
    controller = Controller(kinds.slice_kind.lower(), reconciler.reconcile, clock=clock)
    controller.watch(around.slices)
    controller.watch(around.cached, around.of_cached)
    controller.watch(around.exports, around.of_export)
    controller.watch(around.bindings, around.of_binding)
    controller.watch(around.partitions, around.in_workspace)
    if kinds.names_export:
        return [controller]

    def default_slice(key: ObjectKey) -> JSONObject:
        spec = {kinds.field: {"path": key.cluster, "name": key.name}}
        return {"apiVersion": kinds.slices.api_version, "kind": kinds.slice_kind, "spec": spec}

    def has_slice(key: ObjectKey) -> bool:
        return around.slices.get(key) is not None

    defaults = DefaultSliceReconciler(kinds.slices, SKIP_SLICE_ANNOTATION, default_slice, around.cached.get, has_slice, for_cluster)
    made = Controller(f"{kinds.kind.lower()}slices", defaults.reconcile, clock=clock)
    made.watch(around.cached)
    return [controller, made]
