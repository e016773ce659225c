"""Namespace scheduler: carries placement decisions to namespaces, as the state labels that everything below follows.

A target that is no longer chosen gets a deletion annotation; its label goes when its syncer says the copy is gone (`tmc.view`), never
after a fixed time.
Source: kcp release-0.11 pkg/reconciler/workload/namespace (there: removal after 5 s).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET, index_by_key, index_by_target
from kcp.tmc.model.kinds import NAMESPACE_SCHEDULED, NAMESPACES, PLACEMENTS, SYNC_TARGETS, Placement
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    NAMESPACE_PLACEMENT_ANNOTATION,
    SHARES_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    UNSYNCED_NAMESPACES,
    chosen_keys,
    forget_target,
    held_keys,
    sync_target_key,
    synced_keys,
)
from kcp.tmc.placement.shares import Shares, combine


def decide(namespace: JSONObject, placements: Sequence[Placement], *, now: str, gone: Collection[str] = ()) -> JSONObject:
    """The namespace with labels, annotations and condition for the placements that select it. Pure.

    Args: gone: K of targets whose SyncTarget was deleted: nobody is left to answer for them, so they are forgotten.
    """
    wanted: JSONObject = meta.copy_json(namespace)
    for key in gone:
        forget_target(wanted, key)
    mine = [p for p in placements if p.selects(namespace)]
    keys = sorted({key for p in mine for key in p.chosen})
    meta.set_annotation(wanted, NAMESPACE_PLACEMENT_ANNOTATION, "" if mine else None)
    shares = combine(s for p in mine if (s := Shares.from_json(p.shares)) is not None)
    meta.set_annotation(wanted, SHARES_ANNOTATION, shares.to_json() if shares is not None else None)
    for key in keys:
        meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
        meta.set_annotation(wanted, DELETION_ANNOTATION + key, None)
    for key in synced_keys(namespace):
        if key not in keys and key not in gone and DELETION_ANNOTATION + key not in meta.annotations(namespace):
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, now)
    if mine or conditions.get(namespace, NAMESPACE_SCHEDULED) is not None:
        conditions.set_condition(wanted, _scheduled(mine, keys, now))
    return wanted


def _scheduled(mine: Sequence[Placement], keys: Sequence[str], now: str) -> JSONObject:
    if keys:
        return conditions.build(NAMESPACE_SCHEDULED, conditions.TRUE, now=now)
    names = ", ".join(p.name for p in mine)
    message = f"No available sync targets: see the conditions of placement {names}" if mine else "No available placements"
    return conditions.build(NAMESPACE_SCHEDULED, conditions.FALSE, reason="Unschedulable", message=message, severity="Info", now=now)


@dataclass(frozen=True, slots=True)
class NamespaceReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    placements: Callable[[ClusterName], Sequence[Placement]]
    is_target: Callable[[str], bool]
    """Whether a SyncTarget with this K exists."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        namespace = self.get(key)
        if namespace is None or key.name in UNSYNCED_NAMESPACES or meta.deletion_timestamp(namespace):
            return Result()
        gone = [k for k in held_keys(namespace) if not self.is_target(k)]
        wanted = decide(namespace, self.placements(key.cluster), now=rfc3339(self.clock.now()), gone=gone)
        await commit_both(self.for_cluster(key.cluster).resource(NAMESPACES), namespace, wanted)
        return Result()


def build_namespace_scheduler(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    namespaces = informers.informer(NAMESPACES, indexers={BY_TARGET: index_by_target})
    targets = informers.informer(SYNC_TARGETS, indexers={BY_KEY: index_by_key})
    placements = informers.informer(PLACEMENTS)

    def placements_of(cluster: ClusterName) -> Sequence[Placement]:
        return [Placement.of(p, chosen_keys(p)) for p in placements.list(cluster=cluster) if not meta.deletion_timestamp(p)]

    def of_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(ns) for ns in namespaces.list(cluster=key.cluster)]

    def of_deleted_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        target = sync_target_key(key.cluster, key.name)
        return [meta.key(ns) for ns in namespaces.by_index(BY_TARGET, target)] if new is None else []

    def is_target(key: str) -> bool:
        return bool(targets.index_keys(BY_KEY, key))

    reconciler = NamespaceReconciler(namespaces.get, placements_of, is_target, for_cluster, clock)
    controller = Controller("tmc-namespace", reconciler.reconcile, clock=clock, workers=4)
    controller.watch(namespaces)
    controller.watch(placements, of_workspace)
    controller.watch(targets, of_deleted_target)
    return controller
