"""Namespace scheduler: carries placement decisions to namespaces, as the state labels that everything below follows.

A target that is no longer chosen gets a deletion annotation; its label goes when its syncer says the copy is gone (`tmc.view`), never
after a fixed time.
Source: kcp release-0.11 pkg/reconciler/workload/namespace (there: removal after 5 s).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

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
from kcp.tmc.model.moves import PIN_ANNOTATION, PINNED_ONLY_ANNOTATION, keep_pins, pins
from kcp.tmc.model.names import (
    DEFAULT_HANDOVER_S,
    DELETION_ANNOTATION,
    HANDOVER_ANNOTATION,
    HANDOVER_SECONDS_ANNOTATION,
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
from kcp.tmc.model.sources import ONLY_ANNOTATION, collect, is_meant, to_text
from kcp.tmc.model.views import Views
from kcp.tmc.placement.handover import LOOK_AGAIN_S, Workloads, handing_over, has_taken_over, left_s
from kcp.tmc.placement.shares import Shares, combine

Waits: TypeAlias = Callable[[JSONObject, str, Sequence[str], float], bool]
"""(namespace, K of the target that is left, K of those that take over, most seconds to wait) → whether it must stay for now."""
BY_HANDOVER = "tmc-handover"
"""Of namespaces: `str(key)` → itself, while it waits for a hand-over or is pinned by a migration."""


def _at_once(namespace: JSONObject, key: str, takers: Sequence[str], limit_s: float) -> bool:  # noqa: ARG001 - the shape of a wait
    return False


def decide(
    namespace: JSONObject, placements: Sequence[Placement], *, now: str, gone: Collection[str] = (), waits: Waits = _at_once,
    workloads: frozenset[str] | None = None,
) -> JSONObject:  # fmt: skip
    """The namespace with labels, annotations and condition for the placements that select it. Pure.

    Args: gone: K of targets whose SyncTarget was deleted: nobody is left to answer for them, so they are forgotten.
    waits: whether the copies on a target that is left must stay for now. workloads: names of those in the namespace, for its pins; None:
    not known yet.
    """
    wanted: JSONObject = meta.copy_json(namespace)
    for key in gone:
        forget_target(wanted, key)
    mine = [p for p in placements if p.selects(namespace)]
    chosen = {key for p in mine for key in p.chosen}
    keep_pins(wanted, workloads)
    pinned = {key for key in pins(wanted) if key not in gone} - chosen
    keys = sorted(chosen | pinned)
    meta.set_annotation(wanted, PINNED_ONLY_ANNOTATION, ",".join(sorted(pinned)) or None)
    meta.set_annotation(wanted, NAMESPACE_PLACEMENT_ANNOTATION, "" if mine else None)
    meta.set_annotation(wanted, ONLY_ANNOTATION, to_text(collect((p.source, p.chosen) for p in mine)))
    whole_first = sorted(mine, key=lambda p: p.source is not None)
    shares = combine(s for p in whole_first if (s := Shares.from_json(p.shares)) is not None)
    meta.set_annotation(wanted, SHARES_ANNOTATION, shares.to_json() if shares is not None else None)
    for key in keys:
        meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
        meta.set_annotation(wanted, DELETION_ANNOTATION + key, None)
        meta.set_annotation(wanted, HANDOVER_ANNOTATION + key, None)
    limit_s = max((p.hand_over_s for p in mine), default=DEFAULT_HANDOVER_S)
    meta.set_annotation(wanted, HANDOVER_SECONDS_ANNOTATION, None if limit_s == DEFAULT_HANDOVER_S else f"{limit_s:g}")
    for key in synced_keys(namespace):
        if key in keys or key in gone or DELETION_ANNOTATION + key in meta.annotations(namespace):
            continue
        if keys and waits(wanted, key, keys, limit_s):
            meta.set_annotation(wanted, HANDOVER_ANNOTATION + key, handing_over(namespace).get(key, now))
        else:
            meta.set_annotation(wanted, HANDOVER_ANNOTATION + key, None)
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, now)
    if mine or conditions.get(namespace, NAMESPACE_SCHEDULED) is not None:
        conditions.set_condition(wanted, _scheduled(mine, keys, now))
    return wanted


def _scheduled(mine: Sequence[Placement], keys: Sequence[str], now: str) -> JSONObject:
    if keys:
        return conditions.build(NAMESPACE_SCHEDULED, conditions.TRUE, now=now)
    told = "; ".join(f"placement {p.name}: {p.refusal or 'not decided yet'}" for p in mine)
    message = f"No available sync targets: {told}" if mine else "No available placements"
    return conditions.build(NAMESPACE_SCHEDULED, conditions.FALSE, reason="Unschedulable", message=message, severity="Info", now=now)


@dataclass(frozen=True, slots=True)
class NamespaceReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    placements: Callable[[ClusterName], Sequence[Placement]]
    is_target: Callable[[str], bool]
    """Whether a SyncTarget with this K exists."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    workloads: Workloads
    name_of: Callable[[str], str]
    """K → name of its SyncTarget, "" if there is none."""

    async def reconcile(self, key: ObjectKey) -> Result:
        namespace = self.get(key)
        if namespace is None or key.name in UNSYNCED_NAMESPACES or meta.deletion_timestamp(namespace):
            return Result()
        gone = [k for k in held_keys(namespace) if not self.is_target(k)]
        now = self.clock.now()
        due: list[float] = []

        def waits(held: JSONObject, leaving: str, takers: Sequence[str], limit_s: float) -> bool:
            time_s = left_s(held, leaving, now, limit_s)
            if time_s <= 0:
                return False
            known = self.workloads.has_synced
            held_by = self.workloads.in_namespace(key)
            if known and has_taken_over(held_by, leaving, takers, self.name_of, lambda obj, taker: is_meant(obj, held, taker)):
                return False
            due.append(time_s if known else LOOK_AGAIN_S)
            return True

        live = None
        if pins(namespace) and self.workloads.has_synced:
            live = self.workloads.claims_in(key)
        wanted = decide(namespace, self.placements(key.cluster), now=rfc3339(now), gone=gone, waits=waits, workloads=live)
        await commit_both(self.for_cluster(key.cluster).resource(NAMESPACES), namespace, wanted)
        return Result(requeue_after_s=min(due) + 0.01 if due else None)


