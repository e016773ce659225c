"""Resource controller: objects follow their namespace to its targets, and divided replicas follow the decision.

One pure decision per object: state labels, deletion annotations, and for Deployments a spec diff per target with its share of the replicas.
Source: kcp release-0.11 pkg/reconciler/workload/resource; the deployment coordinator of kcp-dev/contrib-tmc for the shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET
from kcp.tmc.model.kinds import DIVIDED
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    OVERRIDE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
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
    upsyncing_key,
)
from kcp.tmc.model.wishes import left_out
from kcp.tmc.overrides.policy import Cluster, OverrideError, patch_for
from kcp.tmc.placement.handover import handing_over
from kcp.tmc.placement.shares import Shares, pod_requests, share, share_of, unplaced
from kcp.tmc.placement.upsynced import UpsyncedReconciler


def decide(
    obj: JSONObject, namespace: JSONObject | None, *, divided: bool, now: str, gone: Collection[str] = (), names: Mapping[str, str] = {}
) -> JSONObject:
    """The object with labels and annotations for the targets of its namespace, but for those that its own annotations leave out. Pure.

    What OverridePolicies make of it is added by `ResourceReconciler`.

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
            names,
        )
    return wanted


def _share_out(wanted: JSONObject, keys: list[str], shares: Shares | None, names: Mapping[str, str]) -> None:
    """A spec diff with its share of the replicas for each target; one that leaves keeps what it had until it is gone."""
    total = int(meta.nested(wanted, "spec", "replicas", default=1))
    current = {key: held for key in keys if (held := share_of(wanted, key)) is not None}
    placed = share(total, keys, shares, current=current, pod=pod_requests(wanted) if shares is not None else {}, names=names)
    for key, number in placed.items():
        diff = json.dumps([{"op": "replace", "path": "/replicas", "value": number}], separators=(",", ":"))
        meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, diff)
    meta.set_annotation(wanted, UNPLACED_ANNOTATION, unplaced(total, shares, placed))


def _state(namespace: JSONObject) -> tuple[dict[str, bool], set[str], str]:
    """What of a namespace its objects follow."""
    leaving = {k: is_leaving(namespace, k) for k in synced_keys(namespace)}
    return leaving, set(handing_over(namespace)), meta.annotations(namespace).get(SHARES_ANNOTATION, "")


@dataclass(frozen=True, slots=True)
class Overrides:
    """What OverridePolicies come to for one target."""

    patch: Sequence[JSONObject] = ()
    error: TMCError | None = None


def put_overrides(wanted: JSONObject, key: str, found: Overrides | None) -> None:
    """Write them on the object. With an error the last good patch stays, and the view holds the copy back."""
    error = json.dumps(found.error.to_object(), separators=(",", ":"), sort_keys=True) if found and found.error else None
    meta.set_annotation(wanted, OVERRIDE_ERROR_ANNOTATION + key, error)
    if error is None:
        patch = json.dumps(found.patch, separators=(",", ":")) if found and found.patch else None
        meta.set_annotation(wanted, OVERRIDE_ANNOTATION + key, patch)


def for_target(obj: JSONObject, key: str) -> JSONObject:
    """The object as target K gets it without overrides: with its share. `obj` is not changed."""
    diff = meta.annotations(obj).get(SPEC_DIFF_ANNOTATION + key)
    return {**obj, "spec": json_patch.apply(obj.get("spec") or {}, json.loads(diff))} if diff else obj


@dataclass(frozen=True, slots=True)
class ResourceReconciler:
    """For one resource, over all workspaces."""

    gvr: GVR
    get: Callable[[ObjectKey], JSONObject | None]
    namespace: Callable[[ObjectKey], JSONObject | None]
    name_of: Callable[[str], str]
    """K → name of its SyncTarget, "" if there is none."""
    overrides: Callable[[JSONObject, str], Overrides | None]
    """What OverridePolicies make of an object for target K; None where there are none."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None:
            return Result()
        if upsyncing_key(obj):
            return await UpsyncedReconciler(self.gvr, self.get, self.name_of, self.for_cluster).reconcile(key)
        namespace = self.namespace(ObjectKey(key.cluster, "", key.namespace))
        gone = [key for key in held_keys(obj) if not self.name_of(key)]
        names = {key: self.name_of(key) for key in synced_keys(namespace)} if namespace is not None else {}
        divided = self.gvr.group_resource in DIVIDED
        wanted = decide(obj, namespace, divided=divided, now=rfc3339(self.clock.now()), gone=gone, names=names)
        for target in synced_keys(wanted):
            if not is_leaving(wanted, target):
                put_overrides(wanted, target, self.overrides(wanted, target))
        await commit(self.for_cluster(key.cluster).resource(self.gvr), obj, wanted)
        return Result()


def build_resource_controller(
    gvr: GVR, objects: Informer, namespaces: Informer, targets: Informer, policies: Informer,
    for_cluster: Callable[[ClusterName], Client], *, clock: Clock,
) -> Controller:  # fmt: skip
    """Args: gvr: without identity. objects: of that resource over all workspaces, with index BY_TARGET. targets: with index BY_KEY.
    policies: OverridePolicies.
    """

    def of_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        states = [_state(ns) if ns is not None else None for ns in (old, new)]
        if states[0] == states[1]:
            return []
        return [meta.key(obj) for obj in objects.list(cluster=key.cluster, namespace=key.name)]

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """It went, or its labels changed, which policies may ask for."""
        if new is not None and (old is None or meta.labels(old) == meta.labels(new)):
            return []
        found = objects.index_keys(BY_TARGET, sync_target_key(key.cluster, key.name))
        return found if new is None else [k for k in found if policies.count(cluster=k.cluster, namespace=k.namespace)]

    def of_policy(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return objects.keys(cluster=key.cluster, namespace=key.namespace)

    def overrides(obj: JSONObject, target: str) -> Overrides | None:
        cluster, namespace = meta.cluster(obj), meta.namespace(obj)
        found = next(iter(targets.by_index(BY_KEY, target)), None) if policies.count(cluster=cluster, namespace=namespace) else None
        if found is None:
            return None
        name = meta.name(found)
        held = policies.list(cluster=cluster, namespace=namespace)
        try:
            return Overrides(patch_for(held, for_target(obj, target), Cluster(name, meta.labels(found))))
        except (OverrideError, ValueError) as error:  # a spec diff may not fit either
            advice = "mend the OverridePolicy or the object; until then the copy stays as it is"
            return Overrides(error=TMCError(ErrorType.PROJECTION_TRANSFORM, str(error), name, "override", advice=advice))

    def name_of(key: str) -> str:
        return next((found.name for found in targets.index_keys(BY_KEY, key)), "")

    reconciler = ResourceReconciler(gvr, objects.get, namespaces.get, name_of, overrides, for_cluster, clock)
    controller = Controller(f"tmc-resource-{gvr.resource}", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(objects)
    controller.watch(namespaces, of_namespace)
    controller.watch(targets, of_target)
    controller.watch(policies, of_policy)
    return controller
