"""APIExportEndpointSlices: where a provider's controllers reach the consumers of an export.

Every export has a slice of its own name unless it says otherwise. A slice lists the virtual workspace of each shard in its partition that
has consumers: of this server's shard, that is.
observe (slice, export, partition, shard, consumers) → `decide` (pure) → commit.
Before: `server.controllers`. After: the URLs served by `virtual.apiexport`.
Source: kcp pkg/reconciler/apis/apiexportendpointslice{,urls}, pkg/reconciler/apis/apiexport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.endpoints import ENDPOINT_SLICES
from kcp.controller.factory import InformerFactory
from kcp.exports.names import API_EXPORT_VALID, BINDINGS, EXPORT_LABEL, EXPORTS, endpoint_url, export_label

SLICES = ENDPOINT_SLICES
PARTITIONS = GVR("topology.kcp.io", "v1alpha1", "partitions")
SHARDS = GVR("core.kcp.io", "v1alpha1", "shards")
SKIP_ANNOTATION = "apiexports.apis.kcp.io/skip-endpointslice"
"""On an export that wants no slice made for it."""
PARTITION_VALID, URLS_READY = "PartitionValid", "EndpointURLsReady"
_BY_EXPORT, BY_BOUND_EXPORT = "export", "bound export"
_NEXT_LOOK_S = 5.0
"""At a reference to what does not exist: its workspace may come without an event that leads here."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decides a slice's status."""

    export: ObjectKey | None
    """None: it does not exist."""
    partition: JSONObject | None
    shard_labels: dict[str, str]
    has_consumers: bool
    server_url: str


def decide(endpoint_slice: JSONObject, observed: Observed, now: str) -> JSONObject:
    """The slice as it should be. Pure."""
    wanted: JSONObject = meta.copy_json(endpoint_slice)
    status = meta.ensure(wanted, "status")
    reference = meta.nested(endpoint_slice, "spec", "export", default={})
    spec = endpoint_slice["spec"]
    if observed.export is None:
        where = f'APIExport "{reference.get("path") or "."}:{reference.get("name")}"'
        _condition(wanted, API_EXPORT_VALID, now, "APIExportNotFound", f"{where} not found: create it, or correct spec.export")
    else:
        _condition(wanted, API_EXPORT_VALID, now)
    selector: LabelSelector | None = LabelSelector.EVERYTHING
    if spec.get("partition"):
        selector = _of_partition(observed.partition)
        missing = f'Partition "{spec["partition"]}" not found in this workspace: create it, or correct spec.partition'
        _condition(
            wanted, PARTITION_VALID, now, "PartitionInvalidReference" if selector is None else "", missing if selector is None else ""
        )
    else:
        conditions.remove(wanted, PARTITION_VALID)
    if spec.get("shardSelector") is not None and selector is not None:
        selector = selector.joined(LabelSelector.from_object(spec["shardSelector"]))
    is_known = observed.export is not None and selector is not None
    if observed.export and selector and observed.has_consumers and selector.matches(observed.shard_labels):
        status["endpoints"] = [{"url": endpoint_url(observed.server_url, observed.export.cluster, observed.export.name)}]
    else:
        status.pop("endpoints", None)
    _condition(wanted, URLS_READY, now, "" if is_known else "ErrorGeneratingURLs", "" if is_known else "see the other conditions")
    return wanted


def _of_partition(partition: JSONObject | None) -> LabelSelector | None:
    return None if partition is None else LabelSelector.from_object(meta.nested(partition, "spec", "selector", default={}))


def _condition(obj: JSONObject, kind: str, now: str, reason: str = "", message: str = "") -> None:
    status = conditions.FALSE if reason else conditions.TRUE
    conditions.set_condition(obj, conditions.build(kind, status, reason=reason, message=message, severity="Error", now=now))


@dataclass(frozen=True, slots=True)
class SliceReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    observe: Callable[[ClusterName, JSONObject], Observed]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.get(key)
        if held is None or meta.deletion_timestamp(held):
            return Result()
        observed = self.observe(key.cluster, held)
        wanted = decide(held, observed, rfc3339(self.clock.now()))
        await commit(self.for_cluster(key.cluster).resource(SLICES), held, wanted)
        return Result(requeue_after_s=_NEXT_LOOK_S if observed.export is None else None)


