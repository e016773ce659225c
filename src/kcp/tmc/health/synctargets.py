"""SyncTarget controller: key label, virtual workspace URL, times of taints, and readiness from heartbeat and syncer report.

The syncer writes `lastSyncerHeartbeatTime` and condition SyncerReady; this controller alone writes HeartbeatHealthy, ClockSynchronized and
the summary Ready.
How old a heartbeat is says this controller's clock, from when it saw the heartbeat change: what the clock of the cluster says does not
matter, and nobody is late for the time in which the control plane itself was away.
Source: kcp release-0.11 pkg/reconciler/workload/{heartbeat,synctarget}, whose summary leaves out what nobody reports; for the age of
heartbeats k8s.io/kubernetes/pkg/controller/nodelifecycle/node_lifecycle_controller.go (probeTimestamp).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.events import NORMAL, WARNING, EventRecorder
from kcp.controller.factory import InformerFactory
from kcp.tmc.health.clocks import Sight, tell_clock
from kcp.tmc.model.kinds import CLOCK_SYNCHRONIZED, HEARTBEAT_HEALTHY, READY, SYNC_TARGETS, SYNCER_READY, SyncTarget
from kcp.tmc.model.names import KEY_LABEL, sync_target_key

REPORTED = (SYNCER_READY, "APIImporterReady")
"""What a syncer may say of itself; that of kcp 0.11 says nothing beyond its heartbeat."""


def has_reported(target: JSONObject) -> bool:
    """Whether a syncer was ever there."""
    return conditions.get(target, SYNCER_READY) is not None or bool(meta.nested(target, "status", "lastSyncerHeartbeatTime", default=""))


@dataclass(frozen=True, kw_only=True, slots=True)
class HeartbeatConfig:
    threshold_s: float = 60.0
    """Without a heartbeat for so long a SyncTarget is NotReady; kcp 0.11's."""
    skew_limit_s: float = 10.0
    """How far the clock of a syncer may be off before it is told; a report may take as long."""
    monitored: bool = True
    """Off: readiness follows the syncer's own report alone."""


def decide(
    obj: JSONObject, *, now: datetime, seen: datetime | None, threshold_s: float, server_url: str, monitored: bool
) -> tuple[JSONObject, float | None]:
    """The SyncTarget as it should be, and the seconds until its heartbeat would be late. Pure.

    Args:
    seen: when the heartbeat that it has was first seen, by the same clock as `now`; None: it was found so, late already.
    monitored: whether health monitoring is on; off, readiness follows the syncer's own report alone.
    """
    wanted: JSONObject = meta.copy_json(obj)
    target = SyncTarget.of(obj)
    meta.set_label(wanted, KEY_LABEL, sync_target_key(target.cluster, target.name))
    below = f"{target.cluster}/{target.name}/{target.uid}"
    urls = {f"{view}URL": f"{server_url}/services/{view}/{below}" for view in ("syncer", "upsyncer")}
    meta.ensure(wanted, "status")["virtualWorkspaces"] = [urls]
    stamp = rfc3339(now)
    for taint in meta.nested(wanted, "spec", "taints", default=()):
        if taint.get("effect") == "NoExecute" and not taint.get("timeAdded"):
            taint["timeAdded"] = stamp  # tolerations for a time count from here
    due_s: float | None = None
    if monitored:
        heartbeat, due_s = _heartbeat(target, now, seen, threshold_s)
        conditions.set_condition(wanted, heartbeat)
    checks = [*([HEARTBEAT_HEALTHY] if monitored else ()), *(kind for kind in REPORTED if conditions.get(obj, kind) is not None)]
    if not has_reported(obj):
        message = "no syncer has reported yet: start workload-syncer for this SyncTarget"
        unknown = conditions.build(READY, conditions.FALSE, reason="SyncerNotConnected", message=message, severity="Info", now=stamp)
        conditions.set_condition(wanted, unknown)
    else:
        conditions.summarize(wanted, checks, now=stamp)
    return wanted, due_s


