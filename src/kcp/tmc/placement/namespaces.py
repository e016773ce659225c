"""Namespace scheduler: carries placement decisions to namespaces, as the state labels that everything below follows.

A target that is no longer chosen gets a deletion annotation; its label goes when its syncer says the copy is gone (`tmc.view`), never
after a fixed time.
Source: kcp release-0.11 pkg/reconciler/workload/namespace (there: removal after 5 s).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.kinds import NAMESPACE_SCHEDULED, NAMESPACES, PLACEMENTS, Placement
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    NAMESPACE_PLACEMENT_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    UNSYNCED_NAMESPACES,
    synced_keys,
)
from kcp.tmc.placement.controller import chosen_keys


def decide(namespace: JSONObject, placements: Sequence[Placement], *, now: str) -> JSONObject:
    """The namespace with labels, annotations and condition for the placements that select it. Pure."""
    wanted: JSONObject = meta.copy_json(namespace)
    mine = [p for p in placements if p.selects(namespace)]
    keys = sorted({key for p in mine for key in p.chosen})
    meta.set_annotation(wanted, NAMESPACE_PLACEMENT_ANNOTATION, "" if mine else None)
    for key in keys:
        meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
        meta.set_annotation(wanted, DELETION_ANNOTATION + key, None)
    for key in synced_keys(namespace):
        if key not in keys and DELETION_ANNOTATION + key not in meta.annotations(namespace):
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
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        namespace = self.get(key)
        if namespace is None or key.name in UNSYNCED_NAMESPACES or meta.deletion_timestamp(namespace):
            return Result()
        wanted = decide(namespace, self.placements(key.cluster), now=rfc3339(self.clock.now()))
        await commit_both(self.for_cluster(key.cluster).resource(NAMESPACES), namespace, wanted)
        return Result()


def build_namespace_scheduler(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    namespaces = informers.informer(NAMESPACES)
    placements = informers.informer(PLACEMENTS)

    def placements_of(cluster: ClusterName) -> Sequence[Placement]:
        return [Placement.of(p, chosen_keys(p)) for p in placements.list(cluster=cluster) if not meta.deletion_timestamp(p)]

    def of_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(ns) for ns in namespaces.list(cluster=key.cluster)]

    reconciler = NamespaceReconciler(namespaces.get, placements_of, for_cluster, clock)
    controller = Controller("tmc-namespace", reconciler.reconcile, clock=clock, workers=4)
    controller.watch(namespaces)
    controller.watch(placements, of_workspace)
    return controller
