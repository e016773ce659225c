"""Whether a CRD's schema is structural, and every rule it breaks.

Before: `declarations`, which checks what else a schema may say; the condition NonStructuralSchema.
Source: apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.patterns import compile_pattern
from kcp.apimachinery.schema.wellformed import type_faults

_LISTS = ("anyOf", "allOf", "oneOf")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_WHERE = {"root": "must not be empty at the root", "item": "must not be empty for specified array items"}
_IN_FIELD = "must not be empty for specified object fields"
_UNDEFINED, _EMPTY, _FALSE = ("must be undefined to be structural", "must be empty to be structural", "must be false to be structural")
_NOT_NESTED: Mapping[str, str] = {
    "type": _EMPTY, "additionalProperties": _UNDEFINED, "default": _UNDEFINED, "title": _EMPTY, "description": _EMPTY, "nullable": _FALSE,
    "externalDocs": _UNDEFINED, "x-kubernetes-preserve-unknown-fields": _FALSE, "x-kubernetes-embedded-resource": _FALSE,
    "x-kubernetes-int-or-string": _FALSE, "x-kubernetes-list-map-keys": _EMPTY, "x-kubernetes-list-type": _UNDEFINED,
    "x-kubernetes-map-type": _UNDEFINED, "x-kubernetes-validations": _EMPTY,
}  # fmt: skip
"""What may only be said outside of allOf, anyOf, oneOf and not."""


def structural_violations(schema: JSONObject, path: str = "openAPIV3Schema") -> list[Cause]:
    """Every rule that `schema`, a kind's OpenAPI v3 schema at field `path`, breaks, in upstream's order; empty for a structural schema."""
    if wrong := type_faults(schema, path):
        return wrong
    return sorted([*_invariants(schema, path, "root"), *_incomplete(schema, path)], key=str)


def _invariants(schema: Mapping[str, Any], path: str, level: str) -> Iterator[Cause]:
    """Args: level: root, item or field."""
    items = schema.get("items")
    if schema.get("type") == "array" and not isinstance(items, Mapping):
        yield Cause.required(f"{path}.items", "must be specified")
    if isinstance(items, Mapping):
        yield from _invariants(items, f"{path}.items", "item")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _invariants(inner, f"{path}.properties[{name}]", "field")
    additional = schema.get("additionalProperties")
    if additional is not None and level == "root":
        yield Cause.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(additional, Mapping):
        yield from _invariants(additional, f"{path}.additionalProperties", "field")
    yield from _extensions(schema, path)
    yield from _validations(schema, path, schema)
    yield from _type(schema, path, level)
    yield from _metadata(schema, path, level)


def _extensions(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if schema.get("x-kubernetes-int-or-string") is True:
        for key in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
            if schema.get(key) is True:
                yield Cause.invalid(f"{path}.{key}", value=True, detail="must be false if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-embedded-resource") is not True:
        return
    if schema.get("additionalProperties") is not None:
        yield Cause.forbidden(f"{path}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if schema.get("x-kubernetes-preserve-unknown-fields") is not True and not schema.get("properties"):
        detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield Cause.required(f"{path}.properties", detail)


def _type(schema: Mapping[str, Any], path: str, level: str) -> Iterator[Cause]:
    declared, at = schema.get("type") or "", f"{path}.type"
    free = schema.get("x-kubernetes-int-or-string") is True or schema.get("x-kubernetes-preserve-unknown-fields") is True
    if schema.get("x-kubernetes-embedded-resource") is True and declared != "object":
        detail = "must be object if x-kubernetes-embedded-resource is true"
        yield Cause.invalid(at, declared, detail) if declared else Cause.required(at, detail)
    elif not declared and not free:
        yield Cause.required(at, _WHERE.get(level, _IN_FIELD))
    if level == "root" and declared and declared != "object":
        yield Cause.invalid(at, declared, "must be object at the root")


def _metadata(schema: Mapping[str, Any], path: str, level: str) -> Iterator[Cause]:
    """Of a whole object, also of an embedded one."""
    properties = schema.get("properties") or {}
    is_object = level == "root" or schema.get("x-kubernetes-embedded-resource") is True
    for name in ("kind", "apiVersion"):
        if is_object and name in properties and (found := properties[name].get("type") or "") != "string":
            yield Cause.invalid(f"{path}.properties[{name}].type", found, "must be string")
    metadata, at = properties.get("metadata"), f"{path}.properties[metadata]"
    if metadata is None or not is_object:
        return
    if (found := metadata.get("type") or "") != "object":
        yield Cause.invalid(f"{at}.type", found, "must be object")
    extra = [key for key, value in metadata.items() if value and key not in ("type", "default", "properties")]
    named = [name for name in metadata.get("properties") or {} if name not in ("name", "generateName")]
    if level == "root" and (extra or named):
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield Cause.forbidden(at, detail)


def _validations(part: Mapping[str, Any], path: str, schema: Mapping[str, Any] | None) -> Iterator[Cause]:
    """What is nested in a schema, or in something that is itself nested. Args: schema: the schema itself, None below a junctor."""
    any_of, all_of = part.get("anyOf") or (), part.get("allOf") or ()
    for index, inner in enumerate(any_of):
        if schema is None or any_of != _INT_OR_STRING:
            yield from _nested(inner, f"{path}.anyOf[{index}]")
    for index, inner in enumerate(all_of):
        is_pattern = schema is not None and index == 0 and inner.get("anyOf") == _INT_OR_STRING
        yield from _nested({**inner, "anyOf": []} if is_pattern else inner, f"{path}.allOf[{index}]")
    for index, inner in enumerate(part.get("oneOf") or ()):
        yield from _nested(inner, f"{path}.oneOf[{index}]")
    if part.get("not") is not None:
        yield from _nested(part["not"], f"{path}.not")
    pattern = part.get("pattern")
    if pattern and compile_pattern(pattern) is None:
        yield Cause.invalid(f"{path}.pattern", pattern, "must be a valid regular expression, but isn't")


def _nested(part: Mapping[str, Any], path: str) -> Iterator[Cause]:
    yield from _validations(part, path, None)
    if isinstance(part.get("items"), Mapping):
        yield from _nested(part["items"], f"{path}.items")
    properties = part.get("properties") or {}
    for name, inner in properties.items():
        yield from _nested(inner, f"{path}.properties[{name}]")
    for key, detail in _NOT_NESTED.items():
        value = part.get(key)
        if value or (value is not None and detail == _UNDEFINED):
            yield Cause.forbidden(f"{path}.{key}", detail)
    if "metadata" in properties:
        yield Cause.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _incomplete(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Every field that a nested part speaks of has to be declared outside."""
    yield from _undeclared(schema, schema, path, path)
    if isinstance(schema.get("items"), Mapping):
        yield from _incomplete(schema["items"], f"{path}.items")
    for name, inner in (schema.get("properties") or {}).items():
        yield from _incomplete(inner, f"{path}.properties[{name}]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _incomplete(schema["additionalProperties"], f"{path}.additionalProperties")


def _undeclared(part: Mapping[str, Any], schema: Mapping[str, Any], path: str, part_path: str) -> Iterator[Cause]:
    for junctor in _LISTS:
        for index, inner in enumerate(part.get(junctor) or ()):
            yield from _undeclared_in(inner, schema, path, f"{part_path}.{junctor}[{index}]")
    if part.get("not") is not None:
        yield from _undeclared_in(part["not"], schema, path, f"{part_path}.not")


def _undeclared_in(part: Mapping[str, Any], schema: Mapping[str, Any], path: str, part_path: str) -> Iterator[Cause]:
    yield from _undeclared(part, schema, path, part_path)
    properties = schema.get("properties") or {}
    below = [(f"properties[{name}]", inner, properties.get(name)) for name, inner in (part.get("properties") or {}).items()]
    if isinstance(part.get("items"), Mapping):
        below.append(("items", part["items"], schema.get("items")))
    for where, inner, declared in below:
        if isinstance(declared, Mapping):
            yield from _undeclared_in(inner, declared, f"{path}.{where}", f"{part_path}.{where}")
        else:
            yield Cause.required(f"{path}.{where}", f"because it is defined in {part_path}.{where}")
