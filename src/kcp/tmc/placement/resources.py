"""Resource controller: objects follow their namespace to its targets, and divided replicas follow the decision.

One pure decision per object: state labels, deletion annotations, and for Deployments a spec diff per target with its share of the replicas.
Source: kcp release-0.11 pkg/reconciler/workload/resource; the deployment coordinator of kcp-dev/contrib-tmc for the shares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit, commit_own
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET
from kcp.tmc.model.kinds import DIVIDED, SYNC_TARGETS
from kcp.tmc.model.moves import Move, halt, may_run, pinned_only, pins
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    OVERRIDE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    PROJECTED_ANNOTATION,
    SHARES_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    UNPLACED_ANNOTATION,
    WAITING_ANNOTATION,
    chosen_keys,
    forget_report,
    forget_target,
    held_keys,
    is_leaving,
    keys_with,
    sync_target_key,
    synced_keys,
    upsyncing_key,
)
from kcp.tmc.model.shifts import SHIFT_ANNOTATION, Shift, Stage
from kcp.tmc.model.sources import ONLY_ANNOTATION, is_meant
from kcp.tmc.model.wishes import exclusive_of, left_out
from kcp.tmc.placement.changes import Changes, Overrides, told_of
from kcp.tmc.placement.exclusive import Lease, Leases, Turn, candidate, surely_gone, turn_of
from kcp.tmc.placement.handover import handing_over, limit_of
from kcp.tmc.placement.readiness import JUDGED, ready_by_key
from kcp.tmc.placement.shares import Shares, pod_requests, share, share_of, unplaced
from kcp.tmc.placement.upsynced import UpsyncedReconciler
from kcp.tmc.projection.spec import Mark

_DEPLOYMENTS = GVR("apps", "v1", "deployments")


def chosen_for(
    obj: JSONObject, namespace: JSONObject | None, gone: Collection[str], names: Mapping[str, str], resource: GroupResource
) -> list[str]:  # fmt: skip
    """K of the targets of its namespace that the object's own annotations do not leave out. Pure."""
    if namespace is None or meta.deletion_timestamp(obj):
        return []
    found = (key for key in synced_keys(namespace) if key not in gone and not is_leaving(namespace, key) and is_meant(obj, namespace, key))
    return [key for key in found if not left_out(obj, names.get(key, "")) and may_run(obj, namespace, key, resource)]


def decide(  # noqa: PLR0913 - what an object depends on, spelled out
    obj: JSONObject, namespace: JSONObject | None, *, divided: bool, now: str, resource: GVR = _DEPLOYMENTS, gone: Collection[str] = (),
    names: Mapping[str, str] = MappingProxyType({}), turn: Turn | None = None, projected: Mapping[str, Mark] = MappingProxyType({}),
) -> JSONObject:  # fmt: skip
    """The object with labels and annotations for the targets of its namespace and those it is projected to, but for what its own
    annotations leave out. Pure.

    What OverridePolicies and projections make of it is added by `ResourceReconciler`.

    Args: namespace: None if it is gone (then nothing new is placed). divided: `spec.replicas` is shared out. names: K → SyncTarget name.
    gone: K of targets whose SyncTarget was deleted: nobody is left to answer for them, so they are forgotten; what runs there stays.
    turn: of an exclusive object. projected: K → the projections that want a copy there; none of an exclusive object.
    """
    wanted: JSONObject = meta.copy_json(obj)
    forgotten = {*gone, *turn.dropped} if turn is not None else set(gone)
    for key in forgotten:
        forget_target(wanted, key)
    placed = chosen_for(obj, namespace, gone, names, resource.group_resource)
    if turn is not None:
        placed = [turn.key] if turn.key else []
    if turn is not None or WAITING_ANNOTATION in meta.annotations(obj):
        meta.set_annotation(wanted, WAITING_ANNOTATION, (turn.waits or None) if turn is not None else None)
    copied = [] if meta.deletion_timestamp(obj) else [key for key in projected if key not in gone and not left_out(obj, names.get(key, ""))]
    staying = sorted({*placed, *copied})
    for key in staying:
        meta.set_label(wanted, STATE_LABEL + key, STATE_SYNC)
    called_back = _call_back(wanted, staying, resource.group_resource)
    for key in {*keys_with(meta.annotations(obj), PROJECTED_ANNOTATION), *copied}:
        meta.set_annotation(wanted, PROJECTED_ANNOTATION + key, projected[key].to_json() if key in copied else None)
    for key in synced_keys(obj):
        if key not in staying and key not in forgotten and DELETION_ANNOTATION + key not in meta.annotations(obj):
            meta.set_annotation(wanted, DELETION_ANNOTATION + key, now)
    move = Move.of(obj)
    halt(wanted, move, resource)
    if divided:
        leaving = handing_over(namespace or {})
        for key in staying:
            if key not in placed:
                meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, None)  # a projected copy is whole
        if move is None or move.is_sharing(placed):
            kept = [] if turn is not None else [key for key in placed if key in leaving or (move is not None and move.takes_no_share(key))]
            shares = Shares.from_json(meta.annotations(namespace or {}).get(SHARES_ANNOTATION))
            is_alone = move is None and len(placed) == 1
            sharing = [key for key in placed if key not in kept]
            limit_s, is_free = limit_of(namespace or {}), turn is None and move is None
            _share_out(obj, wanted, Sharing(sharing, called_back, shares, names, is_alone, is_free, limit_s, now))
    return wanted


