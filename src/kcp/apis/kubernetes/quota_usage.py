"""What one object uses up of a ResourceQuota: pods by requests and limits, claims by storage or devices, everything by its number.

Before: `quota` (checks a write), `controller.builtin.resourcequota` (recounts). Pure.
Source: k8s.io/kubernetes/pkg/quota/v1/evaluator/core/{pods,services,persistent_volume_claims,resource_claims}.go,
k8s.io/apiserver/pkg/quota/v1/generic/evaluator.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta, quantity
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.selectors import LabelSelector
from kcp.apis.kubernetes.checks import list_at, obj_at
from kcp.apis.kubernetes.podresources import Amounts, pod_limits, pod_requests

PODS = GroupResource("", "pods")
SERVICES = GroupResource("", "services")
CLAIMS = GroupResource("", "persistentvolumeclaims")
DEVICE_CLAIMS = GroupResource("resource.k8s.io", "resourceclaims")

_BY_PLAIN_NAME = ("configmaps", "resourcequotas", "replicationcontrollers", "secrets")
"""Resources that are also counted under their name alone."""
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_POD_NAMES = frozenset(("pods", "count/pods", *_COMPUTE, *(f"{part}.{name}" for part in ("requests", "limits") for name in _COMPUTE)))
_MUST_BE_SAID = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
_OF_CLASS = ".storageclass.storage.k8s.io/"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluator:
    """How the objects of one resource are counted."""

    resource: GroupResource
    counts: Callable[[str], bool]
    """Whether a name of `spec.hard` is about this resource."""
    usage: Callable[[Mapping[str, Any], datetime], Amounts]
    """(object, now)"""
    in_scope: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] = lambda _scope, _obj: False
    """(a requirement of the scope selector, object)"""
    fault: Callable[[Iterable[str], Mapping[str, Any]], str] = lambda _names, _obj: ""
    """(names that a quota limits, object): what the object has to say and does not; "" if nothing."""
    on_update: Callable[[Mapping[str, Any], Mapping[str, Any]], bool] = lambda _new, _old: False
    """(new, old): whether a change of an object can change what it uses, or which quotas it counts for."""

    def names(self, hard: Iterable[str]) -> list[str]:
        return [name for name in hard if self.counts(name)]


@lru_cache(maxsize=512)
def evaluator(resource: GroupResource) -> Evaluator:
    """Pods, services and claims (of volumes, of devices) in their own way; everything else by number."""
    return _SPECIAL.get(resource) or _counted(resource)


def _counted(resource: GroupResource) -> Evaluator:
    names = frozenset(_count_names(resource))
    one = dict.fromkeys(names, "1")
    return Evaluator(resource=resource, counts=names.__contains__, usage=lambda _obj, _now: dict(one))


def _count_names(resource: GroupResource) -> Sequence[str]:
    """
    >>> _count_names(GroupResource("apps", "deployments")), _count_names(GroupResource("", "secrets"))
    (('count/deployments.apps',), ('count/secrets', 'secrets'))
    """
    if not resource.group and resource.resource in _BY_PLAIN_NAME:
        return f"count/{resource.resource}", resource.resource
    return (f"count/{resource}",)


def resource_of(name: str) -> GroupResource | None:
    """The resource whose objects a name of `spec.hard` is about; None for a name that nothing counts.

    >>> resource_of("count/widgets.example.com"), resource_of("limits.cpu"), resource_of("services.nodeports").resource
    (GroupResource(group='example.com', resource='widgets'), GroupResource(group='', resource='pods'), 'services')
    """
    kind, slash, rest = name.partition("/")
    if slash and kind == "count":
        resource, _, group = rest.partition(".")
        return GroupResource(group, resource)
    if name in _BY_PLAIN_NAME:
        return GroupResource("", name)
    return next((special.resource for special in _SPECIAL.values() if special.counts(name)), None)


# --- pods ---


def _pod_counts(name: str) -> bool:
    """Source: pods.go MatchingResources: compute, huge pages, and whatever is asked for by a name of its own."""
    return name in _POD_NAMES or name.startswith(("hugepages-", "requests.hugepages-")) or (name.startswith("requests.") and "/" in name)


def _pod_usage(pod: Mapping[str, Any], now: datetime) -> Amounts:
    if not is_charged(pod, now):
        return {"count/pods": "1"}
    spec = obj_at(pod, "spec")
    used: Amounts = {"count/pods": "1", "pods": "1"}
    for name, amount in pod_requests(spec).items():
        used[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = amount
    for name, amount in pod_limits(spec).items():
        if name in _COMPUTE:
            used[f"limits.{name}"] = amount
    return used


def is_charged(pod: Mapping[str, Any], now: datetime) -> bool:
    """Whether a pod holds on to what it asked for: not finished, and not past the end of its grace. Source: pods.go QuotaV1Pod."""
    if meta.nested(pod, "status", "phase") in ("Failed", "Succeeded"):
        return False
    ends = grace_end(pod)
    return ends is None or now <= ends


def grace_end(pod: Mapping[str, Any]) -> datetime | None:
    """When a deleted pod stops being charged even if it is still there; None for one that is not deleted."""
    deleted, grace_s = meta.deletion_timestamp(pod), meta.metadata(pod).get("deletionGracePeriodSeconds")
    if not deleted or grace_s is None:
        return None
    return parse_rfc3339(deleted) + timedelta(seconds=grace_s)


def _pod_fault(names: Iterable[str], pod: Mapping[str, Any]) -> str:
    """Source: pods.go Constraints."""
    required = sorted(_MUST_BE_SAID.intersection(names))
    spec = obj_at(pod, "spec")
    missing: dict[str, list[str]] = {}
    for container in (*list_at(spec, "containers"), *list_at(spec, "initContainers")):
        requests, limits = obj_at(container, "resources", "requests"), obj_at(container, "resources", "limits")
        said = {*requests, *(f"requests.{name}" for name in requests), *(f"limits.{name}" for name in limits)}
        for name in required:
            if name not in said:
                missing.setdefault(name, []).append(str(container.get("name") or ""))
    if not missing:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(containers))}" for name, containers in missing.items())


def _pod_in_scope(scope: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Source: pods.go podMatchesScopeFunc."""
    match scope.get("scopeName"):
        case "Terminating":
            return _ends(pod)
        case "NotTerminating":
            return not _ends(pod)
        case "BestEffort":
            return is_best_effort(pod)
        case "NotBestEffort":
            return not is_best_effort(pod)
        case "PriorityClass":
            return _has_class(scope, str(meta.nested(pod, "spec", "priorityClassName", default="")))
        case "CrossNamespacePodAffinity":
            return any(_crosses(term) for term in _affinity_terms(obj_at(pod, "spec", "affinity")))
    return False


