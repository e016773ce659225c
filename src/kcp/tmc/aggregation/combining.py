"""How the statuses that several clusters report for one object become one status, kind by kind. Pure.

Numbers of replicas and the like are summed, conditions are the worst that any cluster reports, addresses stand side by side; of everything
else what all clusters agree on. Before: `status`, `overview.aggregate`.
Source for the sums: kcp-dev/contrib-tmc coordination/deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject

SUMMED: Mapping[GroupResource, tuple[str, ...]] = {
    GroupResource("apps", "deployments"): (
        "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas", "terminatingReplicas",
    ),
    GroupResource("apps", "statefulsets"): ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
    GroupResource("apps", "daemonsets"): (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled",
        "numberAvailable", "numberUnavailable",
    ),
    GroupResource("batch", "jobs"): ("active", "succeeded", "failed", "ready"),
    GroupResource("autoscaling", "horizontalpodautoscalers"): ("currentReplicas", "desiredReplicas"),
    GroupResource("policy", "poddisruptionbudgets"): ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"),
}  # fmt: skip
"""These report conditions, too."""
_RANK = {"False": 0, "Unknown": 1, "True": 2}
_GOOD_IF_FALSE = ("ReplicaFailure", "Failed", "FailureTarget", "Suspended", "ScalingLimited")
_PHASES = ("Lost", "Failed", "Pending", "Unknown", "Running", "Bound", "Succeeded")
"""Worst first."""


def combine(resource: GroupResource, statuses: Sequence[JSONObject], expected: int) -> JSONObject:
    """One status. Args: expected: how many clusters should have reported."""
    if not statuses:
        return {}
    if len(statuses) == 1 and expected == 1:
        status: JSONObject = meta.copy_json(statuses[0])
        return status
    if special := _SPECIAL.get(resource):
        return special(statuses)
    combined = _agreed(statuses)
    for name in SUMMED.get(resource, ()):
        if any(name in s for s in statuses):
            combined[name] = sum(int(s.get(name) or 0) for s in statuses)
    if any("observedGeneration" in s for s in statuses):
        combined["observedGeneration"] = min(int(s.get("observedGeneration") or 0) for s in statuses)
    if merged := combine_conditions(statuses):
        combined["conditions"] = merged
    return combined


def _agreed(statuses: Sequence[JSONObject]) -> JSONObject:
    return {name: value for name, value in statuses[0].items() if all(s.get(name) == value for s in statuses)}


def combine_conditions(statuses: Sequence[JSONObject]) -> list[JSONObject]:
    """For each type the worst status that any cluster reports, with that cluster's reason and message."""
    worst: dict[str, JSONObject] = {}
    for status in statuses:
        for condition in status.get("conditions") or ():
            kind = condition.get("type", "")
            if kind not in worst or _badness(condition) > _badness(worst[kind]):
                worst[kind] = condition
    return [dict(worst[kind]) for kind in sorted(worst)]


def _badness(condition: JSONObject) -> int:
    rank = _RANK.get(condition.get("status", ""), 1)
    return rank if condition.get("type") in _GOOD_IF_FALSE else -rank


def _addresses(statuses: Sequence[JSONObject]) -> JSONObject:
    """Of Services and Ingresses."""
    ingress = [i for s in statuses for i in meta.nested(s, "loadBalancer", "ingress", default=())]
    return {"loadBalancer": {"ingress": ingress}} if ingress else {"loadBalancer": {}}


def _schedules(statuses: Sequence[JSONObject]) -> JSONObject:
    """Of CronJobs: what runs anywhere, and when any of them last ran."""
    combined = _agreed(statuses)
    if active := [job for s in statuses for job in s.get("active") or ()]:
        combined["active"] = active
    for name in ("lastScheduleTime", "lastSuccessfulTime"):
        if times := [s[name] for s in statuses if s.get(name)]:
            combined[name] = max(times)  # RFC 3339 in UTC: the order of the texts
    return combined


def _phases(statuses: Sequence[JSONObject]) -> JSONObject:
    """Of claims: the worst phase."""
    combined = _agreed(statuses)
    phases = {s.get("phase", "") for s in statuses}
    if worst := next((phase for phase in _PHASES if phase in phases), ""):
        combined["phase"] = worst
    if merged := combine_conditions(statuses):
        combined["conditions"] = merged
    return combined


_SPECIAL: Mapping[GroupResource, Callable[[Sequence[JSONObject]], JSONObject]] = {
    GroupResource("", "services"): _addresses,
    GroupResource("networking.k8s.io", "ingresses"): _addresses,
    GroupResource("batch", "cronjobs"): _schedules,
    GroupResource("", "persistentvolumeclaims"): _phases,
}
