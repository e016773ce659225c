"""Resource controller: objects follow their namespace to its targets, and divided replicas follow the decision.

One pure decision per object: state labels, deletion annotations, and for Deployments a spec diff per target with its share of the replicas.
Source: kcp release-0.11 pkg/reconciler/workload/resource; the deployment coordinator of kcp-dev/contrib-tmc for the shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
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
from kcp.tmc.model.kinds import DIVIDED
from kcp.tmc.model.names import DELETION_ANNOTATION, SPEC_DIFF_ANNOTATION, STATE_LABEL, STATE_SYNC, is_leaving, synced_keys
from kcp.tmc.placement.divide import divide


def decide(obj: JSONObject, namespace: JSONObject | None, *, divided: bool, now: str) -> JSONObject:
    """The object with labels and annotations for the targets of its namespace. Pure.

    Args: namespace: None if it is gone (then nothing new is placed). divided: `spec.replicas` is shared out.
    """
    wanted: JSONObject = meta.copy_json(obj)
    staying: list[str] = []
    for key in synced_keys(namespace) if namespace is not None else ():
        if namespace is None or is_leaving(namespace, key):
            continue
        if not meta.deletion_timestamp(obj):
            meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, None)
            staying.append(key)
    for key in synced_keys(obj):
        if key not in staying and DELETION_ANNOTATION + key not in meta.annotations(obj):
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, now)
    if divided:
        _share_out(wanted, staying)
    return wanted


def _share_out(wanted: JSONObject, keys: list[str]) -> None:
    """A spec diff with its share of the replicas for each target; one that leaves keeps what it had until it is gone."""
    total = meta.nested(wanted, "spec", "replicas", default=1)
    current = {key: share for key in keys if (share := share_of(wanted, key)) is not None}
    for key, share in divide(int(total), keys, current=current).items():
        diff = json.dumps([{"op": "replace", "path": "/replicas", "value": share}], separators=(",", ":"))
        meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, diff)


def share_of(obj: JSONObject, key: str) -> int | None:
    """Replicas that target K is asked to run, from its spec diff."""
    try:
        operations = json.loads(meta.annotations(obj).get(SPEC_DIFF_ANNOTATION + key, "[]"))
    except ValueError:
        return None
    return next((int(op["value"]) for op in operations if op.get("path") == "/replicas"), None)


@dataclass(frozen=True, slots=True)
class ResourceReconciler:
    """For one resource, over all workspaces."""

    gvr: GVR
    get: Callable[[ObjectKey], JSONObject | None]
    namespace: Callable[[ObjectKey], JSONObject | None]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None:
            return Result()
        namespace = self.namespace(ObjectKey(key.cluster, "", key.namespace))
        wanted = decide(obj, namespace, divided=self.gvr.group_resource in DIVIDED, now=rfc3339(self.clock.now()))
        await commit(self.for_cluster(key.cluster).resource(self.gvr), obj, wanted)
        return Result()


def build_resource_controller(
    gvr: GVR, objects: Informer, namespaces: Informer, for_cluster: Callable[[ClusterName], Client], *, clock: Clock
) -> Controller:
    """Args: gvr: without identity. objects: informer of that resource over all workspaces."""

    def of_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        states = [{k: is_leaving(ns, k) for k in synced_keys(ns)} if ns is not None else None for ns in (old, new)]
        if states[0] == states[1]:
            return []
        return [meta.key(obj) for obj in objects.list(cluster=key.cluster, namespace=key.name)]

    reconciler = ResourceReconciler(gvr, objects.get, namespaces.get, for_cluster, clock)
    controller = Controller(f"tmc-resource-{gvr.resource}", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(objects)
    controller.watch(namespaces, of_namespace)
    return controller
