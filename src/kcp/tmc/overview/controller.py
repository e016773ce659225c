"""Keeps the status of AggregatedViews: how many objects of which health, and when each cluster was last heard of.

It looks at sums that are kept anyway, every few seconds; a change of an object costs it nothing.
Before: `views`. After: the user's `kubectl get aggregatedviews`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.health.states import Status
from kcp.tmc.model.kinds import AGGREGATED_VIEWS, READY
from kcp.tmc.overview.instances import Target
from kcp.tmc.overview.views import OneView, Views

INTERVAL_S = 5.0
_SOON_S = 0.2
"""While a view is being filled."""
_SEEN_EVERY_S = 30.0
"""`lastSeen` of a healthy cluster moves no oftener: a heartbeat is no reason to write."""
_FEW = 500
"""Objects that are aggregated at once, so that the status tells of them; more take their time."""
_MOST_TARGETS, _MOST_PROBLEMS = 100, 3
RULES_APPLIED = "RulesApplied"
_NEVER_EMPTY = "no Placement of this workspace has chosen a cluster that the view selects"


@dataclass(frozen=True, slots=True)
class ViewReconciler:
    """For all AggregatedViews."""

    views: Views
    informer: Informer
    for_cluster: Callable[[ClusterName], Client]
    url: Callable[[OneView], str]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.informer.get(key)
        if obj is None:
            return Result()
        await self.views.wait_synced()
        held = self.views.get(key)
        if held is None or held.spec.generation != meta.generation(obj):
            return Result(requeue_after_s=_SOON_S)  # the views hear of it through the same informer, in a moment
        for resource in self.views.served(held).values():
            view = await self.views.open(held, resource)
            if view.waiting <= _FEW:
                await view.settle()
        wanted = self._wanted(obj, held)
        await commit(self.for_cluster(key.cluster).resource(AGGREGATED_VIEWS), obj, wanted)
        return Result(requeue_after_s=_SOON_S if wanted["status"]["phase"] == "Synchronizing" else INTERVAL_S)

    def _wanted(self, obj: JSONObject, held: OneView) -> JSONObject:
        wanted: JSONObject = meta.copy_json(obj)
        status: JSONObject = {"phase": _phase(obj, held), "url": self.url(held)}
        total: Counter[Status] = Counter()
        kinds = []
        for gvr, view in sorted(held.opened.items()):
            if any(view.health.values()):
                kinds.append({"group": gvr.group, "kind": view.about.kind.kind, "resource": gvr.resource, **_counts(view.health)})
                total += view.health
        targets = sorted(held.targets.values(), key=lambda t: (not t.trouble, t.name))
        status |= {**_counts(total), "kinds": kinds, "targets": self._targets(obj, held, targets[:_MOST_TARGETS])}
        status |= {"targetCount": len(targets), "healthyTargetCount": sum(not t.trouble for t in targets)}
        status["conditions"] = list(meta.nested(obj, "status", "conditions", default=()))
        status["observedGeneration"] = held.spec.generation
        wanted["status"] = status
        now = rfc3339(self.clock.now())
        conditions.set_condition(wanted, _ready(held, targets, now))
        conditions.set_condition(wanted, _rules_applied(held, now))
        return wanted

    def _targets(self, obj: JSONObject, held: OneView, targets: Sequence[Target]) -> list[JSONObject]:
        before = {t["name"]: t for t in meta.nested(obj, "status", "targets", default=())}
        return [self._told(held, target, before.get(target.name, {})) for target in targets]

    def _told(self, held: OneView, target: Target, before: JSONObject) -> JSONObject:
        told: JSONObject = {"name": target.name, "healthy": not target.trouble}
        if seen := self.views.seen(target.key):
            told["lastSeen"] = seen if target.trouble else _seldom(before.get("lastSeen", ""), seen)
        if target.trouble:
            told["message"] = target.trouble
        told["objects"] = sum(len(view.by_target.get(target.key, ())) for view in held.opened.values())
        return told


def _seldom(before: str, now: str) -> str:
    try:
        is_recent = 0 <= (parse_rfc3339(now) - parse_rfc3339(before)).total_seconds() < _SEEN_EVERY_S
    except ValueError:
        return now
    return before if is_recent else now


def _phase(obj: JSONObject, held: OneView) -> str:
    if meta.deletion_timestamp(obj):
        return "Terminating"
    if held.spec.problems:
        return "Error"
    if not held.targets:
        return "Pending"
    return "Synchronizing" if any(view.waiting > _FEW for view in held.opened.values()) else "Active"


def _counts(health: Counter[Status]) -> JSONObject:
    return {"totalCount": sum(health.values()), **{f"{status.lower()}Count": health[status] for status in Status}}


def _ready(held: OneView, targets: Sequence[Target], now: str) -> JSONObject:
    silent = [f"{t.name}: {t.trouble}" for t in targets if t.trouble]
    if held.spec.problems:
        return conditions.build(READY, conditions.FALSE, reason="InvalidSpec", message="; ".join(held.spec.problems), now=now)
    if not targets:
        what = f"Placement {held.spec.placement} has chosen no cluster that the view selects" if held.spec.placement else _NEVER_EMPTY
        return conditions.build(READY, conditions.FALSE, reason="NoClusters", message=what, now=now)
    if silent:
        more = f"; and {len(silent) - _MOST_PROBLEMS} more" if len(silent) > _MOST_PROBLEMS else ""
        message = f"{len(silent)} of {len(targets)} clusters are unknown: {'; '.join(silent[:_MOST_PROBLEMS])}{more}"
        reason, status = ("ClustersUnknown", conditions.FALSE if len(silent) == len(targets) else conditions.TRUE)
        return conditions.build(READY, status, reason=reason, message=message, now=now)
    return conditions.build(READY, conditions.TRUE, reason="AllClustersKnown", message="", now=now)


def _rules_applied(held: OneView, now: str) -> JSONObject:
    """False names the objects that a StatusRule fails on, and its expression."""
    told = [
        f"{view.about.kind.kind} {key.namespace + '/' if key.namespace else ''}{key.name}: {problem}"
        for _, view in sorted(held.opened.items())
        for key, problems in sorted(view.problems.items())
        for problem in problems
    ]
    if not told:
        return conditions.build(RULES_APPLIED, conditions.TRUE, reason="NoFailure", message="", now=now)
    more = f"; and {len(told) - _MOST_PROBLEMS} more" if len(told) > _MOST_PROBLEMS else ""
    return conditions.build(
        RULES_APPLIED, conditions.FALSE, reason="ExpressionFailed", message="; ".join(told[:_MOST_PROBLEMS]) + more, now=now
    )


def build_view_controller(  # noqa: PLR0913 - what it works with, spelled out
    views: Views, informer: Informer, targets: Informer, for_cluster: Callable[[ClusterName], Client], url: Callable[[OneView], str],
    *, clock: Clock,
) -> Controller:  # fmt: skip
    """Args: informer: of AggregatedViews. targets: SyncTargets."""

    def of_target(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """It became ready, or ceased to be; a heartbeat can wait for the next turn."""
        told = [conditions.is_true(obj, READY) if obj is not None else None for obj in (old, new)]
        return informer.keys() if told[0] != told[1] else ()

    controller = Controller("tmc-views", ViewReconciler(views, informer, for_cluster, url, clock).reconcile, clock=clock, workers=2)
    controller.watch(informer)
    controller.watch(targets, of_target)
    return controller