def _heartbeat(target: SyncTarget, now: datetime, seen: datetime | None, threshold_s: float) -> tuple[JSONObject, float | None]:
    stamp = rfc3339(now)
    if target.heartbeat is None:
        message = "no heartbeat was ever received"
        return conditions.build(
            HEARTBEAT_HEALTHY, conditions.FALSE, reason="ErrorHeartbeat", message=message, severity="Info", now=stamp
        ), None
    left_s = threshold_s - (now - seen).total_seconds() if seen is not None else 0.0
    if left_s > 0:
        return conditions.build(HEARTBEAT_HEALTHY, conditions.TRUE, now=stamp), left_s
    message = f"no heartbeat for more than {threshold_s:.0f} s (last at {rfc3339(target.heartbeat)}): is the syncer running?"
    return conditions.build(
        HEARTBEAT_HEALTHY, conditions.FALSE, reason="ErrorHeartbeat", message=message, severity="Warning", now=stamp
    ), None


@dataclass(slots=True)
class _Seen:
    """Heartbeats as they change under this controller's eyes."""

    _last: dict[ObjectKey, Sight] = field(default_factory=dict)

    def at(self, key: ObjectKey, obj: JSONObject, now: datetime) -> Sight:
        """The present heartbeat. One found at the start counts as seen then, unless it was late before."""
        uid, heartbeat = meta.uid(obj), str(meta.nested(obj, "status", "lastSyncerHeartbeatTime", default=""))
        held = self._last.get(key)
        if held is None or held.uid != uid:
            was_late = conditions.is_false(obj, HEARTBEAT_HEALTHY)
            held = self._last[key] = Sight(uid, heartbeat, None if was_late else now)
        elif held.heartbeat != heartbeat:
            held = self._last[key] = held.followed_by(heartbeat, now)
        return held

    def forget(self, key: ObjectKey) -> None:
        self._last.pop(key, None)


@dataclass(frozen=True, slots=True)
class SyncTargetReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    server_url: str
    config: HeartbeatConfig
    events: EventRecorder
    seen: _Seen = field(default_factory=_Seen)

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            self.seen.forget(key)
            return Result()
        now, config = self.clock.now(), self.config
        sight = self.seen.at(key, obj, now)
        wanted, due_s = decide(
            obj, now=now, seen=sight.seen, threshold_s=config.threshold_s, server_url=self.server_url, monitored=config.monitored
        )
        if config.monitored:
            tell_clock(wanted, sight.skew_s, config.skew_limit_s, now)
        client = self.for_cluster(key.cluster).resource(SYNC_TARGETS)
        await commit_both(client, obj, wanted)
        await self._remark(obj, wanted)
        return Result(requeue_after_s=due_s + 0.01 if due_s is not None else None)

    async def _remark(self, before: JSONObject, after: JSONObject) -> None:
        """An event when a clock goes wrong, and when it is right again."""
        was_wrong, is_wrong = (conditions.is_false(obj, CLOCK_SYNCHRONIZED) for obj in (before, after))
        if was_wrong == is_wrong:
            return
        about = {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", **before}
        told = conditions.get(after, CLOCK_SYNCHRONIZED) or {}
        if is_wrong:
            await self.events.record(about, kind=WARNING, reason=str(told["reason"]), message=str(told["message"]))
        else:
            message = "the clock where the syncer runs agrees with the control plane's again"
            await self.events.record(about, kind=NORMAL, reason=CLOCK_SYNCHRONIZED, message=message)


def build_synctarget_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    clock: Clock,
    server_url: str,
    config: HeartbeatConfig,
) -> Controller:
    """Args: server_url: where syncers reach this server, without a trailing slash."""
    targets = informers.informer(SYNC_TARGETS)
    events = EventRecorder(for_cluster, component="synctarget", clock=clock)
    reconciler = SyncTargetReconciler(targets.get, for_cluster, clock, server_url, config, events)
    controller = Controller("synctarget", reconciler.reconcile, clock=clock, workers=4)
    controller.watch(targets)
    return controller
