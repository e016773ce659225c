"""Whether a CRD's schema is structural, and every rule it breaks.

Before: CRD and APIResourceSchema validation.
Source: apiextensions-apiserver/pkg/apiserver/schema/validation.go, pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.patterns import compile_pattern
from kcp.apimachinery.schema.wellformed import type_faults

_TYPES = ("object", "array", "string", "integer", "number", "boolean")
_JUNCTORS = ("allOf", "anyOf", "oneOf", "not")
_FORBIDDEN = (
    "$ref", "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly", "writeOnly", "xml",
    "additionalItems",
)  # fmt: skip
_ONLY_STRUCTURAL = (
    "type", "additionalProperties", "default", "title", "description", "nullable", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type", "x-kubernetes-validations",
)  # fmt: skip


def structural_violations(schema: JSONObject, path: str = "openAPIV3Schema") -> list[Cause]:
    """Every rule that `schema`, a kind's OpenAPI v3 schema at field `path`, breaks; empty for a structural schema."""
    if wrong := type_faults(schema, path):
        return wrong
    causes = list(_node(schema, path, root=True))
    if schema.get("type") != "object":
        at, shown = f"{path}.type", schema.get("type") or ""
        first = Cause.invalid(at, shown, "must be object at the root") if shown else Cause.required(at, "must not be empty at the root")
        causes = [first, *(cause for cause in causes if cause.field != at)]
    causes += _root_metadata(schema, path)
    return causes


