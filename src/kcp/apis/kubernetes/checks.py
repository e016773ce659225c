"""Checks that the rules of many kinds share; each yields causes with upstream's words.

Before: `pod_validation`, `workload_validation`, `validation`, `crds`. Source: k8s.io/apimachinery/pkg/util/validation, pkg/api/validation,
pkg/apis/meta/v1/validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from kcp.apimachinery import names, quantity
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector

IMMUTABLE = "field is immutable"
_PERCENT = re.compile(r"[0-9]+%\Z")
_PERCENT_FAULT = (
    "a valid percent string must be a numeric string followed by an ending '%' "
    "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
)


def obj_at(obj: Any, *path: str) -> Mapping[str, Any]:
    """The object at `path`; {} where there is none, or something else (which the schema reports)."""
    for step in path:
        obj = obj.get(step) if isinstance(obj, Mapping) else None
    return obj if isinstance(obj, Mapping) else {}


def list_at(obj: Any, *path: str) -> list[Any]:
    *head, last = path
    held = obj_at(obj, *head).get(last)
    return held if isinstance(held, list) else []


def numbered(obj: Any, field: str, at: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, object) of each object in a list field."""
    for index, item in enumerate(list_at(obj, field)):
        if isinstance(item, Mapping):
            yield f"{at}[{index}]", item


def is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def not_negative(obj: Mapping[str, Any], at: str, *fields: str) -> Iterator[Cause]:
    for field in fields:
        value = obj.get(field)
        if is_int(value) and value < 0:
            yield Cause.invalid(f"{at}.{field}", value, "must be greater than or equal to 0")


def one_of(obj: Mapping[str, Any], at: str, field: str, allowed: Iterable[str]) -> Iterator[Cause]:
    value = obj.get(field)
    if isinstance(value, str) and value not in (choices := sorted(allowed)):
        yield Cause.not_supported(f"{at}.{field}" if at else field, value, choices)


def required(obj: Mapping[str, Any], at: str, *fields: str) -> Iterator[Cause]:
    """An empty string counts as absent; a field that is missing altogether is the schema's to report where that says `required`."""
    for field in fields:
        if not obj.get(field):
            yield Cause.required(f"{at}.{field}" if at else field)


def named(text: Any, at: str, rule: Callable[[str], list[str]]) -> Iterator[Cause]:
    """`text` keeps the naming rule; empty is `required`'s to report."""
    if isinstance(text, str) and text:
        yield from (Cause.invalid(at, text, fault) for fault in rule(text))


def ip(value: Any, at: str) -> Iterator[Cause]:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        yield Cause.invalid(at, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def port(value: Any, at: str) -> Iterator[Cause]:
    if is_int(value) and not 1 <= value <= 65535:
        yield Cause.invalid(at, value, "must be between 1 and 65535, inclusive")


def port_or_name(value: Any, at: str) -> Iterator[Cause]:
    yield from port(value, at)
    if isinstance(value, str):
        yield from (Cause.invalid(at, value, fault) for fault in names.port_name(value))


def int_or_percent(value: Any, at: str) -> Iterator[Cause]:
    if isinstance(value, str) and not _PERCENT.match(value):
        yield Cause.invalid(at, value, _PERCENT_FAULT)
    elif is_int(value) and value < 0:
        yield Cause.invalid(at, value, "must be greater than or equal to 0")
    elif isinstance(value, str) and int(value[:-1]) > 100 and at.endswith("maxUnavailable"):
        yield Cause.invalid(at, value, "must not be greater than 100%")


def is_zero(value: Any) -> bool:
    return value in (0, "0%")


def labels(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for key, value in held.items():
        yield from (Cause.invalid(at, key, fault) for fault in names.qualified_name(key))
        if isinstance(value, str):
            yield from (Cause.invalid(at, value, fault) for fault in names.label_value(value))


def selector(held: Any, at: str) -> Iterator[Cause]:
    """Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation.ValidateLabelSelector."""
    if not isinstance(held, Mapping):
        return
    yield from labels(obj_at(held, "matchLabels"), f"{at}.matchLabels")
    for path, expression in numbered(held, "matchExpressions", f"{at}.matchExpressions"):
        operator, values = expression.get("operator"), expression.get("values") or []
        if operator in ("In", "NotIn") and not values:
            yield Cause.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            yield Cause.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield Cause.invalid(f"{path}.operator", operator, "not a valid selector operator")
        yield from named(expression.get("key"), f"{path}.key", names.qualified_name)
        for index, value in enumerate(values):
            yield from named(value, f"{path}.values[{index}]", names.label_value)


def selects(held: Mapping[str, Any], carried: Mapping[str, Any]) -> bool:
    try:
        return LabelSelector.from_object(held).matches(carried)
    except BadRequest:
        return True  # a malformed selector is reported by `selector`


def amounts(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    """No quantity is negative; whether they are quantities at all is the schema's."""
    for key, value in held.items():
        if not quantity.fault(value) and quantity.parse(value) < 0:
            yield Cause.invalid(f"{at}[{key}]", quantity.canonical(value), "must be greater than or equal to 0")


def too_many(at: str, count: int, most: int) -> Cause:
    return Cause(at, "FieldValueTooMany", f"Too many: {count}: must have at most {most} items")


def unchanged(new: Any, old: Any, at: str) -> Iterator[Cause]:
    if new != old:
        yield Cause.invalid(at, new, IMMUTABLE)


def data_keys(obj: JSONObject, field: str) -> Iterator[Cause]:
    for key in obj_at(obj, field):
        yield from (Cause.invalid(f"{field}[{key}]", key, fault) for fault in names.config_map_key(key))


def frozen_data(new: JSONObject, old: JSONObject | None, *fields: str) -> Iterator[Cause]:
    """An object once marked `immutable` keeps its data and its mark."""
    if old is None or not old.get("immutable"):
        return
    detail = "field is immutable when `immutable` is set"
    if not new.get("immutable"):
        yield Cause.forbidden("immutable", detail)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield Cause.forbidden(field, detail)


def not_found(at: str, value: str) -> Cause:
    return Cause(at, "FieldValueNotFound", f'Not found: "{value}"')