def _index_by_handover(namespace: Mapping[str, Any]) -> list[str]:
    waiting = any(name.startswith((HANDOVER_ANNOTATION, PIN_ANNOTATION)) for name in meta.annotations(namespace))
    return [str(ObjectKey(meta.cluster(namespace), "", meta.name(namespace)))] if waiting else []


def build_namespace_scheduler(
    informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], workloads: Workloads, *, clock: Clock
) -> Controller:
    namespaces = informers.informer(NAMESPACES, indexers={BY_TARGET: index_by_target, BY_HANDOVER: _index_by_handover})
    targets = informers.informer(SYNC_TARGETS, indexers={BY_KEY: index_by_key})
    placements = informers.informer(PLACEMENTS)

    views = Views(placements, lambda obj: None if meta.deletion_timestamp(obj) else Placement.of(obj, chosen_keys(obj)))

    def placements_of(cluster: ClusterName) -> Sequence[Placement]:
        return [view for view in views.of_cluster(cluster) if view is not None]

    def of_placement(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Namespaces that it applies to, or did; none if what was written says nothing about them."""
        seen = [Placement.of(p, chosen_keys(p)) if p is not None and not meta.deletion_timestamp(p) else None for p in (old, new)]
        if seen[0] == seen[1]:
            return []
        found = (namespaces.get(k) for k in namespaces.keys(cluster=key.cluster))
        return [meta.key(ns) for ns in found if ns is not None and any(p is not None and p.selects(ns) for p in seen)]

    def of_deleted_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        target = sync_target_key(key.cluster, key.name)
        return namespaces.index_keys(BY_TARGET, target) if new is None else []

    def is_target(key: str) -> bool:
        return bool(targets.index_keys(BY_KEY, key))

    def name_of(key: str) -> str:
        return next((found.name for found in targets.index_keys(BY_KEY, key)), "")

    def of_workload(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return namespaces.index_keys(BY_HANDOVER, str(ObjectKey(key.cluster, "", key.namespace)))

    reconciler = NamespaceReconciler(namespaces.get, placements_of, is_target, for_cluster, clock, workloads, name_of)
    controller = Controller("tmc-namespace", reconciler.reconcile, clock=clock, workers=4)
    controller.watch(namespaces)
    controller.watch(placements, of_placement)
    controller.watch(targets, of_deleted_target)
    workloads.follow(lambda informer: controller.watch(informer, of_workload))
    return controller