def _call_back(wanted: JSONObject, staying: Collection[str], resource: GroupResource) -> Collection[str]:
    """Those of the targets that had been told to remove their copy, and are not any more. What they said of it no longer counts."""
    found = [key for key in staying if DELETION_ANNOTATION + key in meta.annotations(wanted)]
    for key in found:
        meta.set_annotation(wanted, DELETION_ANNOTATION + key, None)
        if resource in JUDGED:
            forget_report(wanted, key)
    return found


@dataclass(frozen=True, slots=True)
class Sharing:
    """What decides on the replicas of one workload, beside itself."""

    keys: Sequence[str]
    """K of the targets that share them."""
    called_back: Collection[str]
    """Of them those that had been told to remove their copy: it may be gone already, or go yet."""
    shares: Shares | None
    names: Mapping[str, str]
    is_alone: bool
    """On one target, which then needs no spec diff."""
    is_free: bool
    """Nobody else says how its replicas move."""
    hand_over_s: float
    now: str
    """RFC 3339."""


def _share_out(obj: JSONObject, wanted: JSONObject, by: Sharing) -> None:
    """A spec diff with its share of the replicas for each target; one that leaves keeps what it had until it is gone."""
    total = int(meta.nested(wanted, "spec", "replicas", default=1))
    current = {key: held for key in by.keys if key not in by.called_back and (held := share_of(obj, key)) is not None}
    placed, shift = _moved(obj, current, total, by) if by.is_free else (_placed(obj, current, total, by), None)
    for key, number in placed.items():
        is_all = by.is_alone and number == total  # a diff would say what the spec says, and be one more write for each change
        diff = None if is_all else json.dumps([{"op": "replace", "path": "/replicas", "value": number}], separators=(",", ":"))
        meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, diff)
    meta.set_annotation(wanted, SHIFT_ANNOTATION, shift.to_json() if shift is not None else None)
    told = shift.after if shift is not None and shift.stage is Stage.MOVING else placed
    meta.set_annotation(wanted, UNPLACED_ANNOTATION, unplaced(total, by.shares, told))


def _placed(obj: JSONObject, current: Mapping[str, int], total: int, by: Sharing) -> Mapping[str, int]:
    pod = pod_requests(obj) if by.shares is not None else {}
    return share(total, by.keys, by.shares, current=current, pod=pod, names=by.names)


def _moved(obj: JSONObject, current: Mapping[str, int], total: int, by: Sharing) -> tuple[Mapping[str, int], Shift | None]:
    """Shares, and the move that leads to them: what goes from one target to another is ready there before it goes here."""
    held = Shift.of(obj)
    if held is not None and not held.is_about(by.keys, total):
        held = None
    if held is not None and held.stage is Stage.MOVING and current not in (held.before, held.during):
        held = None
    shift = held.stepped(ready_by_key(obj, by.keys), parse_rfc3339(by.now)) if held is not None else None
    if shift is not None and shift.stage is Stage.MOVING:
        return shift.during, shift
    if shift is not None and shift != held:
        return (shift.after if shift.stage is Stage.DONE else shift.before), shift
    placed = _placed(obj, current, total, by)
    change = [number - current.get(key, 0) for key, number in placed.items()]
    if by.hand_over_s <= 0 or min(change, default=0) >= 0 or max(change) <= 0:
        return placed, shift
    now = parse_rfc3339(by.now)
    before, until = {key: current.get(key, 0) for key in by.keys}, now + timedelta(seconds=by.hand_over_s)
    fresh = Shift(before, dict(placed), total, Stage.MOVING, now, until, is_optional=False)
    return fresh.during, fresh


def _time_left_s(shift: Shift, now: datetime) -> float | None:
    return max((shift.until - now).total_seconds(), 0.0) + 0.01 if shift.stage is Stage.MOVING else None


def _state(namespace: JSONObject) -> tuple[object, ...]:
    """What of a namespace its objects follow."""
    leaving, told = {k: is_leaving(namespace, k) for k in synced_keys(namespace)}, meta.annotations(namespace)
    shares = [told.get(SHARES_ANNOTATION), told.get(ONLY_ANNOTATION)]
    return leaving, set(handing_over(namespace)), shares, pinned_only(namespace), pins(namespace)


def put_overrides(wanted: JSONObject, key: str, found: Overrides | None) -> None:
    """Write them on the object. With an error the last good patch stays, and the view holds the copy back."""
    error = json.dumps(found.error.to_object(), separators=(",", ":"), sort_keys=True) if found and found.error else None
    meta.set_annotation(wanted, OVERRIDE_ERROR_ANNOTATION + key, error)
    if error is None:
        patch = json.dumps(found.patch, separators=(",", ":")) if found and found.patch else None
        meta.set_annotation(wanted, OVERRIDE_ANNOTATION + key, patch)


