"""What an update of the status of Kubernetes' own kinds may say: counters that fit each other, finished jobs that stay finished.

Loaded with the first such update. Before: `registry.builtin`. After: `checks`, `job_status`, `claim_status`.
Source: the functions Validate<Kind>StatusUpdate of k8s.io/kubernetes/pkg/apis/*/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from kcp.apimachinery import meta, names, quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks, claim_status, job_status
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.crds import accepted_names_faults

_Rule: TypeAlias = Callable[[JSONObject, JSONObject], Iterator[Cause]]
_NEGATIVE = "must be greater than or equal to 0"


def status_faults(gvk: GVK, new: JSONObject, old: JSONObject) -> Sequence[Cause]:
    """All faults at once; none for a kind without such rules."""
    rule = _RULES.get((gvk.group, gvk.kind))
    return list(rule(new, old)) if rule is not None else ()


def _at_most(status: Mapping[str, Any], limit: str, told: str, *fields: str) -> Iterator[Cause]:
    """Counters are not greater than another one; what is absent is 0."""
    most = status.get(limit) or 0
    for field in fields:
        if (value := status.get(field) or 0) > most:
            yield Cause.invalid(f"status.{field}", value, f"cannot be greater than {told}")


def _not_decremented(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    held, value = obj_at(old, "status").get("collisionCount"), obj_at(new, "status").get("collisionCount")
    if held is not None and (value is None or value < held):
        yield Cause.invalid("status.collisionCount", value or 0, "cannot be decremented")


def _deployment(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    status = obj_at(new, "status")
    counters = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas", "terminatingReplicas")
    yield from checks.not_negative(status, "status", "observedGeneration", *counters, "collisionCount")
    yield from _at_most(status, "replicas", "status.replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    yield from _at_most(status, "readyReplicas", "readyReplicas", "availableReplicas")
    yield from _not_decremented(new, old)


def _replica_set(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    status = obj_at(new, "status")
    counters = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas")
    yield from checks.not_negative(status, "status", *counters, "observedGeneration")
    yield from _at_most(status, "replicas", "status.replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    yield from _at_most(status, "readyReplicas", "readyReplicas", "availableReplicas")


def _stateful_set(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    status = obj_at(new, "status")
    counters = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    yield from checks.not_negative(status, "status", *counters, "observedGeneration", "collisionCount")
    yield from _at_most(status, "replicas", "status.replicas", *counters[1:])
    yield from _at_most(status, "readyReplicas", "status.readyReplicas", "availableReplicas")
    yield from _not_decremented(new, old)


def _daemon_set(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    counters = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
    )  # fmt: skip
    yield from checks.not_negative(obj_at(new, "status"), "status", *counters)
    yield from _not_decremented(new, old)


def _disruption_budget(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    counters = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    yield from checks.not_negative(obj_at(new, "status"), "status", *counters)


def _autoscaler(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    yield from checks.not_negative(obj_at(new, "status"), "status", "currentReplicas", "desiredReplicas")


def _namespace(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    phase = obj_at(new, "status").get("phase") or ""
    if not meta.deletion_timestamp(new):
        if phase != "Active":
            yield Cause.invalid("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")
    elif phase != "Terminating":
        yield Cause.invalid("status.Phase", phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")


def _claim(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    for resource, amount in obj_at(new, "status", "capacity").items():
        if not quantity.fault(amount) and quantity.parse(amount) < 0:
            yield Cause.invalid(f"status.capacity[{resource}]", quantity.canonical(amount), _NEGATIVE)


def _quota(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    for part in ("hard", "used"):
        for resource, amount in obj_at(new, "status", part).items():
            if not quantity.fault(amount) and quantity.parse(amount) < 0:
                yield Cause.invalid(f"status.{part}[{resource}]", quantity.canonical(amount), _NEGATIVE)


def _addresses(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    """Of a Service or an Ingress. Source: ValidateLoadBalancerStatus, ValidateIngressStatusUpdate."""
    for path, entry in numbered(obj_at(new, "status", "loadBalancer"), "ingress", "status.loadBalancer.ingress"):
        if entry.get("ip"):
            yield from checks.ip(entry["ip"], f"{path}.ip")
        host = entry.get("hostname")
        yield from checks.named(host, f"{path}.hostname", names.dns1123_subdomain)
        if host and _is_address(str(host)):
            yield Cause.invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address")


def _is_address(text: str) -> bool:
    return not list(checks.ip(text, ""))


_OF_SYSTEM = frozenset(("PodScheduled", "Ready", "Initialized"))


def _pod(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    """Source: ValidatePodStatusUpdate."""
    status, held = obj_at(new, "status"), obj_at(old, "status")
    for path, condition in numbered(status, "conditions", "metadata.conditions"):
        if condition.get("type") not in _OF_SYSTEM:
            yield from checks.named(condition.get("type"), f"{path}.Type", names.qualified_name)
    nominated = status.get("nominatedNodeName")
    if nominated != held.get("nominatedNodeName"):
        yield from checks.named(nominated, "status.nominatedNodeName", names.dns1123_subdomain)
    if status.get("qosClass") and held.get("qosClass"):
        yield from checks.unchanged(status["qosClass"], held["qosClass"], "status.qosClass")
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        yield from _stays_ended(new, old, kind)
    yield from _pod_addresses(new)


def _stays_ended(new: JSONObject, old: JSONObject, kind: str) -> Iterator[Cause]:
    """A container that is not to be restarted does not run again. Source: ValidateContainerStateTransition and its likes."""
    policy = obj_at(old, "spec").get("restartPolicy") or "Always"
    if kind == "ephemeralContainerStatuses":
        policy = "Never"
    if policy == "Always":
        return
    sidecars = {c.get("name") for c in list_at(old, "spec", "initContainers") if c.get("restartPolicy") == "Always"}
    now = {each.get("name"): each for each in list_at(new, "status", kind)}
    for path, before in numbered(obj_at(old, "status"), kind, f"status.{kind}"):
        ended, name = obj_at(before, "state", "terminated"), before.get("name")
        may_restart = name in sidecars or (policy == "OnFailure" and ended.get("exitCode") != 0)
        if ended and not may_restart and name in now and not obj_at(now[name], "state", "terminated"):
            yield Cause.forbidden(f"{path}.state", "may not be transitioned to non-terminated state")


def _pod_addresses(new: JSONObject) -> Iterator[Cause]:
    """Source: validatePodIPs, validateHostIPs."""
    for field in ("podIPs", "hostIPs"):
        seen = set()
        for path, entry in numbered(obj_at(new, "status"), field, f"status.{field}"):
            yield from checks.ip(entry.get("ip"), path)
            if entry.get("ip") in seen:
                yield Cause.duplicate(path, entry.get("ip"))
            seen.add(entry.get("ip"))


def _definition(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    """Source: apiextensions-apiserver, ValidateUpdateCustomResourceDefinitionStatus."""
    yield from accepted_names_faults(new)


_RULES: Mapping[tuple[str, str], _Rule] = {
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "ReplicationController"): _replica_set,
    ("", "ResourceQuota"): _quota,
    ("", "Service"): _addresses,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("batch", "Job"): job_status.faults,
    ("networking.k8s.io", "Ingress"): _addresses,
    ("policy", "PodDisruptionBudget"): _disruption_budget,
    ("resource.k8s.io", "ResourceClaim"): claim_status.faults,
}
