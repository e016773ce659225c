"""Rules of claims for devices, of templates of claims and of device classes.

Before: `rules`. After: `apimachinery.cel`, loaded with the first selector.
Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation.go; k8s.io/dynamic-resource-allocation/cel (what selectors may say).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at, too_many

_MOST = 32
"""Requests, constraints, configurations of a claim, and selectors of a request."""
_MOST_ALTERNATIVES = 8
_LONGEST_EXPRESSION = 10 * 1024
_MODES = ("All", "ExactCount")
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_NO_REFERENCE = 'must be the name of a request in the claim or the name of a request and a subrequest separated by "/"'


def claim(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    """Once asked for, never changed."""
    if old is not None:
        return list(checks.unchanged(obj_at(new, "spec"), obj_at(old, "spec"), "spec"))
    return list(_devices(obj_at(new, "spec", "devices"), "spec.devices"))


def template(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    if old is not None:
        return list(checks.unchanged(obj_at(new, "spec"), obj_at(old, "spec"), "spec"))
    return list(_devices(obj_at(new, "spec", "spec", "devices"), "spec.spec.devices"))


def device_class(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:  # noqa: ARG001 - the form of a rule
    spec = obj_at(new, "spec")
    return [*_selectors(spec, "spec"), *(cause for path, each in _some(spec, "config", "spec") for cause in opaque(each, path))]


def _some(obj: Mapping[str, Any], field: str, at: str, most: int = _MOST) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from list(numbered(obj, field, f"{at}.{field}"))[:most]


def _size(obj: Mapping[str, Any], field: str, at: str, most: int = _MOST) -> Iterator[Cause]:
    if (count := len(list_at(obj, field))) > most:
        yield too_many(f"{at}.{field}", count, most)


def _devices(devices: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field in ("requests", "constraints", "config"):
        yield from _size(devices, field, at)
    yield from _unique(devices, "requests", at)
    for path, request in _some(devices, "requests", at):
        yield from _request(request, path)
    known = request_names(devices)
    for path, constraint in _some(devices, "constraints", at):
        yield from _references(constraint, path, known)
        yield from _constraint(constraint, path)
    for path, held in _some(devices, "config", at):
        yield from _references(held, path, known)
        yield from opaque(held, path)


def request_names(devices: Mapping[str, Any]) -> frozenset[str]:
    """What requests and their alternatives may be referred to by."""
    found = set()
    for request in list_at(devices, "requests"):
        name = str(obj_at(request).get("name"))
        found |= {name, *(f"{name}/{obj_at(other).get('name')}" for other in list_at(request, "firstAvailable"))}
    return frozenset(found)


def _unique(obj: Mapping[str, Any], field: str, at: str) -> Iterator[Cause]:
    seen: set[Any] = set()
    for path, each in numbered(obj, field, f"{at}.{field}"):
        if each.get("name") in seen:
            yield Cause.duplicate(path, each.get("name"))
        seen.add(each.get("name"))


def _request(request: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from _named(request, at)
    exactly, others = request.get("exactly"), list_at(request, "firstAvailable")
    if not others and exactly is None:
        yield Cause.required(at, _ONE_OF)
    elif others and exactly is not None:
        yield Cause.invalid(at, None, f"{_ONE_OF}, but multiple fields are set")
    elif others:
        yield from _size(request, "firstAvailable", at, _MOST_ALTERNATIVES)
        yield from _unique(request, "firstAvailable", at)
        for path, other in _some(request, "firstAvailable", at, _MOST_ALTERNATIVES):
            yield from _named(other, path)
            yield from _asked(other, path)
    else:
        yield from _asked(obj_at(exactly), f"{at}.exactly")


def _named(request: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.required(request, at, "name")
    yield from checks.named(request.get("name"), f"{at}.name", names.dns1123_label)


def _asked(asked: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.required(asked, at, "deviceClassName")
    yield from checks.named(asked.get("deviceClassName"), f"{at}.deviceClassName", names.dns1123_subdomain)
    yield from _selectors(asked, at)
    mode, count = asked.get("allocationMode"), asked.get("count") or 0
    if mode == "All" and count:
        yield Cause.invalid(f"{at}.count", count, "must not be specified when allocationMode is 'All'")
    elif mode == "ExactCount" and checks.is_int(count) and count <= 0:
        yield Cause.invalid(f"{at}.count", count, "must be greater than zero")
    yield from checks.one_of(asked, at, "allocationMode", _MODES)


def _selectors(holder: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from _size(holder, "selectors", at)
    for path, selector in _some(holder, "selectors", at):
        if not isinstance(selector.get("cel"), Mapping):
            yield Cause.required(f"{path}.cel")
            continue
        text, where = str(selector["cel"].get("expression") or ""), f"{path}.cel.expression"
        if len(text.encode()) > _LONGEST_EXPRESSION:
            yield Cause.too_long(where, _LONGEST_EXPRESSION)
        elif fault := _expression_fault(text):
            yield Cause.invalid(where, text, fault)


@lru_cache(maxsize=256)
def _expression_fault(text: str) -> str:
    """Why an expression selects no devices; "" if it may."""
    from kcp.apimachinery.cel.admission import compile_typed, object_type
    from kcp.apimachinery.cel.checker import Environment
    from kcp.apimachinery.cel.types import BOOL, DYN, STRING, map_of, opaque

    by_domain = (map_of(STRING, map_of(STRING, held)) for held in (DYN, opaque("kubernetes.Quantity")))
    attributes, capacity = by_domain
    device = object_type(driver=STRING, attributes=attributes, capacity=capacity, allowMultipleAllocations=BOOL)
    return compile_typed(text, Environment({"device": device}), ("bool",)).error


def _references(holder: Mapping[str, Any], at: str, known: frozenset[str]) -> Iterator[Cause]:
    named = list_at(holder, "requests")
    yield from request_references(named, [f"{at}.requests[{index}]" for index in range(len(named))], known)


def request_references(named: Sequence[Any], paths: Sequence[str], known: frozenset[str]) -> Iterator[Cause]:
    """Each is a request of the claim, and named once. Args: paths: where each stands."""
    seen: set[Any] = set()
    for where, name in zip(paths, named, strict=True):
        if name in seen:
            yield Cause.duplicate(where, name)
        elif name not in known:
            yield Cause.invalid(where, name, _NO_REFERENCE)
        seen.add(name)


def _constraint(constraint: Mapping[str, Any], at: str) -> Iterator[Cause]:
    told = 'exactly one of "matchAttribute" or "distinctAttribute" is required'
    given = [field for field in ("matchAttribute", "distinctAttribute") if constraint.get(field) is not None]
    if not given:
        yield Cause.required(at, told)
    elif len(given) > 1:
        yield Cause.invalid(at, None, f"{told}, but multiple fields are set")
    for field in given:
        if "/" not in str(constraint[field]):
            yield Cause.invalid(f"{at}.{field}", constraint[field], "must include a domain")


def opaque(config: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """The parameters that a driver reads."""
    held = config.get("opaque")
    if not isinstance(held, Mapping):
        yield Cause.required(f"{at}.opaque")
        return
    yield from checks.required(held, f"{at}.opaque", "driver", "parameters")
    yield from checks.named(str(held.get("driver") or "").lower(), f"{at}.opaque.driver", names.dns1123_subdomain)