@dataclass(frozen=True, slots=True)
class DefaultSliceReconciler:
    """Makes the slice of an object's own name; never changes or removes one: it goes with its owner."""

    slices: GVR
    skip: str
    """Annotation of an owner that wants none."""
    make: Callable[[ObjectKey], JSONObject]
    """The slice of an owner of this key, without its metadata."""
    get: Callable[[ObjectKey], JSONObject | None]
    has_slice: Callable[[ObjectKey], bool]
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        owner = self.get(key)
        if owner is None or meta.deletion_timestamp(owner) or self.skip in meta.annotations(owner) or self.has_slice(key):
            return Result()
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": key.name, "uid": meta.uid(owner)}
        made = {"metadata": {"name": key.name, "ownerReferences": [reference]}, **self.make(key)}
        try:
            await self.for_cluster(key.cluster).resource(self.slices).create(made)
        except AlreadyExists:
            pass  # the user's own, or ours that the informer has not shown yet
        return Result()


def _default_slice(export: ObjectKey) -> JSONObject:
    spec = {"export": {"path": export.cluster, "name": export.name}}
    return {"apiVersion": SLICES.api_version, "kind": "APIExportEndpointSlice", "spec": spec}


def bound_export(binding: Mapping[str, Any]) -> Iterable[str]:
    """The label of the export that a binding consumes, for an index."""
    is_bound = meta.nested(binding, "status", "apiExportClusterName", default="")
    return [meta.labels(binding).get(EXPORT_LABEL, "")] if is_bound else []


def changed_exports(old: JSONObject | None, new: JSONObject | None) -> Iterable[str]:
    """Labels of exports that have won or lost a binding: no other change of it says whether they have consumers."""
    before, after = (set(bound_export(binding)) if binding is not None else set() for binding in (old, new))
    return sorted(before ^ after)


def build_endpoint_slice_controllers(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    server_url: Callable[[], str],
    clock: Clock,
) -> list[Controller]:
    """Args: resolve: workspace path → cluster."""
    exports, partitions, shards = (informers.informer(kind) for kind in (EXPORTS, PARTITIONS, SHARDS))
    bindings = informers.informer(BINDINGS, indexers={BY_BOUND_EXPORT: bound_export})

    def export_of(cluster: ClusterName, endpoint_slice: Mapping[str, Any]) -> ObjectKey | None:
        reference = meta.nested(endpoint_slice, "spec", "export", default={})
        home = resolve(reference["path"]) if reference.get("path") else cluster
        return ObjectKey(home, "", reference.get("name", "")) if home else None

    def index_by_export(obj: Mapping[str, Any]) -> Iterable[str]:
        key = export_of(meta.cluster(obj), obj)
        return [export_label(key.cluster, key.name)] if key else []

    slices = informers.informer(SLICES, indexers={_BY_EXPORT: index_by_export})

    def observe(cluster: ClusterName, endpoint_slice: JSONObject) -> Observed:
        key = export_of(cluster, endpoint_slice)
        export = key if key is not None and exports.get(key) is not None else None
        partition = partitions.get(ObjectKey(cluster, "", endpoint_slice["spec"].get("partition", "")))
        has_consumers = export is not None and bindings.is_indexed(BY_BOUND_EXPORT, export_label(export.cluster, export.name))
        shard = shards.get(ObjectKey(ROOT, "", "root")) or {}
        return Observed(export, partition, dict(meta.labels(shard)), has_consumers, server_url())

    def of_export(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return slices.index_keys(_BY_EXPORT, export_label(key.cluster, key.name))

    def of_binding(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [held for label in changed_exports(old, new) for held in slices.index_keys(_BY_EXPORT, label)]

    def in_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(held) for held in slices.list(cluster=key.cluster)]

    urls = Controller(
        "apiexportendpointsliceurls", SliceReconciler(slices.get, observe, for_cluster, clock).reconcile, clock=clock, workers=2
    )
    urls.watch(slices)
    urls.watch(exports, of_export)
    urls.watch(bindings, of_binding)
    urls.watch(partitions, in_workspace)
    defaults = DefaultSliceReconciler(
        SLICES, SKIP_ANNOTATION, _default_slice, exports.get, lambda key: slices.get(key) is not None, for_cluster
    )
    made = Controller("apiexportendpointslice", defaults.reconcile, clock=clock, workers=2)
    made.watch(exports)
    return [urls, made]
