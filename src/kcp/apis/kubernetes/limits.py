"""LimitRanges: the defaults they give to containers, and what of an object is outside of their bounds. Pure.

Before: `apiserver.admission.limitranger`. After: `podresources`.
Source: k8s.io/kubernetes/plugin/pkg/admission/limitranger/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from kcp.apimachinery import quantity
from kcp.apimachinery.meta import JSONObject, ensure, set_annotation
from kcp.apis.kubernetes.checks import list_at, obj_at
from kcp.apis.kubernetes.podresources import pod_limits, pod_requests

ANNOTATION = "kubernetes.io/limit-ranger"


def _items(limit_range: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    return (item for item in list_at(limit_range, "spec", "limits") if item.get("type") == kind)


def apply_defaults(pod: JSONObject, limit_range: Mapping[str, Any]) -> None:
    """Give each container the requests and limits it lacks, and say so in an annotation. A limit stands for a missing request first."""
    requests: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for item in _items(limit_range, "Container"):
        requests |= obj_at(item, "defaultRequest")
        limits |= obj_at(item, "default")
    if not requests and not limits:
        return
    told: list[str] = []
    for part, called in (("containers", "container"), ("initContainers", "init container")):
        for container in list_at(pod, "spec", part):
            held = ensure(container, "resources")
            if held.get("limits"):
                held["requests"] = {**held["limits"], **(held.get("requests") or {})}
            for field, wanted in (("requests", requests), ("limits", limits)):
                added = sorted(name for name in wanted if name not in (held.get(field) or {}))
                if added:
                    ensure(held, field).update({name: wanted[name] for name in added})
                    told.append(f"{', '.join(added)} {field.removesuffix('s')} for {called} {container.get('name')}")
    if told:
        set_annotation(pod, ANNOTATION, "LimitRanger plugin set: " + "; ".join(told))


def pod_faults(pod: Mapping[str, Any], limit_range: Mapping[str, Any]) -> list[str]:
    """What of a pod is out of bounds, container by container and as a whole."""
    faults: list[str] = []
    spec = obj_at(pod, "spec")
    for item in _items(limit_range, "Container"):
        for container in (*list_at(spec, "containers"), *list_at(spec, "initContainers")):
            faults += _faults(item, obj_at(container, "resources", "requests"), obj_at(container, "resources", "limits"))
    for item in _items(limit_range, "Pod"):
        faults += _faults(item, pod_requests(spec), pod_limits(spec))
    return faults


def claim_faults(claim: Mapping[str, Any], limit_range: Mapping[str, Any]) -> list[str]:
    """What of a PersistentVolumeClaim is out of bounds."""
    faults: list[str] = []
    requests = obj_at(claim, "spec", "resources", "requests")
    for item in _items(limit_range, "PersistentVolumeClaim"):
        for name, least in sorted(obj_at(item, "min").items()):
            faults += _below(name, item, least, requests, {})
        for name, most in sorted(obj_at(item, "max").items()):
            faults += _above(name, item, most, "request", requests, ())
    return faults


def _faults(item: Mapping[str, Any], requests: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    for name, least in sorted(obj_at(item, "min").items()):
        yield from _below(name, item, least, requests, limits)
    for name, most in sorted(obj_at(item, "max").items()):
        yield from _above(name, item, most, "limit", limits, (("request", requests),))
    for name, ratio in sorted(obj_at(item, "maxLimitRequestRatio").items()):
        yield from _ratio(name, item, ratio, requests, limits)


def _below(name: str, item: Mapping[str, Any], least: Any, requests: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """Source: minConstraint."""
    rule = f"minimum {name} usage per {item.get('type')} is {quantity.canonical(least)}"
    if name not in requests:
        yield f"{rule}.  No request is specified"
    elif quantity.compare(requests[name], least) < 0:
        yield f"{rule}, but request is {quantity.canonical(requests[name])}"
    elif name in limits and quantity.compare(limits[name], least) < 0:
        yield f"{rule}, but limit is {quantity.canonical(limits[name])}"


def _above(
    name: str, item: Mapping[str, Any], most: Any, what: str, held: Mapping[str, Any], others: Sequence[tuple[str, Mapping[str, Any]]]
) -> Iterator[str]:
    """Source: maxConstraint, maxRequestConstraint."""
    rule = f"maximum {name} usage per {item.get('type')} is {quantity.canonical(most)}"
    if name not in held:
        yield f"{rule}.  No {what} is specified"
        return
    for called, amounts in ((what, held), *others):
        if name in amounts and quantity.compare(amounts[name], most) > 0:
            yield f"{rule}, but {called} is {quantity.canonical(amounts[name])}"
            return


def _ratio(name: str, item: Mapping[str, Any], most: Any, requests: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """Source: limitRequestRatioConstraint."""
    rule = f"{name} max limit to request ratio per {item.get('type')} is {quantity.canonical(most)}"
    request, limit = (quantity.parse(amounts.get(name, 0)) for amounts in (requests, limits))
    if not request:
        yield f"{rule}, but no request is specified or request is 0"
    elif not limit:
        yield f"{rule}, but no limit is specified or limit is 0"
    elif Fraction(limit, request) > quantity.parse(most):
        yield f"{rule}, but provided ratio is {float(limit / request):f}"
