"""ClusterCachedResourceEndpointSlices: whether what they tie together is there, and where consumers of it are served.

observe (slice, cached resource, export, partition, shard, consumers) → `decide` (pure) → commit.
Before: `server.controllers`. After: the URLs served by `virtual.replication`.
Source: kcp pkg/reconciler/cache/clustercachedresourceendpointslice{,urls}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.cached.index import CachedIndex
from kcp.exports.cached.names import CACHE_GROUP, CACHED_RESOURCES, CACHED_SLICES, RESOURCE_VALID, SLICE_KIND, Reference, replication_url
from kcp.exports.endpointslices import BY_BOUND_EXPORT, PARTITION_VALID, PARTITIONS, SHARDS, bound_export, changed_exports
from kcp.exports.names import API_EXPORT_VALID, BINDINGS, EXPORTS, export_label, exported_resources

_BY_EXPORT, _BY_CACHED = "export", "cached resource"
_NEXT_LOOK_S = 5.0
"""At a reference to what does not exist: its workspace may come without an event that leads here."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decides a slice's status."""

    has_cached: bool
    export: JSONObject | None
    partition: JSONObject | None
    shard_labels: Mapping[str, str]
    has_consumers: bool
    server_url: str


def decide(endpoint_slice: JSONObject, cluster: ClusterName, observed: Observed, now: str) -> JSONObject:
    """The slice as it should be. Pure."""
    wanted: JSONObject = meta.copy_json(endpoint_slice)
    status = meta.ensure(wanted, "status")
    cached, export = (Reference.of(endpoint_slice, field) for field in ("clusterCachedResource", "export"))
    text = "" if observed.has_cached else f"Error getting ClusterCachedResource {cached.where(cluster)}"
    _judge(wanted, RESOURCE_VALID, "ClusterCachedResourceNotFound", text, now)
    _judge(wanted, API_EXPORT_VALID, "APIExportInvalidReference", _export_fault(endpoint_slice, export.where(cluster), observed), now)
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
    is_right = all(conditions.is_true(wanted, kind) for kind in (RESOURCE_VALID, API_EXPORT_VALID, PARTITION_VALID))
    if is_right and selector is not None and observed.has_consumers and selector.matches(observed.shard_labels):
        status["endpoints"] = [{"url": replication_url(observed.server_url, cluster, meta.name(endpoint_slice))}]
    else:
        status.pop("endpoints", None)
    return wanted


def _export_fault(endpoint_slice: JSONObject, where: str, observed: Observed) -> str:
    if observed.export is None:
        return f"APIExport {where} not found"
    wanted = (CACHE_GROUP, SLICE_KIND, meta.name(endpoint_slice))
    virtual = [own.virtual for own in exported_resources(observed.export) if own.virtual is not None]
    names_it = any((storage.group, storage.kind, storage.name) == wanted for storage in virtual)
    return "" if names_it else f"APIExport {where} does not reference this {SLICE_KIND}"


def _judge(obj: JSONObject, kind: str, reason: str, message: str, now: str) -> None:
    """Args: message: of what is wrong; "" if nothing is."""
    status, why = (conditions.FALSE, reason) if message else (conditions.TRUE, "")
    conditions.set_condition(obj, conditions.build(kind, status, reason=why, message=message, severity="Error", now=now))


@dataclass(frozen=True, slots=True)
class CachedSliceReconciler:
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
        await commit(self.for_cluster(key.cluster).resource(CACHED_SLICES), held, wanted)
        return Result(requeue_after_s=None if observed.has_cached and observed.export is not None else _NEXT_LOOK_S)


def build_cached_slice_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    index: CachedIndex,
    server_url: Callable[[], str],
    clock: Clock,
) -> Controller:
    exports, partitions, shards, cached = (informers.informer(kind) for kind in (EXPORTS, PARTITIONS, SHARDS, CACHED_RESOURCES))
    bindings = informers.informer(BINDINGS, indexers={BY_BOUND_EXPORT: bound_export})

    def referred(obj: Mapping[str, Any], field: str) -> ObjectKey | None:
        return index.at(meta.cluster(obj), Reference.of(dict(obj), field))

    def by_export(obj: Mapping[str, Any]) -> Iterable[str]:
        key = referred(obj, "export")
        return [export_label(key.cluster, key.name)] if key is not None else []

    def by_cached(obj: Mapping[str, Any]) -> Iterable[str]:
        key = referred(obj, "clusterCachedResource")
        return [str(key)] if key is not None else []

    slices = informers.informer(CACHED_SLICES, indexers={_BY_EXPORT: by_export, _BY_CACHED: by_cached})

    def observe(cluster: ClusterName, endpoint_slice: JSONObject) -> Observed:
        source, export = referred(endpoint_slice, "clusterCachedResource"), referred(endpoint_slice, "export")
        has_consumers = export is not None and bindings.is_indexed(BY_BOUND_EXPORT, export_label(export.cluster, export.name))
        return Observed(
            source is not None and cached.get(source) is not None,
            exports.get(export) if export is not None else None,
            partitions.get(ObjectKey(cluster, "", endpoint_slice["spec"].get("partition") or "")),
            dict(meta.labels(shards.get(ObjectKey(ROOT, "", "root")) or {})),
            has_consumers,
            server_url(),
        )

    def of_export(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return slices.index_keys(_BY_EXPORT, export_label(key.cluster, key.name))

    def of_cached(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return slices.index_keys(_BY_CACHED, str(key)) if old is None or new is None else ()

    def of_binding(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [found for label in changed_exports(old, new) for found in slices.index_keys(_BY_EXPORT, label)]

    def in_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return slices.keys(cluster=key.cluster)

    reconciler = CachedSliceReconciler(slices.get, observe, for_cluster, clock)
    controller = Controller("clustercachedresourceendpointslice", reconciler.reconcile, clock=clock)
    controller.watch(slices)
    controller.watch(cached, of_cached)
    controller.watch(exports, of_export)
    controller.watch(bindings, of_binding)
    controller.watch(partitions, in_workspace)
    return controller
