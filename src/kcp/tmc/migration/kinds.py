"""What can be moved, how it is stopped, and how one sees that a cluster runs it. Pure.

    Deployment, StatefulSet, ReplicaSet   by their replicas; stopped with none
    Job, CronJob                          by their pods; stopped by `suspend`; never in two clusters at once
    any other kind                        by a StatusRule that says when it is healthy; cannot be stopped

Before: `controller`, `checks`. After: `model`; `overview.rules`, loaded only for kinds that need a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.health.states import Status
from kcp.tmc.migration.model import Copy, Mode
from kcp.tmc.model.kinds import SyncTarget
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION, SYNCER_FINALIZER, is_leaving, synced_keys
from kcp.tmc.placement.readiness import JUDGED, is_ready_on, reported
from kcp.tmc.placement.shares import share_of

if TYPE_CHECKING:
    from kcp.tmc.overview.rules import StatusRule

_JOBS, _CRON_JOBS = GroupResource("batch", "jobs"), GroupResource("batch", "cronjobs")
_STATEFUL_SETS = GroupResource("apps", "statefulsets")
_REPLICATED = frozenset({GroupResource("apps", "deployments"), _STATEFUL_SETS, GroupResource("apps", "replicasets")})
_RUN_ONCE = frozenset({_JOBS, _CRON_JOBS})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload, as a migration sees it."""

    gvr: GVR
    name: str
    has_status: bool = True
    rule: StatusRule | None = None
    """What says when one is healthy, of kinds that nothing else is known of."""

    @property
    def resource(self) -> GroupResource:
        return self.gvr.group_resource

    @property
    def runs_once(self) -> bool:
        """Whether two clusters at once would do its work twice."""
        return self.resource in _RUN_ONCE

    @property
    def needs_rule(self) -> bool:
        return self.resource not in _REPLICATED | _RUN_ONCE

    def copy(self, obj: JSONObject, key: str, target: SyncTarget | None) -> Copy:
        """What cluster K last said of its copy. Args: target: its SyncTarget."""
        status = reported(obj, key)
        if self.resource in JUDGED:
            runs = is_ready_on(self.resource, obj, key)
            found = _job(obj, status, runs=runs) if self.resource == _JOBS else _replicas(obj, key, status, runs=runs)
        elif self.resource == _CRON_JOBS:
            found = _schedule(obj, key, status)
        else:
            found = self._by_rule(obj, key, target)
        wanted, runs, is_still, told, busy = found
        return Copy(key in synced_keys(obj), is_leaving(obj, key), wanted, runs, is_still, told, busy)

    def _by_rule(self, obj: JSONObject, key: str, target: SyncTarget | None) -> _Found:
        from kcp.tmc.overview import instances

        cluster = instances.Target(key, target.name if target else "", target.labels if target else {})
        about = instances.Kind(self.resource, self.name, self.has_status, self.rule)
        finding = instances.read(obj, cluster, about, None).finding
        is_well, words = finding.health is Status.HEALTHY, f": {finding.message}" if finding.message else ""
        return 1, is_well, False, f"reports {finding.health}{words}", "what runs"

    def obstacle(self, obj: JSONObject, mode: Mode) -> str:
        """Why one cannot be moved that way: the field, and what to do instead; "" if it can."""
        if self.needs_rule and (self.rule is None or not self.rule.health):
            return (
                f"spec.workload.kind: nothing says when a {self.name} is healthy: "
                f"make a StatusRule with spec.health for it (`kubectl tmc test-rule` tries it)"
            )
        if self.needs_rule and mode is Mode.HALT_RESUME:
            return f"spec.strategy: nobody knows how a {self.name} is stopped: use live, or snapshot (the old copy goes first)"
        if self.resource == _STATEFUL_SETS and mode is Mode.LIVE and meta.nested(obj, "spec", "volumeClaimTemplates", default=()):
            return (
                "spec.strategy: its volumes do not move, and live would run it twice with different data: "
                "use halt-resume (the old copy is kept until the new one is ready) or snapshot"
            )
        if self.resource == _JOBS and _is_finished(obj.get("status") or {}):
            return "spec.workload: this Job has finished: nothing is left to be moved"
        return ""


_Found = tuple[int, bool, bool, str, str]
"""Pods wanted, whether it runs, whether it is still, how far it is (a predicate of the cluster), what is to stop."""


def _replicas(obj: JSONObject, key: str, status: JSONObject, *, runs: bool) -> _Found:
    share = share_of(obj, key)
    wanted = int(meta.nested(obj, "spec", "replicas", default=1)) if share is None else share
    ready, total = int(status.get("readyReplicas") or 0), int(status.get("replicas") or 0)
    return wanted, runs, total == 0, f"has {ready} of {wanted} replicas ready", f"{total} replicas"


def _job(obj: JSONObject, status: JSONObject, *, runs: bool) -> _Found:
    active, ready = int(status.get("active") or 0), int(status.get("ready") or 0)
    is_stopped = _is_finished(status) or (_holds(status, "Suspended") and not active)
    wanted = int(meta.nested(obj, "spec", "parallelism", default=1))
    told = f"has {ready} of {active} Pods ready" if active else "has not begun it yet"
    return wanted, runs, is_stopped, told, "its Pod" if active == 1 else f"{active} Pods"


def _schedule(obj: JSONObject, key: str, status: JSONObject) -> _Found:
    """A CronJob says nothing before it has run once: its cluster has it when its syncer has taken it, and nothing was refused."""
    active = len(status.get("active") or ())
    error = SYNC_ERROR_ANNOTATION + key in meta.annotations(obj)
    is_taken = SYNCER_FINALIZER + key in meta.finalizers(obj) and not error
    return 1, is_taken, active == 0, "has taken it" if is_taken else "has not taken it yet", f"{active} Jobs"


def _is_finished(status: JSONObject) -> bool:
    return _holds(status, "Complete") or _holds(status, "Failed")


def _holds(status: JSONObject, condition: str) -> bool:
    return conditions.is_true({"status": status}, condition)


def pods_of(obj: JSONObject) -> JSONObject:
    """The object whose `spec.template` its pods are made from: of a CronJob, the Job."""
    job: Mapping[str, object] | None = meta.nested(obj, "spec", "jobTemplate")
    return {"spec": dict(meta.nested(job, "spec", default={}))} if job else obj
