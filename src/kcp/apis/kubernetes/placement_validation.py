"""Rules of where pods may go: tolerations, affinity, topology spread. Before: `pod_validation`, `cluster_validation`.

Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_NO_KEY = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'


def tolerations(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """Of the field `tolerations` of `held`, which stands at `at`."""
    for path, toleration in numbered(held, "tolerations", at):
        key, operator, effect = (toleration.get(field) or "" for field in ("key", "operator", "effect"))
        yield from checks.named(key, f"{path}.key", names.qualified_name)
        if not key and operator != "Exists":
            yield Cause.invalid(f"{path}.operator", operator, _NO_KEY)
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            yield Cause.invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        value = toleration.get("value") or ""
        if operator in ("Equal", ""):
            yield from (Cause.invalid(f"{path}.operator", value, fault) for fault in names.label_value(str(value)))
        elif operator == "Exists":
            if value:
                yield Cause.invalid(f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
        else:
            yield Cause.not_supported(f"{path}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in _EFFECTS:
            yield Cause.not_supported(f"{path}.effect", effect, _EFFECTS)


def affinity(spec: Mapping[str, Any], at: str) -> Iterator[Cause]:
    held = obj_at(spec, "affinity")
    node = obj_at(held, "nodeAffinity")
    if (required := node.get("requiredDuringSchedulingIgnoredDuringExecution")) is not None:
        yield from node_selector(required, f"{at}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution")
    field = "preferredDuringSchedulingIgnoredDuringExecution"
    for path, term in numbered(node, field, f"{at}.nodeAffinity.{field}"):
        yield from _weight(term, path)
        yield from _node_term(obj_at(term, "preference"), f"{path}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from _pod_affinity(obj_at(held, kind), f"{at}.{kind}")


def node_selector(held: Any, at: str) -> Iterator[Cause]:
    if not list_at(held, "nodeSelectorTerms"):
        yield Cause.required(f"{at}.nodeSelectorTerms", "must have at least one node selector term")
    for path, term in numbered(held, "nodeSelectorTerms", f"{at}.nodeSelectorTerms"):
        yield from _node_term(term, path)


def _node_term(term: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("matchExpressions", "matchFields"):
        for path, requirement in numbered(term, field, f"{at}.{field}"):
            yield from _requirement(requirement, path)


def _requirement(requirement: Mapping[str, Any], at: str) -> Iterator[Cause]:
    operator, values = requirement.get("operator"), list_at(requirement, "values")
    if operator in ("In", "NotIn"):
        if not values:
            yield Cause.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield Cause.forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            yield Cause.required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        yield Cause.invalid(f"{at}.operator", operator, "not a valid selector operator")
    yield from checks.named(requirement.get("key"), f"{at}.key", names.qualified_name)


def _weight(term: Mapping[str, Any], at: str) -> Iterator[Cause]:
    weight = term.get("weight")
    if checks.is_int(weight) and not 1 <= weight <= 100:
        yield Cause.invalid(f"{at}.weight", weight, "must be in the range 1-100")


def _pod_affinity(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    for path, term in numbered(held, field, f"{at}.{field}"):
        yield from _pod_term(term, path)
    field = "preferredDuringSchedulingIgnoredDuringExecution"
    for path, weighted in numbered(held, field, f"{at}.{field}"):
        yield from _weight(weighted, path)
        yield from _pod_term(obj_at(weighted, "podAffinityTerm"), f"{path}.podAffinityTerm")


def _pod_term(term: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("labelSelector", "namespaceSelector"):
        yield from checks.selector(term.get(field), f"{at}.{field}")
    for name in list_at(term, "namespaces"):
        yield from (Cause.invalid(f"{at}.namespace", name, fault) for fault in names.dns1123_label(str(name)))
    key = term.get("topologyKey")
    if not key:
        yield Cause.required(f"{at}.topologyKey", "can not be empty")
    yield from checks.named(key, f"{at}.topologyKey", names.qualified_name)


def spread(spec: Mapping[str, Any], at: str) -> Iterator[Cause]:
    seen: set[tuple[str, str]] = set()
    for path, constraint in numbered(spec, "topologySpreadConstraints", at):
        skew, key, action = constraint.get("maxSkew"), str(constraint.get("topologyKey") or ""), constraint.get("whenUnsatisfiable")
        if checks.is_int(skew) and skew <= 0:
            yield Cause.invalid(f"{path}.maxSkew", skew, "must be greater than zero")
        if not key:
            yield Cause.required(f"{path}.topologyKey", "can not be empty")
        yield from checks.one_of(constraint, path, "whenUnsatisfiable", ("DoNotSchedule", "ScheduleAnyway"))
        if (key, str(action)) in seen:
            yield Cause.duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
        seen.add((key, str(action)))
        domains = constraint.get("minDomains")
        if checks.is_int(domains) and domains <= 0:
            yield Cause.invalid(f"{path}.minDomains", domains, "must be greater than zero")
        if domains is not None and action != "DoNotSchedule":
            told = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            yield Cause.invalid(f"{path}.minDomains", domains, told)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            yield from checks.one_of(constraint, path, field, ("Honor", "Ignore"))
        yield from checks.selector(constraint.get("labelSelector"), f"{path}.labelSelector")
