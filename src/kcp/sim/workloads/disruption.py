"""PodDisruptionBudgets: how many of the selected pods are healthy, have to be, and may be evicted now.

`decide` is pure. Before: `sim.cluster`, which starts it. After: the status of budgets, which `podverbs` asks before it evicts.
Source: pkg/controller/disruption/disruption.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.rollout import replicas_of, share
from kcp.sim.workloads.wiring import Wiring, wake_self
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, SETTLE_S

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
ALLOWED = "DisruptionAllowed"
_EVICTED_FOR = timedelta(minutes=2)
"""How long an evicted pod that is still there counts as gone. Source: DeletionTimeout."""

ScaleOf = Callable[[PodView], tuple[str, int] | None]
"""The uid and the replicas of what a pod belongs to; None for a pod on its own, or of something without a scale."""

_SCALED = {
    "ReplicaSet": GVR("apps", "v1", "replicasets"),
    "ReplicationController": GVR("", "v1", "replicationcontrollers"),
    "StatefulSet": GVR("apps", "v1", "statefulsets"),
}
_DEPLOYMENTS = GVR("apps", "v1", "deployments")


@dataclass(frozen=True, slots=True)
class Plan:
    status: JSONObject
    again_in_s: float | None = None


def decide(budget: Mapping[str, Any], pods: Sequence[PodView], scale_of: ScaleOf, now: datetime) -> Plan:
    """The status of a budget. Args: pods: all that it selects."""
    expected, desired = _wanted(budget.get("spec") or {}, pods, scale_of)
    evicted, again_in_s = _evicted(budget, pods, now)
    healthy = sum(1 for p in pods if p.is_ready and not p.terminating and p.key.name not in evicted)
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status: JSONObject = {
        "conditions": [],
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": meta.generation(budget),
    }
    if evicted:
        status["disruptedPods"] = evicted
    shown: JSONObject = {"status": {"conditions": list(meta.nested(budget, "status", "conditions", default=()))}}
    conditions.set_condition(shown, allowed_condition(allowed, meta.generation(budget), now))
    return Plan({**status, **shown["status"]}, again_in_s)


def allowed_condition(allowed: int, generation: int, now: datetime) -> JSONObject:
    """Source: pkg/apis/policy/v1 (DisruptionAllowedCondition), UpdateDisruptionAllowedCondition."""
    told = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    return {**conditions.build(ALLOWED, told[0], reason=told[1], now=rfc3339(now)), "message": "", "observedGeneration": generation}


def _wanted(spec: Mapping[str, Any], pods: Sequence[PodView], scale_of: ScaleOf) -> tuple[int, int]:
    """Pods there ought to be, and how many of them healthy. Source: getExpectedPodCount."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is None and (least is None or isinstance(least, int)):
        return len(pods), 1 if least is None else least
    one_of_each = {p.owner_uid: p for p in pods}.values()
    scales = dict(found for p in one_of_each if (found := scale_of(p)) is not None)
    expected = sum(scales.values())
    if most is not None:
        return expected, max(expected - share(most, expected, math.ceil), 0)
    return expected, share(least, expected, math.ceil)


def _evicted(budget: Mapping[str, Any], pods: Sequence[PodView], now: datetime) -> tuple[dict[str, str], float | None]:
    """Pods whose eviction was granted and that are still there, and when the next of them counts again."""
    there = {p.key.name for p in pods if not p.terminating}
    held = meta.nested(budget, "status", "disruptedPods", default={})
    until = {name: parse_rfc3339(at) + _EVICTED_FOR for name, at in held.items() if name in there}
    kept = {name: held[name] for name, end in until.items() if end > now}
    return kept, min(((until[name] - now).total_seconds() for name in kept), default=None)


def selector_of(budget: Mapping[str, Any]) -> LabelSelector:
    """An empty selector takes every pod of the namespace, none at all takes none."""
    return LabelSelector.from_object(meta.nested(budget, "spec", "selector"))


@dataclass
class DisruptionReconciler:
    budgets: Informer
    scaled: Mapping[str, Informer]
    deployments: Informer
    pods: PodBook
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        budget = self.budgets.get(key)
        if budget is None:
            return Result()
        plan = decide(budget, self.pods.selected(key.namespace, selector_of(budget)), self._scale_of, self.clock.now())
        # not by uid alone as other statuses: evictions write it too, and none may be forgotten
        await commit(self.client.resource(BUDGETS), budget, {**budget, "status": plan.status}, field_manager=CONTROLLER_MANAGER)
        return Result(requeue_after_s=plan.again_in_s)

    def _scale_of(self, pod: PodView) -> tuple[str, int] | None:
        informer = self.scaled.get(pod.owner_kind)
        owner = informer.get(ObjectKey(ClusterName(""), pod.key.namespace, pod.owner_name)) if informer is not None else None
        if owner is None or meta.uid(owner) != pod.owner_uid:
            return None
        above = meta.controller_of(owner)
        if above is not None and above.get("kind") == "Deployment":
            deployment = self.deployments.get(ObjectKey(ClusterName(""), pod.key.namespace, above["name"]))
            owner = deployment if deployment is not None and meta.uid(deployment) == above["uid"] else owner
        return meta.uid(owner), replicas_of(owner.get("spec") or {})


def controller(wiring: Wiring) -> Controller:
    budgets = wiring.informers.informer(BUDGETS)
    scaled = {kind: wiring.informers.informer(gvr) for kind, gvr in _SCALED.items()}
    deployments = wiring.informers.informer(_DEPLOYMENTS)
    reconciler = DisruptionReconciler(budgets, scaled, deployments, wiring.pods, wiring.client, wiring.clock)
    made = Controller("disruption", reconciler.reconcile, clock=wiring.clock, workers=1)
    wake_self(budgets, made)

    def in_namespace(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        return budgets.keys(namespace=key.namespace)

    def listen(before: PodView | None, after: PodView | None) -> None:
        """Wake the budgets of the namespace; there are few."""
        pod = after or before
        for key in budgets.keys(namespace=pod.key.namespace) if pod is not None else ():
            made.enqueue_after(key, SETTLE_S)

    for informer in (*scaled.values(), deployments):
        made.watch(informer, in_namespace)
    wiring.pods.listen(listen)
    return made
