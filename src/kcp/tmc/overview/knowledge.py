"""How well one cluster runs one object, by what its status says: what is known of Kubernetes' own kinds, and a guess for all others. Pure.

Before: `instances`. A StatusRule of the workspace takes precedence, see `rules`.
Source for the guess: the TMC reference §4 (per-object health); for the kinds: k8s.io/api/*/types.go, kubectl's rollout status.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.health.states import Status


class Finding(NamedTuple):
    """How well, and what is wrong; "" while nothing is."""

    health: Status
    message: str = ""


FINE = Finding(Status.HEALTHY)
Judge: TypeAlias = Callable[[JSONObject, JSONObject], Finding]
"""(object as the cluster has it, its status there) → finding."""


def judge(resource: GroupResource, obj: JSONObject, status: JSONObject) -> Finding:
    """Args: obj: as the cluster has it: with its share of the replicas. status: as the cluster reports it."""
    return _JUDGES.get(resource, _anything)(obj, status)


def replicas(resource: GroupResource, obj: JSONObject, status: JSONObject | None) -> tuple[int, int] | None:
    """(wanted, ready) of what consists of pods that stay; None for all else."""
    if resource == _DAEMON_SETS:
        status = status or {}
        return int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
    if resource in _SCALED:
        return int(meta.nested(obj, "spec", "replicas", default=1)), int((status or {}).get("readyReplicas") or 0)
    return None


def _condition(status: JSONObject, kind: str) -> tuple[str, str]:
    """(status, words) of a condition; "" where there is none."""
    found = next((c for c in status.get("conditions") or () if c.get("type") == kind), None)
    return (found.get("status", ""), found.get("message") or found.get("reason") or kind) if found else ("", "")


def _deployment(obj: JSONObject, status: JSONObject) -> Finding:
    wanted = int(meta.nested(obj, "spec", "replicas", default=1))
    available, updated = int(status.get("availableReplicas") or 0), int(status.get("updatedReplicas") or 0)
    progressing, words = _condition(status, "Progressing")
    failing, failure = _condition(status, "ReplicaFailure")
    if available >= wanted and updated >= wanted and failing != "True":
        return FINE
    what = f"{available} of {wanted} available, {updated} up to date"
    if failing == "True":
        what += f": {failure}"
    elif progressing == "False":
        what += f": {words}"
    still_going = progressing == "True" and failing != "True"
    return Finding(Status.DEGRADED if available or still_going else Status.UNHEALTHY, what)


def _stateful_set(obj: JSONObject, status: JSONObject) -> Finding:
    wanted = int(meta.nested(obj, "spec", "replicas", default=1))
    ready = int(status.get("readyReplicas") or 0)
    updated = int(status.get("updatedReplicas") or 0)
    is_current = status.get("currentRevision") == status.get("updateRevision") or updated >= wanted
    if ready >= wanted and is_current:
        return FINE
    return Finding(Status.DEGRADED if ready else Status.UNHEALTHY, f"{ready} of {wanted} ready, {updated} up to date")


def _daemon_set(obj: JSONObject, status: JSONObject) -> Finding:
    wanted, ready = int(status.get("desiredNumberScheduled") or 0), int(status.get("numberReady") or 0)
    if ready >= wanted:
        return FINE
    return Finding(Status.DEGRADED if ready else Status.UNHEALTHY, f"{ready} of {wanted} ready")


def _job(obj: JSONObject, status: JSONObject) -> Finding:
    failed, words = _condition(status, "Failed")
    if failed == "True":
        return Finding(Status.UNHEALTHY, words)
    if _condition(status, "Complete")[0] == "True":
        return FINE
    if _condition(status, "Suspended")[0] == "True":
        return Finding(Status.DEGRADED, "suspended")
    pods = int(status.get("failed") or 0)
    return Finding(Status.DEGRADED, f"{pods} pods failed so far") if pods else FINE


def _cron_job(obj: JSONObject, status: JSONObject) -> Finding:
    last, succeeded = status.get("lastScheduleTime") or "", status.get("lastSuccessfulTime") or ""
    if last and not status.get("active") and succeeded < last:
        return Finding(Status.DEGRADED, f"its run of {last} did not succeed")
    return FINE


def _service(obj: JSONObject, status: JSONObject) -> Finding:
    if meta.nested(obj, "spec", "type") == "LoadBalancer" and not meta.nested(status, "loadBalancer", "ingress", default=()):
        return Finding(Status.DEGRADED, "no address yet")
    return FINE


def _ingress(obj: JSONObject, status: JSONObject) -> Finding:
    return FINE if meta.nested(status, "loadBalancer", "ingress", default=()) else Finding(Status.DEGRADED, "no address yet")


def _claim(obj: JSONObject, status: JSONObject) -> Finding:
    phase = status.get("phase", "")
    return _by_phase(phase) if phase else Finding(Status.UNKNOWN, "no phase")


def _autoscaler(obj: JSONObject, status: JSONObject) -> Finding:
    for kind in ("AbleToScale", "ScalingActive"):
        found, words = _condition(status, kind)
        if found == "False":
            return Finding(Status.UNHEALTHY, words)
    return FINE


def _disruption_budget(obj: JSONObject, status: JSONObject) -> Finding:
    wanted, healthy = int(status.get("desiredHealthy") or 0), int(status.get("currentHealthy") or 0)
    if healthy >= wanted:
        return FINE
    return Finding(Status.DEGRADED if healthy else Status.UNHEALTHY, f"{healthy} of {wanted} pods healthy")


def _pod(obj: JSONObject, status: JSONObject) -> Finding:
    phase = status.get("phase", "")
    if phase == "Running" and _condition(status, "Ready")[0] != "True":
        waiting = [meta.nested(c, "state", "waiting", "reason", default="") for c in status.get("containerStatuses") or ()]
        reason = next((found for found in waiting if found), "not ready")
        return Finding(Status.UNHEALTHY if reason in _CRASHING else Status.DEGRADED, reason)
    if phase == "Pending" and (reason := _condition(status, "PodScheduled")) and reason[0] == "False":
        return Finding(Status.DEGRADED, reason[1])
    return _by_phase(phase)


def _by_phase(phase: str) -> Finding:
    health = _PHASES.get(phase, Status.UNKNOWN)
    return FINE if health is Status.HEALTHY else Finding(health, phase or "no phase")


def _anything(obj: JSONObject, status: JSONObject) -> Finding:
    """A condition Ready, Available or Healthy says it; else Failed or Error; else a phase."""
    for kind in ("Failed", "Error"):
        found, words = _condition(status, kind)
        if found == "True":
            return Finding(Status.UNHEALTHY, words)
    for kind in ("Ready", "Available", "Healthy"):
        found, words = _condition(status, kind)
        if found:
            return FINE if found == "True" else Finding(Status.UNHEALTHY, words)
    phase = status.get("phase") or status.get("state")
    if isinstance(phase, str) and phase:
        return _by_phase(phase)
    return Finding(Status.UNKNOWN, "neither a condition nor a phase says how it is: a StatusRule can")


_CRASHING = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "RunContainerError")
_PHASES: Mapping[str, Status] = {
    **dict.fromkeys(("Running", "Active", "Bound", "Available", "Succeeded", "Completed", "Ready", "Healthy"), Status.HEALTHY),
    **dict.fromkeys(("Pending", "Provisioning", "Progressing", "Creating", "Degraded"), Status.DEGRADED),
    **dict.fromkeys(("Failed", "Error", "Terminating", "Lost", "Unhealthy"), Status.UNHEALTHY),
}
_DAEMON_SETS = GroupResource("apps", "daemonsets")
_SCALED = frozenset({GroupResource("apps", "deployments"), GroupResource("apps", "statefulsets"), GroupResource("apps", "replicasets")})
_JUDGES: Mapping[GroupResource, Judge] = {
    GroupResource("apps", "deployments"): _deployment,
    GroupResource("apps", "statefulsets"): _stateful_set,
    _DAEMON_SETS: _daemon_set,
    GroupResource("batch", "jobs"): _job,
    GroupResource("batch", "cronjobs"): _cron_job,
    GroupResource("", "services"): _service,
    GroupResource("networking.k8s.io", "ingresses"): _ingress,
    GroupResource("", "persistentvolumeclaims"): _claim,
    GroupResource("autoscaling", "horizontalpodautoscalers"): _autoscaler,
    GroupResource("policy", "poddisruptionbudgets"): _disruption_budget,
    GroupResource("", "pods"): _pod,
}


def is_known(resource: GroupResource) -> bool:
    """Whether its health is known without a StatusRule."""
    return resource in _JUDGES


def object_of(obj: Mapping[str, Any], status: JSONObject | None) -> JSONObject:
    """What a rule may read of an object: identity, labels, spec and data, and its status in one cluster."""
    metadata = obj.get("metadata") or {}
    shown = {name: metadata[name] for name in ("name", "namespace", "labels", "generation", "creationTimestamp") if name in metadata}
    rest = {name: value for name, value in obj.items() if name not in ("metadata", "status")}
    return {**rest, "metadata": shown, "status": status or {}}
