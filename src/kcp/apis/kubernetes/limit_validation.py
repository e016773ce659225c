"""Rules of ResourceQuotas and LimitRanges beyond their schemas. Before: `rules`.

Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (ValidateResourceQuota, ValidateLimitRange), core/helper/helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names, quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_OBJECTS = (
    "pods", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "resourcequotas",
    "services.nodeports", "services.loadbalancers",
)  # fmt: skip
_STANDARD = frozenset(
    (*_COMPUTE, *_OBJECTS, "requests.storage", *(f"{part}.{name}" for part in ("requests", "limits") for name in _COMPUTE))
)
_BY_CLASS = ("PriorityClass", "VolumeAttributesClass")
_SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity", *_BY_CLASS)
_POD_SCOPED = frozenset(("pods", *_COMPUTE, *(f"{part}.{name}" for part in ("requests", "limits") for name in _COMPUTE)))
_OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def resource_quota(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    causes: list[Cause] = []
    for part in ("spec", "status"):
        for field in ("hard", "used") if part == "status" else ("hard",):
            for name, amount in obj_at(new, part, field).items():
                causes += _quota_amount(name, amount, f"{part}.{field}[{name}]")
    spec = obj_at(new, "spec")
    causes += _scopes(list_at(spec, "scopes"), obj_at(spec, "hard"), "spec.scopes", list_at(spec, "scopes"))
    causes += _scope_selector(spec)
    if old is not None and set(list_at(old, "spec", "scopes")) != set(list_at(spec, "scopes")):
        causes.append(Cause.invalid("spec.scopes", list_at(spec, "scopes"), checks.IMMUTABLE))
    return causes


def _quota_amount(name: str, amount: Any, at: str) -> Iterator[Cause]:
    faults = names.qualified_name(name)
    yield from (Cause.invalid(at, name, fault) for fault in faults)
    if not faults and "/" not in name and name not in _STANDARD and not name.startswith(("hugepages-", "requests.hugepages-")):
        yield Cause.invalid(at, name, "must be a standard resource for quota")
    if quantity.fault(amount):
        return
    if quantity.parse(amount) < 0:
        yield Cause.invalid(at, quantity.canonical(amount), "must be greater than or equal to 0")
    elif (name in _OBJECTS or name.startswith("count/")) and quantity.parse(amount).denominator != 1:
        yield Cause.invalid(at, quantity.canonical(amount), "must be an integer")


def _scope_selector(spec: Mapping[str, Any]) -> Iterator[Cause]:
    at = "spec.scopeSelector.matchExpressions"
    expressions = list(numbered(obj_at(spec, "scopeSelector"), "matchExpressions", at))
    chosen = [str(expression.get("scopeName") or "") for _, expression in expressions]
    yield from _scopes(chosen, obj_at(spec, "hard"), at, chosen)
    for path, expression in expressions:
        operator, values = expression.get("operator"), list_at(expression, "values")
        if operator not in _OPERATORS:
            yield Cause.invalid(f"{path}.operator", operator or "", "not a valid selector operator")
        elif operator in ("In", "NotIn") and not values:
            yield Cause.required(f"{path}.values", "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
        elif operator in ("Exists", "DoesNotExist") and values:
            detail = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector"
            yield Cause.invalid(f"{path}.values", values, detail)
        if expression.get("scopeName") not in _BY_CLASS and operator in _OPERATORS and operator != "Exists":
            detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
            detail += "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
            yield Cause.invalid(f"{path}.operator", operator, detail)


def _scopes(chosen: Sequence[str], hard: Mapping[str, Any], at: str, shown: Sequence[Any]) -> Iterator[Cause]:
    for scope in chosen:
        if scope not in _SCOPES:
            yield Cause.invalid(at, list(shown), "unsupported scope")
        elif any(not _fits(scope, name) for name in hard):
            yield Cause.invalid(at, list(shown), "unsupported scope applied to resource")
    for pair in _OPPOSITES:
        if set(pair) <= set(chosen):
            yield Cause.invalid(at, list(shown), "conflicting scopes")


def _fits(scope: str, name: str) -> bool:
    """Whether a scope can be combined with a resource. Source: IsResourceQuotaScopeValidForResource."""
    if scope == "BestEffort":
        return name == "pods"
    if scope == "VolumeAttributesClass":
        return name in ("persistentvolumeclaims", "requests.storage") or "/" in name
    return name in _POD_SCOPED or "hugepages-" in name or "/" in name


_BOUNDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def limit_range(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:  # noqa: ARG001 - the shape of a rule
    causes: list[Cause] = []
    seen: set[str] = set()
    for path, item in numbered(obj_at(new, "spec"), "limits", "spec.limits"):
        kind = str(item.get("type") or "")
        if kind in seen:
            causes.append(Cause.duplicate(f"{path}.type", kind))
        seen.add(kind)
        causes += _item(item, kind, path)
    return causes


def _item(item: Mapping[str, Any], kind: str, at: str) -> Iterator[Cause]:
    if kind not in ("Container", "Pod", "PersistentVolumeClaim") and "/" not in kind:
        yield Cause.invalid(f"{at}.type", kind, "must be a standard limit type or fully qualified")
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            if item.get(field):
                yield Cause.forbidden(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
    if kind == "PersistentVolumeClaim" and "storage" not in {*obj_at(item, "min"), *obj_at(item, "max")}:
        yield Cause.required(f"{at}.limits", "either minimum or maximum storage value is required, but neither was provided")
    for name in sorted({name for field in _BOUNDS for name in obj_at(item, field)}):
        yield from _bounds({field: obj_at(item, field).get(name) for field in _BOUNDS}, name, at)


def _bounds(held: Mapping[str, Any], name: str, at: str) -> Iterator[Cause]:
    """The order min ≤ default request ≤ default ≤ max of one resource, and its ratio."""
    if any(amount is not None and quantity.fault(amount) for amount in held.values()):
        return  # the schema's to report
    words = {"max": "max value", "min": "min value", "default": "default value", "defaultRequest": "default request value"}
    ordered = (("min", "min", "max"), ("defaultRequest", "min", "defaultRequest"), ("defaultRequest", "defaultRequest", "max"),
               ("defaultRequest", "defaultRequest", "default"), ("default", "min", "default"), ("default", "default", "max"))  # fmt: skip
    for field, low, high in ordered:
        if held[low] is not None and held[high] is not None and quantity.compare(held[low], held[high]) > 0:
            faulty, other = (low, high) if field == low else (high, low)
            told = f"{words[faulty]} {quantity.canonical(held[faulty])} is {'greater' if field == low else 'less'} than {words[other]}"
            yield Cause.invalid(f"{at}.{field}[{name}]", quantity.canonical(held[faulty]), f"{told} {quantity.canonical(held[other])}")
    ratio = held["maxLimitRequestRatio"]
    if ratio is None:
        return
    if quantity.compare(ratio, "1") < 0:
        yield Cause.invalid(
            f"{at}.maxLimitRequestRatio[{name}]", quantity.canonical(ratio), f"ratio {quantity.canonical(ratio)} is less than 1"
        )
    if held["min"] is not None and held["max"] is not None and quantity.parse(held["min"]) > 0:
        widest = quantity.parse(held["max"]) / quantity.parse(held["min"])
        if quantity.parse(ratio) > widest:
            detail = f"ratio {quantity.canonical(ratio)} is greater than max/min = {float(widest):f}"
            yield Cause.invalid(f"{at}.maxLimitRequestRatio[{name}]", quantity.canonical(ratio), detail)