def _node(schema: Any, path: str, *, root: bool = False) -> Iterator[Cause]:
    if not isinstance(schema, Mapping):
        yield Cause.type_invalid(path, schema, "must be a schema")
        return
    yield from _type(schema, path)
    yield from _forbidden(schema, path)
    yield from _extensions(schema, path, root=root)
    yield from _limits(schema, path)
    for name, inner in (schema.get("properties") or {}).items():
        yield from _node(inner, f"{path}.properties[{name}]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _node(schema["additionalProperties"], f"{path}.additionalProperties")
    items = schema.get("items")
    if isinstance(items, list):
        yield Cause.forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif items is not None:
        yield from _node(items, f"{path}.items")
    for junctor in _JUNCTORS:
        yield from _junctor(schema, junctor, path)


def _type(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    declared = schema.get("type") or ""
    free = schema.get("x-kubernetes-int-or-string") is True or schema.get("x-kubernetes-preserve-unknown-fields") is True
    if not declared and not free:
        yield Cause.required(f"{path}.type", "must not be empty for specified object fields")
    elif declared and declared not in _TYPES:
        yield Cause.not_supported(f"{path}.type", declared, sorted(_TYPES))
    if declared == "array" and "items" not in schema:
        yield Cause.required(f"{path}.items", "must be specified")
    if schema.get("properties") and schema.get("additionalProperties") not in (None, False):
        yield Cause.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if declared == "object" and schema.get("items") is not None:
        yield Cause.forbidden(f"{path}.items", "must not be used if type is object")


def _forbidden(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for key in _FORBIDDEN:
        if schema.get(key):
            yield Cause.forbidden(f"{path}.{key}", f"{key} is not supported")
    if schema.get("additionalProperties") is False:
        yield Cause.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if schema.get("uniqueItems") is True:
        yield Cause.forbidden(f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")


def _extensions(schema: Mapping[str, Any], path: str, *, root: bool) -> Iterator[Cause]:
    declared = schema.get("type") or ""
    preserve = schema.get("x-kubernetes-preserve-unknown-fields")
    if preserve is False:
        yield Cause.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", value=False, detail="must be true or undefined")
    if schema.get("x-kubernetes-embedded-resource") is True:
        if root:
            yield Cause.forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used at the root")
        if declared != "object":
            yield Cause.invalid(f"{path}.type", declared, "must be object if x-kubernetes-embedded-resource is true")
        if not preserve and not schema.get("properties"):
            detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
            yield Cause.required(f"{path}.properties", detail)
    if schema.get("x-kubernetes-int-or-string") is True and declared:
        yield Cause.forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in ("atomic", "granular"):
        yield Cause.not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))
    if map_type is not None and declared != "object":
        yield Cause.invalid(f"{path}.type", declared, "must be object if x-kubernetes-map-type is specified")
    yield from _list_type(schema, path)


def _list_type(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    if list_type is None:
        if keys:
            yield Cause.required(f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty")
        return
    if schema.get("type") != "array":
        yield Cause.invalid(f"{path}.type", schema.get("type") or "", "must be array if x-kubernetes-list-type is specified")
    if list_type not in ("atomic", "set", "map"):
        yield Cause.not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))
    if list_type == "map":
        yield from _map_keys(schema, keys, path)
    elif keys:
        yield Cause.required(f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty")


def _map_keys(schema: Mapping[str, Any], keys: Sequence[str], path: str) -> Iterator[Cause]:
    items = schema.get("items")
    items = items if isinstance(items, Mapping) else {}
    if not keys:
        yield Cause.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        yield Cause.invalid(f"{path}.items.type", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map")
    for index, key in enumerate(keys):
        inner = (items.get("properties") or {}).get(key)
        if inner is None:
            yield Cause.invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, "entries must all be names of item properties")
        elif inner.get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield Cause.invalid(f"{path}.items.properties[{key}].type", inner["type"], detail)
        elif key not in (items.get("required") or ()) and "default" not in inner:
            detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield Cause.required(f"{path}.items.properties[{key}].default", detail)


def _limits(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and pattern and compile_pattern(pattern) is None:
        yield Cause.invalid(f"{path}.pattern", pattern, "must be a valid regular expression, but isn't")
    for key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        value = schema.get(key)
        if isinstance(value, int) and value < 0:
            yield Cause.invalid(f"{path}.{key}", value, "must be non-negative")


def _junctor(schema: Mapping[str, Any], junctor: str, path: str) -> Iterator[Cause]:
    given = schema.get(junctor)
    if not given:
        return
    parts = [(f"{path}.{junctor}", given)] if junctor == "not" else [(f"{path}.{junctor}[{i}]", part) for i, part in enumerate(given)]
    int_or_string = schema.get("x-kubernetes-int-or-string") is True
    for where, part in parts:
        yield from _value_validation(part, schema, where, types_allowed=int_or_string)


def _value_validation(part: Any, parent: Mapping[str, Any], path: str, *, types_allowed: bool) -> Iterator[Cause]:
    """Inside a junctor only value validations may stand, about fields that the structural part has declared."""
    if not isinstance(part, Mapping):
        yield Cause.type_invalid(path, part, "must be a schema")
        return
    for key in _ONLY_STRUCTURAL:
        if part.get(key) not in (None, "", {}, []) and not (key == "type" and types_allowed):
            detail = "must be undefined to be structural" if key == "additionalProperties" else "must be empty to be structural"
            yield Cause.forbidden(f"{path}.{key}", detail)
    declared = parent.get("properties") or {}
    for name, inner in (part.get("properties") or {}).items():
        if name not in declared and not parent.get("additionalProperties"):
            yield Cause.required(f"{path.rpartition('.')[0]}.properties[{name}]", f"because it is defined in {path}.properties[{name}]")
        yield from _value_validation(inner, declared.get(name) or {}, f"{path}.properties[{name}]", types_allowed=False)
    if isinstance(part.get("items"), Mapping):
        if "items" not in parent:
            yield Cause.required(f"{path.rpartition('.')[0]}.items", f"because it is defined in {path}.items")
        yield from _value_validation(part["items"], parent.get("items") or {}, f"{path}.items", types_allowed=False)
    for junctor in _JUNCTORS:
        given = part.get(junctor)
        nested = [] if not given else [given] if junctor == "not" else given
        for index, inner in enumerate(nested):
            where = f"{path}.{junctor}" if junctor == "not" else f"{path}.{junctor}[{index}]"
            yield from _value_validation(inner, parent, where, types_allowed=types_allowed)


def _root_metadata(schema: JSONObject, path: str) -> Iterator[Cause]:
    metadata = (schema.get("properties") or {}).get("metadata")
    if not isinstance(metadata, Mapping):
        return
    allowed = {"type", "description", "properties"}
    extra = [key for key in metadata if key not in allowed]
    named = [name for name in metadata.get("properties") or {} if name not in ("name", "generateName")]
    if extra or named:
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield Cause.forbidden(f"{path}.properties[metadata]", detail)