@dataclass(frozen=True, slots=True)
class ResourceReconciler:
    """For one resource, over all workspaces."""

    gvr: GVR
    get: Callable[[ObjectKey], JSONObject | None]
    namespace: Callable[[ObjectKey], JSONObject | None]
    name_of: Callable[[str], str]
    """K → name of its SyncTarget, "" if there is none."""
    projected: Callable[[JSONObject], Mapping[str, Mark]]
    """K → the projections that want a copy of an object there."""
    overrides: Callable[[JSONObject, str], Overrides | None]
    """What OverridePolicies and projections make of an object for target K; None where there are none."""
    leases: Leases
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None:
            return Result()
        shown_by = upsyncing_key(obj)
        if shown_by and not self.name_of(shown_by):
            return await UpsyncedReconciler(self.gvr, self.get, self.name_of, self.for_cluster).reconcile(key)
        namespace = None if shown_by else self.namespace(ObjectKey(key.cluster, "", key.namespace))
        gone = [key for key in held_keys(obj) if not self.name_of(key)]
        is_exclusive = exclusive_of(obj) is not None
        projected = {} if is_exclusive else self.projected(obj)
        names = {key: self.name_of(key) for key in (*(synced_keys(namespace) if namespace is not None else ()), *projected)}
        divided, turn = self.gvr.group_resource in DIVIDED and not shown_by, None
        if is_exclusive and not meta.deletion_timestamp(obj):
            turn = await self._turn(obj, namespace, gone, names)
            gone = surely_gone(self.gvr.group_resource, obj, gone, self.clock.now())
        now = rfc3339(self.clock.now())
        wanted = decide(obj, namespace, divided=divided, now=now, resource=self.gvr, gone=gone, names=names, turn=turn, projected=projected)
        for target in synced_keys(wanted):
            if not is_leaving(wanted, target):
                put_overrides(wanted, target, self.overrides(wanted, target))
        write = commit if is_exclusive else commit_own  # an exclusive object's marks must be those of the object that was looked at
        await write(self.for_cluster(key.cluster).resource(self.gvr), obj, wanted)
        if turn is not None:
            return Result(requeue_after_s=turn.look_again_s)
        shift = Shift.of(wanted) if divided else None
        return Result(requeue_after_s=_time_left_s(shift, self.clock.now()) if shift is not None else None)

    async def _turn(self, obj: JSONObject, namespace: JSONObject | None, gone: Sequence[str], names: Mapping[str, str]) -> Turn:
        staying = chosen_for(obj, namespace, gone, names, self.gvr.group_resource)
        first = candidate(obj, staying, handing_over(namespace or {}), names)
        return await turn_of(self.gvr.group_resource, obj, first, self.leases, self.clock.now()) if first else Turn()


def build_resource_controller(
    gvr: GVR, objects: Informer, namespaces: Informer, targets: Informer, changes: Changes,
    for_cluster: Callable[[ClusterName], Client], *, clock: Clock,
) -> Controller:  # fmt: skip
    """Args: gvr: without identity. objects: of that resource over all workspaces, with index BY_TARGET. targets: with index BY_KEY."""

    def of_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        states = [_state(ns) if ns is not None else None for ns in (old, new)]
        if states[0] == states[1]:
            return []
        return [meta.key(obj) for obj in objects.list(cluster=key.cluster, namespace=key.name)]

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """It went, or something changed that policies and projections may ask for."""
        if new is not None and (old is None or told_of(old) == told_of(new)):
            return []
        found = objects.index_keys(BY_TARGET, sync_target_key(key.cluster, key.name))
        return found if new is None else [k for k in found if changes.concern(k)]

    def of_policy(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return objects.keys(cluster=key.cluster, namespace=key.namespace)

    def of_projection(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Whatever it may select, if its spec or its clusters changed."""
        seen = [(meta.uid(p), meta.generation(p), chosen_keys(p)) if p is not None else None for p in (old, new)]
        return objects.keys(cluster=key.cluster) if seen[0] != seen[1] else []

    def name_of(key: str) -> str:
        return next((found.name for found in targets.index_keys(BY_KEY, key)), "")

    async def lease_of(key: str) -> Lease | None:
        found = next(iter(targets.index_keys(BY_KEY, key)), None)
        try:
            return Lease.of(await for_cluster(found.cluster).resource(SYNC_TARGETS).get(found.name)) if found is not None else None
        except NotFound:
            return None

    def projected(obj: JSONObject) -> Mapping[str, Mark]:
        return changes.wanted_by(obj, name_of(shown_by) if (shown_by := upsyncing_key(obj)) else "")

    reconciler = ResourceReconciler(gvr, objects.get, namespaces.get, name_of, projected, changes.of, lease_of, for_cluster, clock)
    controller = Controller(f"tmc-resource-{gvr.resource}", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(objects)
    controller.watch(namespaces, of_namespace)
    controller.watch(targets, of_target)
    controller.watch(changes.policies, of_policy)
    if changes.projections is not None:
        controller.watch(changes.projections.informer, of_projection)
    return controller
