"""What begins recoveries by itself: a cluster that is not well, a component that is Unhealthy. At most one at a time for each.

A SyncTarget is looked at whenever it changes, so that nobody waits for the next look at health. One that could not be helped is tried
again after a while that doubles, from a minute to an hour.
Before: SyncTargets, the health monitor. After: Recovery objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.errors import ErrorType
from kcp.tmc.health.states import Check, Status
from kcp.tmc.model.kinds import READY, SYNCER_READY
from kcp.tmc.recovery.model import RECOVERIES, Recovery, State
from kcp.tmc.recovery.requests import is_well

_AGAIN_S = 60.0
_LONGEST_S = 3600.0
_SETTLE_S = 3.0
"""After one that helped: what is known here may be a little old."""
_OTHERS_LOOK_AFTER = ("ClusterHealthTracker", "SyncTargetController", "TMCSystem", "PlacementController")
"""Components whose recovery begins at their SyncTarget or Placement."""
AUTOMATIC = "tmc.kcp.io/automatic"
"""Label of recoveries that nobody asked for: the cluster or component."""


def error_of(target: JSONObject) -> ErrorType | None:
    """What is wrong with a cluster; None if nothing is, or nothing is known of it yet."""
    if conditions.get(target, SYNCER_READY) is None or is_well(target) or meta.deletion_timestamp(target):
        return None
    for condition in (SYNCER_READY, READY):
        reason = (conditions.get(target, condition) or {}).get("reason")
        if reason in set(ErrorType):
            return ErrorType(reason)
    return ErrorType.CLUSTER_UNAVAILABLE if conditions.is_true(target, READY) else ErrorType.CLUSTER_UNREACHABLE


@dataclass(frozen=True, slots=True)
class Trigger:
    """Keys are those of SyncTargets."""

    target: Callable[[ObjectKey], JSONObject | None]
    recoveries: Informer
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        target = self.target(key)
        error = error_of(target) if target is not None else None
        if target is None or error is None:
            return Result()
        if (wait_s := self._doubtful_s(target)) > 0:
            return Result(requeue_after_s=wait_s)
        return await self._begin(key.cluster, key.name, {"errorType": str(error), "clusterName": key.name})

    def _doubtful_s(self, target: JSONObject) -> float:
        """Seconds for which this may be no more than a syncer that has just come, and conditions that are about to follow."""
        if conditions.is_false(target, SYNCER_READY) or conditions.is_true(target, READY):
            return 0.0
        since = (conditions.get(target, SYNCER_READY) or {}).get("lastTransitionTime")
        return _SETTLE_S - (self.clock.now() - parse_rfc3339(since)).total_seconds() if since else 0.0

    async def looked(self, checks: Sequence[Check]) -> None:
        """After each look at health."""
        for check in checks:
            if check.status is Status.UNHEALTHY and check.component.type not in _OTHERS_LOOK_AFTER and self.recoveries.has_synced:
                spec = {"errorType": str(ErrorType.INTERNAL), "strategy": "Generic", "component": check.component.id}
                await self._begin(ROOT, check.component.id, spec)

    async def _begin(self, cluster: ClusterName, subject: str, spec: JSONObject) -> Result:
        label = re.sub(r"[^A-Za-z0-9.-]+", "-", subject)[:63].strip("-.")
        mirrored = [obj for obj in self.recoveries.list(cluster=cluster) if meta.labels(obj).get(AUTOMATIC) == label]
        if (result := self._not_now(mirrored)) is not None:
            return result
        resource = self.for_cluster(cluster).resource(RECOVERIES)
        try:
            listed = await resource.list(label_selector=f"{AUTOMATIC}={label}")
        except NotFound:
            return Result()  # a workspace that does not bind the API of recoveries has none
        if (result := self._not_now(listed.items)) is not None:  # the mirror may not have the one that was made last
            return result
        name = f"{spec['errorType'].lower()}-{label.lower()}-{int(self.clock.now().timestamp())}"
        obj = {
            "apiVersion": RECOVERIES.api_version,
            "kind": "Recovery",
            "metadata": {"name": name, "labels": {AUTOMATIC: label}},
            "spec": spec,
        }
        try:
            await resource.create(obj)
        except AlreadyExists:
            return Result(requeue_after_s=1.0)
        except NotFound:
            return Result()  # the API was unbound meanwhile
        return Result()

    def _not_now(self, listed: Sequence[JSONObject]) -> Result | None:
        """When to look again, if what there is of its recoveries keeps another from beginning. Args: listed: the automatic ones."""
        mine = [Recovery.of(obj) for obj in listed]
        if any(not recovery.is_finished for recovery in mine):
            return Result()  # its end brings us back
        wait_s = self._wait_s(mine)
        return Result(requeue_after_s=wait_s) if wait_s > 0 else None

    def _wait_s(self, mine: Sequence[Recovery]) -> float:
        """Seconds until another may begin: longer after each that did not help."""
        ended = sorted((r for r in mine if r.finished is not None), key=lambda r: (r.finished or r.created, r.key), reverse=True)
        failures = 0
        for recovery in ended:
            if recovery.state is State.COMPLETED:
                break
            failures += 1
        if not ended or ended[0].finished is None:
            return 0.0
        pause_s = min(_AGAIN_S * 2.0 ** (failures - 1), _LONGEST_S) if failures else _SETTLE_S
        return pause_s - (self.clock.now() - ended[0].finished).total_seconds()


def build_recovery_trigger(trigger: Trigger, targets: Informer) -> Controller:
    controller: Controller = Controller("tmc-recovery-trigger", trigger.reconcile, clock=trigger.clock, workers=2)

    def of_recovery(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Sequence[ObjectKey]:
        name = meta.nested(new or old or {}, "spec", "clusterName", default="")
        return [ObjectKey(key.cluster, "", name)] if name and (new is None or Recovery.of(new).is_finished) else []

    controller.watch(targets)
    controller.watch(trigger.recoveries, of_recovery)
    return controller
