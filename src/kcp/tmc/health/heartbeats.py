"""SyncTargetHeartbeats: the heartbeat of a SyncTarget as an object of its own, kept in step with the SyncTarget's status.

Who writes either is heard: a beat that is newer in the one is written to the other, with what it tells of the cluster. That a beat is late
is said by this controller's clock, from when it saw it.
Before: `server.tmc`. After: `synctargets`, which decides on readiness by the SyncTarget's status.
Source: the TMC reference §2.1 (SyncTargetHeartbeat).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.aio.durations import parse_duration
from kcp.apimachinery import conditions, meta, quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.kinds import READY, SYNC_TARGET_HEARTBEATS, SYNC_TARGETS, SYNCER_READY

BY_SUBJECT = "tmc-heartbeat-of"
"""Of SyncTargetHeartbeats: `str(key)` of the SyncTarget."""
LATE_AFTER = 2.0
"""Intervals without a beat."""
_USAGE = (("cpuUsage", "cpu", 1000), ("memoryUsage", "memory", 1), ("storageUsage", "ephemeral-storage", 1), ("podCount", "pods", 1))
"""Field, resource of the SyncTarget's usage, and how many of the field's units make one of the resource."""


def interval_s(obj: Mapping[str, Any]) -> float:
    """Seconds. Raises ValueError."""
    return parse_duration(str(meta.nested(obj, "spec", "heartbeatInterval", default="30s")))


def faults(obj: Mapping[str, Any]) -> Iterable[Cause]:
    told = meta.nested(obj, "spec", "heartbeatInterval", default="30s")
    try:
        if interval_s(obj) <= 0:
            yield Cause.invalid("spec.heartbeatInterval", told, "must be more than 0")
    except ValueError as error:
        yield Cause.invalid("spec.heartbeatInterval", told, str(error))


def _time(told: object) -> datetime | None:
    try:
        return parse_rfc3339(told) if isinstance(told, str) else None
    except ValueError:
        return None


def is_news(beat: Mapping[str, Any], than: Mapping[str, Any]) -> bool:
    """Whether a SyncTargetHeartbeat tells of a later beat than its SyncTarget."""
    told, known = _told(beat), _time(meta.nested(than, "status", "lastSyncerHeartbeatTime", default=None))
    return told is not None and (known is None or told > known)


def _told(beat: Mapping[str, Any]) -> datetime | None:
    return _time(meta.nested(beat, "status", "lastHeartbeatTime", default=None))


def carried_over(beat: JSONObject, target: JSONObject, now: str) -> JSONObject:
    """The SyncTarget with what its heartbeat tells. Pure."""
    wanted: JSONObject = meta.copy_json(target)
    status, told = meta.ensure(wanted, "status"), beat.get("status") or {}
    status["lastSyncerHeartbeatTime"] = told["lastHeartbeatTime"]
    if told.get("syncerIdentifier"):
        status["syncerIdentifier"] = told["syncerIdentifier"]
    health = told.get("clusterHealth")
    if health is None:
        return wanted
    if health.get("nodeCount") is not None:
        meta.ensure(status, "clusterInfo")["nodes"] = health["nodeCount"]
    for name, resource, unit in _USAGE:
        amount = (health.get("resourceUsage") or {}).get(name)
        if amount is not None:
            meta.ensure(status, "usage")[resource] = f"{amount}m" if unit == 1000 else str(amount)
    state, reason = (conditions.TRUE, "SyncerConnected") if health.get("ready") else (conditions.FALSE, "ClusterNotReady")
    message = "" if health.get("ready") else f"SyncTargetHeartbeat {meta.name(beat)} says that the cluster is not ready"
    condition = conditions.build(SYNCER_READY, state, reason=reason, message=message, severity="Error", now=now)
    conditions.set_condition(wanted, condition)
    return wanted


def shown(beat: JSONObject, target: JSONObject | None, left_s: float, now: str) -> JSONObject:
    """The SyncTargetHeartbeat with what its SyncTarget tells. Pure. Args: left_s: seconds until the last beat is late."""
    wanted: JSONObject = meta.copy_json(beat)
    status = meta.ensure(wanted, "status")
    if target is not None and (known := _time(meta.nested(target, "status", "lastSyncerHeartbeatTime", default=None))) is not None:
        told = _told(beat)
        if told is None or known > told:
            status |= _of_target(target)
    reason, message = _fault(wanted, target, left_s)
    state = conditions.FALSE if reason else conditions.TRUE
    conditions.set_condition(wanted, conditions.build(READY, state, reason=reason, message=message, severity="Warning", now=now))
    return wanted


def _of_target(target: JSONObject) -> JSONObject:
    held = target.get("status") or {}
    found: JSONObject = {"lastHeartbeatTime": held["lastSyncerHeartbeatTime"]}
    if held.get("syncerIdentifier"):
        found["syncerIdentifier"] = held["syncerIdentifier"]
    health: JSONObject = {"ready": conditions.is_true(target, SYNCER_READY)}
    if (nodes := meta.nested(held, "clusterInfo", "nodes", default=None)) is not None:
        health["nodeCount"] = nodes
    usage = {name: number for name, resource, unit in _USAGE if (number := _number(held, resource, unit)) is not None}
    found["clusterHealth"] = health | ({"resourceUsage": usage} if usage else {})
    return found


def _number(status: Mapping[str, Any], resource: str, unit: int) -> int | None:
    try:
        return int(quantity.parse(status["usage"][resource]) * unit)
    except (quantity.QuantityError, KeyError, TypeError):
        return None  # not told, or not to be counted


def _fault(beat: JSONObject, target: JSONObject | None, left_s: float) -> tuple[str, str]:
    name = meta.nested(beat, "spec", "syncTarget", default="")
    if target is None:
        return "SyncTargetNotFound", f'there is no SyncTarget "{name}" in this workspace'
    if _told(beat) is None:
        return "NoHeartbeat", "no heartbeat was ever received"
    if left_s <= 0:
        return "HeartbeatLate", f"no heartbeat for {LATE_AFTER:g} times {meta.nested(beat, 'spec', 'heartbeatInterval', default='30s')}"
    return "", ""


@dataclass(slots=True)
class _Sights:
    """When each beat was first seen."""

    _seen: dict[ObjectKey, tuple[str, float]] = field(default_factory=dict)

    def age_s(self, key: ObjectKey, beat: str, now_s: float) -> float:
        held = self._seen.get(key)
        if held is None or held[0] != beat:
            held = self._seen[key] = beat, now_s
        return now_s - held[1]

    def forget(self, key: ObjectKey) -> None:
        self._seen.pop(key, None)


@dataclass(frozen=True, slots=True)
class HeartbeatReconciler:
    """Keys are those of SyncTargetHeartbeats."""

    get: Callable[[ObjectKey], JSONObject | None]
    target: Callable[[ObjectKey], JSONObject | None]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    sights: _Sights = field(default_factory=_Sights)

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            self.sights.forget(key)
            return Result()
        workspace, now = self.for_cluster(key.cluster), rfc3339(self.clock.now())
        target = self.target(ObjectKey(key.cluster, "", obj["spec"]["syncTarget"]))
        if target is not None and is_news(obj, target):
            target = await commit(workspace.resource(SYNC_TARGETS), target, carried_over(obj, target, now))
        latest = shown(obj, target, 1.0, now)["status"].get("lastHeartbeatTime", "")
        left_s = _interval_s(obj) * LATE_AFTER - self.sights.age_s(key, latest, self.clock.monotonic())
        wanted = shown(obj, target, left_s, now)
        if wanted["status"] != obj.get("status"):  # which is no subresource: it is written as anything else is
            metadata = {"uid": meta.uid(obj), "resourceVersion": meta.resource_version(obj)}
            await workspace.resource(SYNC_TARGET_HEARTBEATS).patch(key.name, {"metadata": metadata, "status": wanted["status"]})
        return Result(requeue_after_s=left_s + 0.01 if latest and left_s > 0 else None)


def _interval_s(obj: JSONObject) -> float:
    """What got in though it is none, counts as the default."""
    try:
        return interval_s(obj)
    except ValueError:
        return 30.0


def build_heartbeat_controller(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    def subject(obj: Mapping[str, Any]) -> list[str]:
        return [str(ObjectKey(meta.cluster(obj), "", meta.nested(obj, "spec", "syncTarget", default="")))]

    beats = informers.informer(SYNC_TARGET_HEARTBEATS, indexers={BY_SUBJECT: subject})
    targets = informers.informer(SYNC_TARGETS)

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return beats.index_keys(BY_SUBJECT, str(key))

    controller = Controller("synctarget-heartbeat", HeartbeatReconciler(beats.get, targets.get, for_cluster, clock).reconcile, clock=clock)
    controller.watch(beats)
    controller.watch(targets, of_target)
    return controller