def _ends(pod: Mapping[str, Any]) -> bool:
    deadline = meta.nested(pod, "spec", "activeDeadlineSeconds")
    return deadline is not None and bool(deadline >= 0)


def _ends_otherwise(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a pod moves from the quotas of those with a deadline to those of the others, or back. Source: pods.go Handles."""
    return _ends(new) != _ends(old)


def is_best_effort(pod: Mapping[str, Any]) -> bool:
    """No container asks for, or is limited in, CPU or memory. Source: pkg/apis/core/v1/helper/qos/qos.go."""
    spec = obj_at(pod, "spec")
    holders = [spec, *list_at(spec, "containers"), *list_at(spec, "initContainers")]
    parts = (obj_at(holder, "resources", part) for holder in holders for part in ("requests", "limits"))
    return not any(quantity.compare(part.get(name) or "0", "0") > 0 for part in parts for name in ("cpu", "memory"))


def _has_class(scope: Mapping[str, Any], name: str) -> bool:
    """Whether an object of this class ("" for none) meets the requirement."""
    expression = {"key": "class", "operator": scope.get("operator"), "values": scope.get("values") or []}
    return LabelSelector.from_object({"matchExpressions": [expression]}).matches({"class": name} if name else {})


def _affinity_terms(affinity: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from list_at(affinity, kind, "requiredDuringSchedulingIgnoredDuringExecution")
        for weighted in list_at(affinity, kind, "preferredDuringSchedulingIgnoredDuringExecution"):
            yield obj_at(weighted, "podAffinityTerm")


def _crosses(term: Mapping[str, Any]) -> bool:
    return bool(term.get("namespaces")) or term.get("namespaceSelector") is not None


# --- services and claims ---


def _service_usage(service: Mapping[str, Any], _now: datetime) -> Amounts:
    spec = obj_at(service, "spec")
    ports = list_at(spec, "ports")
    node_ports = balancers = 0
    if spec.get("type") == "NodePort":
        node_ports = len(ports)
    elif spec.get("type") == "LoadBalancer":
        balancers = 1
        allocates = spec.get("allocateLoadBalancerNodePorts") is not False
        node_ports = len(ports) if allocates else sum(1 for port in ports if port.get("nodePort"))
    counted = {"services.nodeports": str(node_ports), "services.loadbalancers": str(balancers)}
    return {"count/services": "1", "services": "1", **counted}


def _claim_counts(name: str) -> bool:
    if name in ("persistentvolumeclaims", "count/persistentvolumeclaims", "requests.storage"):
        return True
    return name.endswith((f"{_OF_CLASS}requests.storage", f"{_OF_CLASS}persistentvolumeclaims"))


_ATTRIBUTES_CLASSES = (
    ("spec", "volumeAttributesClassName"),
    ("status", "modifyVolumeStatus", "targetVolumeAttributesClassName"),
    ("status", "currentVolumeAttributesClassName"),
)


def _claim_in_scope(scope: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """A claim counts for each class that it names anywhere. Source: persistent_volume_claims.go pvcMatchesScopeFunc; KEP-3751."""
    if scope.get("scopeName") != "VolumeAttributesClass":
        return False
    named = {str(name) for path in _ATTRIBUTES_CLASSES if (name := meta.nested(claim, *path))}
    return any(_has_class(scope, name) for name in named or ("",))


def _claim_usage(claim: Mapping[str, Any], _now: datetime) -> Amounts:
    used: Amounts = {"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1"}
    storage_class = meta.annotations(claim).get(_BETA_CLASS) or meta.nested(claim, "spec", "storageClassName", default="")
    prefixes = ["", f"{storage_class}{_OF_CLASS}"] if storage_class else [""]
    if storage_class:
        used[f"{storage_class}{_OF_CLASS}persistentvolumeclaims"] = "1"
    asked = obj_at(claim, "spec", "resources", "requests").get("storage")
    if asked is not None:
        allocated = obj_at(claim, "status", "allocatedResources").get("storage")
        if allocated is not None and quantity.compare(allocated, asked) > 0:
            asked = allocated
        for prefix in prefixes:
            used[f"{prefix}requests.storage"] = quantity.canonical(asked)
    return used


# --- device claims ---

_OF_DEVICES = ".deviceclass.resource.k8s.io/devices"
_MOST_DEVICES = 32
"""What a claim of all devices may come to. Source: k8s.io/api/resource/v1/types.go (AllocationResultsMaxSize)."""


def _device_claim_counts(name: str) -> bool:
    return name == "count/resourceclaims.resource.k8s.io" or name.endswith(_OF_DEVICES)


def _device_claim_usage(claim: Mapping[str, Any], _now: datetime) -> Amounts:
    """Devices by class, of alternatives the most of each. Source: evaluator/core/resource_claims.go (Usage); KEP-4381."""
    devices: dict[str, int] = {}
    for request in list_at(claim, "spec", "devices", "requests"):
        alternatives = list_at(request, "firstAvailable") or [obj_at(request, "exactly")]
        most: dict[str, int] = {}
        for wanted in alternatives:
            if name := wanted.get("deviceClassName"):
                most[name] = max(most.get(name, 0), _device_count(wanted))
        for name, count in most.items():
            devices[name] = devices.get(name, 0) + count
    by_class = {f"{name}{_OF_DEVICES}": str(count) for name, count in devices.items()}
    return {"count/resourceclaims.resource.k8s.io": "1", **by_class}


def _device_count(wanted: Mapping[str, Any]) -> int:
    match wanted.get("allocationMode", "ExactCount"):
        case "ExactCount":
            return int(wanted.get("count") or 1)
        case "All":
            return _MOST_DEVICES
    return 0


def _always(_new: Mapping[str, Any], _old: Mapping[str, Any]) -> bool:
    return True


_SERVICE_NAMES = frozenset(("services", "count/services", "services.nodeports", "services.loadbalancers"))

_SPECIAL: Mapping[GroupResource, Evaluator] = {
    SERVICES: Evaluator(resource=SERVICES, counts=_SERVICE_NAMES.__contains__, usage=_service_usage, on_update=_always),
    CLAIMS: Evaluator(resource=CLAIMS, counts=_claim_counts, usage=_claim_usage, in_scope=_claim_in_scope, on_update=_always),
    PODS: Evaluator(resource=PODS, counts=lambda n: _pod_counts(n) and not _claim_counts(n), usage=_pod_usage, in_scope=_pod_in_scope,
                    fault=_pod_fault, on_update=_ends_otherwise),
    DEVICE_CLAIMS: Evaluator(resource=DEVICE_CLAIMS, counts=_device_claim_counts, usage=_device_claim_usage, on_update=_always),
}  # fmt: skip
