"""PartitionSets: one Partition for each combination of label values that shards have.

observe (set, shards, its partitions) → `plan` (pure) → create and delete partitions, then the status.
Before: `server.controllers`; admission of both kinds. After: nothing; endpoint slices refer to partitions.
Source: kcp pkg/reconciler/topology/partitionset/{partitionset_reconcile,resources}.go, config/crds/topology.kcp.io_partitionsets.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apis.kubernetes import checks
from kcp.apiserver.admission.chain import Plugin
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.endpointslices import PARTITIONS, SHARDS
from kcp.registry.backend import Attributes

PARTITION_SETS = GVR("topology.kcp.io", "v1alpha1", "partitionsets")
VALID, READY = "PartitionSetValid", "PartitionsReady"
_LONGEST_BASE = 252
"""Of a partition's name, before it is made unique."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for one PartitionSet."""

    wanted: frozenset[Labels]
    """The label values of each partition."""
    missing: tuple[Labels, ...]
    superfluous: tuple[JSONObject, ...]


def plan(partition_set: JSONObject, shards: Iterable[JSONObject], owned: Iterable[JSONObject]) -> Plan:
    """Which partitions there should be, and which of them there are."""
    spec = partition_set.get("spec") or {}
    selector = spec.get("shardSelector") or {}
    names = sorted({*(spec.get("dimensions") or ()), *(selector.get("matchLabels") or {})})
    matching = LabelSelector.from_object(selector)
    carried = [meta.labels(shard) for shard in shards if matching.matches(meta.labels(shard))]
    wanted = frozenset(tuple((name, held[name]) for name in names) for held in carried if names and all(name in held for name in names))
    found: set[Labels] = set()
    superfluous: list[JSONObject] = []
    for partition in owned:
        labels = _labels_of(partition, selector.get("matchExpressions") or [])
        if labels is None or labels not in wanted or labels in found:
            superfluous.append(partition)
        else:
            found.add(labels)
    return Plan(wanted, tuple(sorted(wanted - found)), tuple(superfluous))


def _labels_of(partition: JSONObject, expressions: Sequence[Any]) -> Labels | None:
    """What a partition selects; None if it was made with other expressions."""
    selector = meta.nested(partition, "spec", "selector", default={})
    if (selector.get("matchExpressions") or []) != expressions:
        return None
    return tuple(sorted((selector.get("matchLabels") or {}).items()))


def partition_of(partition_set: JSONObject, labels: Labels) -> JSONObject:
    """Named after the values of the dimensions."""
    spec, values = partition_set.get("spec") or {}, dict(labels)
    parts = [meta.name(partition_set), *(values[name].lower() for name in sorted(spec.get("dimensions") or ()))]
    selector: JSONObject = {"matchLabels": values}
    if expressions := (spec.get("shardSelector") or {}).get("matchExpressions"):
        selector["matchExpressions"] = expressions
    owner = {
        "apiVersion": PARTITION_SETS.api_version,
        "kind": "PartitionSet",
        "name": meta.name(partition_set),
        "uid": meta.uid(partition_set),
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": PARTITIONS.api_version,
        "kind": "Partition",
        "metadata": {"generateName": "-".join(parts)[:_LONGEST_BASE] + "-", "ownerReferences": [owner]},
        "spec": {"selector": selector},
    }


def is_owned(partition: JSONObject, partition_set: JSONObject) -> bool:
    return any(owner.get("uid") == meta.uid(partition_set) for owner in meta.metadata(partition).get("ownerReferences") or ())


@dataclass(frozen=True, slots=True)
class PartitionSetReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    shards: Callable[[], Iterable[JSONObject]]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.get(key)
        if held is None or meta.deletion_timestamp(held):
            return Result()
        client = self.for_cluster(key.cluster)
        partitions = client.resource(PARTITIONS)
        # Asked for rather than mirrored: names are generated, so what was just made must not be made again.
        owned = [partition for partition in (await partitions.list()).items if is_owned(partition, held)]
        todo = plan(held, self.shards(), owned)
        for partition in todo.superfluous:
            try:
                await partitions.delete(meta.name(partition))
            except NotFound:
                pass  # gone already, as it should be
        for labels in todo.missing:
            await partitions.create(partition_of(held, labels))
        wanted: JSONObject = meta.copy_json(held)
        meta.ensure(wanted, "status")["count"] = len(todo.wanted)
        now = rfc3339(self.clock.now())
        for kind in (VALID, READY):
            conditions.set_condition(wanted, conditions.build(kind, conditions.TRUE, now=now))
        await commit(client.resource(PARTITION_SETS), held, wanted)
        return Result()


def partition_plugin() -> Plugin:
    """Admission of both kinds: selectors that can select."""

    async def validate(attributes: Attributes) -> None:
        resource = attributes.scope.resource
        spec = (attributes.new or {}).get("spec") or {}
        field = "shardSelector" if resource.gvr.resource == PARTITION_SETS.resource else "selector"
        if faults := list(checks.selector(spec.get(field), f"spec.{field}")):
            raise Invalid.of(resource.group_resource, resource.kind, meta.name(attributes.new or {}), faults)

    kinds = frozenset((PARTITIONS.group_resource, PARTITION_SETS.group_resource))
    return Plugin(name="PartitionSet", validate=validate, resources=kinds)


def build_partition_set_controller(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    sets, partitions, shards = (informers.informer(kind) for kind in (PARTITION_SETS, PARTITIONS, SHARDS))

    def owner(key: ObjectKey, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterable[ObjectKey]:
        owners = meta.metadata(new or old or {}).get("ownerReferences") or ()
        return [ObjectKey(key.cluster, "", o["name"]) for o in owners if o.get("kind") == "PartitionSet"]

    reconciler = PartitionSetReconciler(sets.get, lambda: shards.list(cluster=ROOT), for_cluster, clock)
    controller = Controller("partitionset", reconciler.reconcile, clock=clock)
    controller.watch(sets)
    controller.watch(partitions, owner)
    controller.watch(shards, lambda key, old, new: sets.keys())
    return controller
