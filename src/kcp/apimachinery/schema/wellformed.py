"""Whether the text of a schema is one at all: every keyword has a value of its type.

Schemas come inside other objects, where nothing describes the parts of their parts; what reads them afterwards relies on this.
Before: `violations`. Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/types_jsonschema.go (JSONSchemaProps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from kcp.apimachinery.errors import Cause

_TEXTS = ("id", "$schema", "$ref", "description", "type", "format", "title", "pattern", "x-kubernetes-list-type", "x-kubernetes-map-type")
_FLAGS = (
    "exclusiveMaximum", "exclusiveMinimum", "uniqueItems", "nullable", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
)  # fmt: skip
_COUNTS = ("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties")
_NUMBERS = ("maximum", "minimum", "multipleOf")
_TEXT_LISTS = ("required", "x-kubernetes-list-map-keys")
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf")
_SCHEMA_MAPS = ("properties", "patternProperties", "definitions")
_SCHEMA_OR_FLAG = ("additionalProperties", "additionalItems")
_TYPES: Mapping[str, str] = {
    **dict.fromkeys(_TEXTS, "string"), **dict.fromkeys(_FLAGS, "boolean"), **dict.fromkeys(_COUNTS, "integer"),
    **dict.fromkeys(_NUMBERS, "number"), **dict.fromkeys((*_TEXT_LISTS, *_SCHEMA_LISTS, "enum", "x-kubernetes-validations"), "array"),
    **dict.fromkeys((*_SCHEMA_MAPS, "dependencies", "externalDocs", "not"), "object"),
}  # fmt: skip
_RULE: Mapping[str, str] = {
    **dict.fromkeys(("rule", "message", "messageExpression", "reason", "fieldPath"), "string"),
    "optionalOldSelf": "boolean",
}
_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float), "array": (list,), "object": (dict,),
}  # fmt: skip
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_MOST = 100
"""Faults that are told of one schema."""

_Pending: TypeAlias = list[tuple[Any, str]]


def type_faults(schema: Any, path: str) -> list[Cause]:
    """Keywords of `schema` and of every schema in it that have a value of another type, at most a hundred; nulls count as absent."""
    return list(islice(_faults(schema, path), _MOST))


def _faults(schema: Any, path: str) -> Iterator[Cause]:
    pending: _Pending = [(schema, path)]
    while pending:
        here, at = pending.pop()
        if not isinstance(here, dict):
            yield _wrong(at, "object", here)
            continue
        for key, value in here.items():
            wanted = _TYPES.get(key)
            if value is None:
                continue
            if wanted is not None and type(value) not in _PYTHON[wanted]:
                yield _wrong(f"{at}.{key}", wanted, value)
            else:
                yield from _inner(key, value, f"{at}.{key}", pending)


def _inner(key: str, value: Any, at: str, pending: _Pending) -> Iterator[Cause]:
    """The faults of a keyword's own parts; the schemas in it are put on the list."""
    if key in _SCHEMA_MAPS:
        pending.extend((inner, f"{at}[{name}]") for name, inner in value.items())
    elif key in _SCHEMA_LISTS:
        pending.extend((inner, f"{at}[{index}]") for index, inner in enumerate(value))
    elif key == "not" or (key in _SCHEMA_OR_FLAG and not isinstance(value, bool)):
        pending.append((value, at))
    elif key == "items":
        pending.extend([(inner, f"{at}[{index}]") for index, inner in enumerate(value)] if isinstance(value, list) else [(value, at)])
    elif key in _TEXT_LISTS:
        yield from (_wrong(f"{at}[{index}]", "string", text) for index, text in enumerate(value) if not isinstance(text, str))
    elif key == "x-kubernetes-validations":
        for index, rule in enumerate(value):
            yield from _rule_faults(rule, f"{at}[{index}]")


def _rule_faults(rule: Any, at: str) -> Iterator[Cause]:
    if not isinstance(rule, dict):
        yield _wrong(at, "object", rule)
        return
    for key, wanted in _RULE.items():
        value = rule.get(key)
        if value is not None and type(value) not in _PYTHON[wanted]:
            yield _wrong(f"{at}.{key}", wanted, value)


def _wrong(at: str, wanted: str, value: Any) -> Cause:
    found = _NAMES.get(type(value), type(value).__name__)
    return Cause.type_invalid(at, found, f'{at} in body must be of type {wanted}: "{found}"')
