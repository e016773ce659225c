"""Structural schemas compared: does a cluster take every object that a workspace takes, and what would all of several take? Pure.

Before: `syncedresources`, `negotiation`. After: nothing.
Source: kcp release-0.11 pkg/schemacompat/schemacompat.go (EnsureStructuralSchemaCompatibility).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from kcp.apimachinery.meta import JSONObject

Schema: TypeAlias = Mapping[str, Any]

KEEPS_ALL: JSONObject = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""What is said of an API whose schema is known by its name: Kubernetes' own."""

_MOST_TOLD = 5
_UPPER = ("maximum", "maxLength", "maxItems", "maxProperties")
_LOWER = ("minimum", "minLength", "minItems", "minProperties")
_EXACT = ("pattern", "format", "multipleOf", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum")
_TYPED = ("apiVersion", "kind", "metadata")


class Incompatible(ValueError):
    """Nothing is valid by both schemas, or nobody can say what would be."""


def refusals(wanted: Schema, offered: Schema, *, is_native: bool) -> list[str]:
    """Why objects that are valid by `wanted` may be refused, or lose something, where `offered` is served; [] if they may not.

    Args: is_native: an API of Kubernetes itself, where an older cluster ignores a newer field by agreement, and where some versions
    say in their schema, as of the `spec` of a CronJob, what all of them have always required.

    >>> refusals({"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}}}, is_native=False)
    ['.a: is integer there, not string']
    """
    return list(islice(_refusals(wanted, offered, is_native, ""), _MOST_TOLD))


def _refusals(wanted: Schema, offered: Schema, is_native: bool, path: str) -> Iterator[str]:  # noqa: FBT001 - handed on
    if not path and _keeps_unknown(offered) and not offered.get("properties"):
        return
    if _is_either(offered):
        return
    kinds = _type(wanted), _type(offered)
    if all(kinds) and kinds[0] != kinds[1] and kinds != ("integer", "number"):
        yield f"{path or '.'}: is {kinds[1]} there, not {kinds[0]}"
        return
    yield from _limits(wanted, offered, path)
    yield from _fields(wanted, offered, is_native, path)
    if isinstance(offered.get("items"), Mapping) and isinstance(wanted.get("items"), Mapping):
        yield from _refusals(wanted["items"], offered["items"], is_native, f"{path}[]")
    ours, theirs = wanted.get("additionalProperties"), offered.get("additionalProperties")
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        yield from _refusals(ours, theirs, is_native, f"{path}.*")


def _limits(wanted: Schema, offered: Schema, path: str) -> Iterator[str]:
    where = path or "."
    if "enum" in offered and (missing := [v for v in wanted.get("enum", ["anything"]) if v not in offered["enum"]]):
        yield f"{where}: does not take {', '.join(map(str, missing))} there"
    for names, is_tighter in ((_UPPER, operator.lt), (_LOWER, operator.gt)):
        for name in names:
            if name in offered and (name not in wanted or is_tighter(offered[name], wanted[name])):
                yield f"{where}: {name} is {offered[name]} there"
    if "pattern" in offered and wanted.get("pattern") != offered["pattern"]:
        yield f"{where}: must match {offered['pattern']} there"


def _fields(wanted: Schema, offered: Schema, is_native: bool, path: str) -> Iterator[str]:  # noqa: FBT001 - handed on
    known, asked = offered.get("properties") or {}, wanted.get("properties") or {}
    takes_any = _keeps_unknown(offered) or bool(offered.get("additionalProperties"))
    for name in sorted(asked):
        if not path and name in _TYPED:
            continue
        if name in known:
            yield from _refusals(asked[name], known[name], is_native, f"{path}.{name}")
        elif not takes_any and not is_native:
            yield f"{path}.{name}: is not known there"
    for name in () if is_native else sorted(set(offered.get("required") or ()) - set(wanted.get("required") or ())):
        yield f"{path}.{name}: is required there"
    if _keeps_unknown(wanted) and not takes_any and not is_native:
        yield f"{path or '.'}: keeps unknown fields, which are dropped there"


def lowest_common(first: Schema, second: Schema, path: str = "") -> JSONObject:
    """The widest schema by which every valid object is valid by both. Neither argument is changed.

    Raises: Incompatible, with the field.
    """
    if _is_either(first) or _is_either(second):
        return dict(second if _is_either(first) else first)
    kinds = _type(first), _type(second)
    if all(kinds) and kinds[0] != kinds[1]:
        if set(kinds) != {"integer", "number"}:
            raise Incompatible(f"{path or '.'}: is {kinds[0]} in one cluster and {kinds[1]} in another")
        first, second = {**first, "type": "integer"}, {**second, "type": "integer"}
    common: JSONObject = {**second, **first}
    _narrow(common, first, second, path)
    _common_fields(common, first, second, path)
    for part in ("items", "additionalProperties"):
        if isinstance(first.get(part), Mapping) and isinstance(second.get(part), Mapping):
            common[part] = lowest_common(first[part], second[part], f"{path}{'[]' if part == 'items' else '.*'}")
    return common


def _narrow(common: JSONObject, first: Schema, second: Schema, path: str) -> None:
    for names, narrower in ((_UPPER, min), (_LOWER, max)):
        for name in names:
            if held := [schema[name] for schema in (first, second) if name in schema]:
                common[name] = narrower(held)
    for name in _EXACT:
        if name in first and name in second and first[name] != second[name]:
            raise Incompatible(f"{path or '.'}: {name} is {first[name]} in one cluster and {second[name]} in another")
    if "enum" in first and "enum" in second:
        common["enum"] = [value for value in first["enum"] if value in second["enum"]]
        if not common["enum"]:
            raise Incompatible(f"{path or '.'}: the clusters have no value in common")
    if common.get("nullable") and not (first.get("nullable") and second.get("nullable")):
        del common["nullable"]


def _common_fields(common: JSONObject, first: Schema, second: Schema, path: str) -> None:
    fields, others = first.get("properties"), second.get("properties")
    if fields is None and others is None:
        return
    shared: JSONObject = {}
    for name in dict.fromkeys([*(fields or {}), *(others or {})]):
        held = [(schema.get("properties") or {}).get(name) for schema in (first, second)]
        if held[0] is not None and held[1] is not None:
            shared[name] = lowest_common(held[0], held[1], f"{path}.{name}")
        elif _keeps_unknown(second if held[1] is None else first):
            shared[name] = held[0] if held[0] is not None else held[1]
    common["properties"] = shared
    required = list(dict.fromkeys([*(first.get("required") or ()), *(second.get("required") or ())]))
    if lost := [name for name in required if name not in shared]:
        raise Incompatible(f"{path}.{lost[0]}: is required in one cluster and not known in another")
    if required:
        common["required"] = required
    if not (_keeps_unknown(first) and _keeps_unknown(second)):
        common.pop("x-kubernetes-preserve-unknown-fields", None)


def _type(schema: Schema) -> str:
    return str(schema.get("type") or "")


def _is_either(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-int-or-string"))


def _keeps_unknown(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))
