"""Resource controller: objects follow their namespace to its targets, and divided replicas follow the decision.

One pure decision per object: state labels, deletion annotations, and for Deployments a spec diff per target with its share of the replicas.
Source: kcp release-0.11 pkg/reconciler/workload/resource; the deployment coordinator of kcp-dev/contrib-tmc for the shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET
from kcp.tmc.model.kinds import DIVIDED
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    SHARES_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    UNPLACED_ANNOTATION,
    forget_target,
    held_keys,
    is_leaving,
    sync_target_key,
    synced_keys,
)
from kcp.tmc.model.wishes import left_out
from kcp.tmc.placement.handover import handing_over
from kcp.tmc.placement.shares import Shares, pod_requests, share, share_of, unplaced


def decide(
    obj: JSONObject, namespace: JSONObject | None, *, divided: bool, now: str, gone: Collection[str] = (), names: Mapping[str, str] = {}
) -> JSONObject:
    """The object with labels and annotations for the targets of its namespace, but for those that its own annotations leave out. Pure.

    Args: namespace: None if it is gone (then nothing new is placed). divided: `spec.replicas` is shared out. names: K → SyncTarget name.
    gone: K of targets whose SyncTarget was deleted: nobody is left to answer for them, so they are forgotten; what runs there stays.
    """
    wanted: JSONObject = meta.copy_json(obj)
    for key in gone:
        forget_target(wanted, key)
    staying: list[str] = []
    for key in synced_keys(namespace) if namespace is not None else ():
        if namespace is None or key in gone or is_leaving(namespace, key) or left_out(obj, names.get(key, "")):
            continue
        if not meta.deletion_timestamp(obj):
            meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, None)
            staying.append(key)
    for key in synced_keys(obj):
        if key not in staying and key not in gone and DELETION_ANNOTATION + key not in meta.annotations(obj):
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, now)
    if divided:
        leaving = handing_over(namespace or {})
        _share_out(
            wanted,
            [key for key in staying if key not in leaving],
            Shares.from_json(meta.annotations(namespace or {}).get(SHARES_ANNOTATION)),
        )
    return wanted


def _share_out(wanted: JSONObject, keys: list[str], shares: Shares | None) -> None:
    """A spec diff with its share of the replicas for each target; one that leaves keeps what it had until it is gone."""
    total = int(meta.nested(wanted, "spec", "replicas", default=1))
    current = {key: held for key in keys if (held := share_of(wanted, key)) is not None}
    placed = share(total, keys, shares, current=current, pod=pod_requests(wanted) if shares is not None else {})
    for key, number in placed.items():
        diff = json.dumps([{"op": "replace", "path": "/replicas", "value": number}], separators=(",", ":"))
        meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, diff)
    meta.set_annotation(wanted, UNPLACED_ANNOTATION, unplaced(total, shares, placed))


def _state(namespace: JSONObject) -> tuple[dict[str, bool], set[str], str]:
    """What of a namespace its objects follow."""
    leaving = {k: is_leaving(namespace, k) for k in synced_keys(namespace)}
    return leaving, set(handing_over(namespace)), meta.annotations(namespace).get(SHARES_ANNOTATION, "")


@dataclass(frozen=True, slots=True)
class ResourceReconciler:
    """For one resource, over all workspaces."""

    gvr: GVR
    get: Callable[[ObjectKey], JSONObject | None]
    namespace: Callable[[ObjectKey], JSONObject | None]
    name_of: Callable[[str], str]
    """K → name of its SyncTarget, "" if there is none."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None:
            return Result()
        namespace = self.namespace(ObjectKey(key.cluster, "", key.namespace))
        gone = [key for key in held_keys(obj) if not self.name_of(key)]
        names = {key: self.name_of(key) for key in synced_keys(namespace)} if namespace is not None else {}
        divided = self.gvr.group_resource in DIVIDED
        wanted = decide(obj, namespace, divided=divided, now=rfc3339(self.clock.now()), gone=gone, names=names)
        await commit(self.for_cluster(key.cluster).resource(self.gvr), obj, wanted)
        return Result()


def build_resource_controller(
    gvr: GVR, objects: Informer, namespaces: Informer, targets: Informer, for_cluster: Callable[[ClusterName], Client], *, clock: Clock
) -> Controller:
    """Args: gvr: without identity. objects: of that resource over all workspaces, with index BY_TARGET. targets: with index BY_KEY."""

    def of_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        states = [_state(ns) if ns is not None else None for ns in (old, new)]
        if states[0] == states[1]:
            return []
        return [meta.key(obj) for obj in objects.list(cluster=key.cluster, namespace=key.name)]

    def of_deleted_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        target = sync_target_key(key.cluster, key.name)
        return [meta.key(obj) for obj in objects.by_index(BY_TARGET, target)] if new is None else []

    def name_of(key: str) -> str:
        return next((found.name for found in targets.index_keys(BY_KEY, key)), "")

    reconciler = ResourceReconciler(gvr, objects.get, namespaces.get, name_of, for_cluster, clock)
    controller = Controller(f"tmc-resource-{gvr.resource}", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(objects)
    controller.watch(namespaces, of_namespace)
    controller.watch(targets, of_deleted_target)
    return controller
