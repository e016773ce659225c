"""What a CRD's schema may say beside being structural: keywords, extensions of Kubernetes and how they go together, and its defaults.

Before: CRD and APIResourceSchema validation. After: `compile`, which makes of a part with a default what the default is held against.
Source: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go (ValidateCustomResourceDefinitionOpenAPISchema),
pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.compile import compile_schema
from kcp.apimachinery.schema.default import prune_nulls
from kcp.apimachinery.schema.fields import prune, prune_embedded_metadata
from kcp.apimachinery.schema.validate import faults
from kcp.apimachinery.schema.violations import structural_violations
from kcp.apimachinery.schema.wellformed import type_faults

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = (
    "id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref", "deprecated", "discriminator", "readOnly",
    "writeOnly", "xml",
)  # fmt: skip
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum", "maxLength": "MaxLength",
    "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems", "minItems": "MinItems", "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf", "required": "Required", "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs",
    "example": "Example", "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
"""What the root may say where status is apart, and as upstream calls it."""
_OF_RESOURCES = ("metadata", "kind", "apiVersion")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema a part stands."""

    path: str
    is_root: bool = False
    in_metadata: bool = False
    """Inside of metadata, apiVersion or kind, of the object or of one embedded in it."""
    no_defaults: str = ""
    """Why there must not be defaults."""

    def below(self, where: str, *, in_metadata: bool = False, no_defaults: str = "") -> _Place:
        return _Place(f"{self.path}.{where}", in_metadata=self.in_metadata or in_metadata, no_defaults=self.no_defaults or no_defaults)


def schema_faults(schema: JSONObject, path: str, *, has_status: bool) -> list[Cause]:
    """Every fault of a kind's schema at field `path`, but those of its rules (x-kubernetes-validations)."""
    if wrong := type_faults(schema, path):
        return wrong
    broken = structural_violations(schema, path) or default_faults(schema, path)
    told = {cause.field for cause in broken if cause.field.endswith(".type")}
    declared = [cause for cause in _node(schema, _Place(path, is_root=True)) if cause.field not in told]
    return [*_root(schema, path, has_status=has_status), *broken, *declared]


def _root(schema: JSONObject, path: str, *, has_status: bool) -> Iterator[Cause]:
    if has_status and schema.get("type") not in ("object", "", None):
        detail = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield Cause.invalid(f"{path}.type", schema["type"], detail)
    if has_status and any(value and key not in _AT_ROOT for key, value in schema.items()):
        detail = f"only [{' '.join(_AT_ROOT.values())}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield Cause.invalid(path, schema, detail)
    if schema.get("nullable") is True:
        yield Cause.forbidden(f"{path}.nullable", "nullable cannot be true at the root")


def _node(schema: Mapping[str, Any], place: _Place) -> Iterator[Cause]:
    yield from _keywords(schema, place)
    yield from _parts(schema, place)
    yield from _map_type(schema, place.path)
    yield from _list_type(schema, place.path)
    yield from _list_items(schema, place.path)


def _keywords(schema: Mapping[str, Any], place: _Place) -> Iterator[Cause]:
    path, declared = place.path, schema.get("type") or ""
    if declared and declared not in _TYPES:
        yield Cause.not_supported(f"{path}.type", declared, _TYPES)
    if schema.get("default") is not None and place.no_defaults:
        yield Cause.forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    for key in _UNSUPPORTED:
        if schema.get(key):
            yield Cause.forbidden(f"{path}.{key}", f"{key} is not supported")
    if declared == "null":
        yield Cause.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list):
        yield Cause.forbidden(f"{path}.items", "items must be a schema object and not an array")
    yield from _values(schema, path)
    if schema.get("x-kubernetes-embedded-resource") is True and (place.in_metadata or place.is_root):
        where = "inside of resource meta" if place.in_metadata else "at the root"
        yield Cause.forbidden(f"{path}.x-kubernetes-embedded-resource", f"must not be used {where}")


def _values(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if schema.get("uniqueItems") is True:
        yield Cause.forbidden(f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield Cause.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", value=False, detail="must be true or undefined")
    if schema.get("x-kubernetes-int-or-string") is True and schema.get("type"):
        yield Cause.forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    for key in _COUNTS:
        if (schema.get(key) or 0) < 0:
            yield Cause.invalid(f"{path}.{key}", schema[key], "must be non-negative")


def _parts(schema: Mapping[str, Any], place: _Place) -> Iterator[Cause]:
    """The schemas in a schema."""
    additional, properties = schema.get("additionalProperties"), schema.get("properties") or {}
    if additional is False:
        yield Cause.forbidden(f"{place.path}.additionalProperties", "additionalProperties cannot be set to false")
    elif isinstance(additional, Mapping):
        if properties:
            yield Cause.forbidden(f"{place.path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
        why = "inside additionalProperties applying to object metadata" if place.in_metadata else ""
        yield from _node(additional, place.below("additionalProperties", no_defaults=why))
    is_resource = place.is_root or schema.get("x-kubernetes-embedded-resource") is True
    for name, inner in properties.items():
        in_metadata = is_resource and name in _OF_RESOURCES
        why = f"in top-level {name}" if in_metadata and place.is_root else ""
        yield from _node(inner, place.below(f"properties[{name}]", in_metadata=in_metadata, no_defaults=why))
    if isinstance(schema.get("items"), Mapping):
        yield from _node(schema["items"], place.below("items"))
    for junctor in ("allOf", "oneOf", "anyOf"):
        for index, inner in enumerate(schema.get(junctor) or ()):
            yield from _node(inner, place.below(f"{junctor}[{index}]"))
    if schema.get("not") is not None:
        yield from _node(schema["not"], place.below("not"))


def _typed(schema: Mapping[str, Any], at: str, wanted: str, extension: str) -> Iterator[Cause]:
    declared, detail = schema.get("type") or "", f"must be {wanted} if {extension} is specified"
    if declared != wanted:
        yield Cause.invalid(f"{at}.type", declared, detail) if declared else Cause.required(f"{at}.type", detail)


def _map_type(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is None:
        return
    yield from _typed(schema, path, "object", "x-kubernetes-map-type")
    if map_type not in ("atomic", "granular"):
        yield Cause.not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))


def _list_type(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    list_type, keys, at = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or (), "x-kubernetes-list-type"
    if list_type is not None:
        yield from _typed(schema, path, "array", "x-kubernetes-list-type")
        if list_type not in ("atomic", "set", "map"):
            yield Cause.not_supported(f"{path}.{at}", list_type, ("atomic", "set", "map"))
    detail = "must be map if x-kubernetes-list-map-keys is non-empty"
    if keys and list_type != "map":
        yield Cause.required(f"{path}.{at}", detail) if list_type is None else Cause.invalid(f"{path}.{at}", list_type, detail)
    if list_type == "map":
        yield from _map_keys(schema, keys, path)


def _map_keys(schema: Mapping[str, Any], keys: Sequence[str], path: str) -> Iterator[Cause]:
    at = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield Cause.required(at, "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items")
    if items is None:
        yield Cause.required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    if not isinstance(items, Mapping):
        return
    if items.get("type") != "object":
        yield Cause.invalid(f"{path}.items.type", items.get("type") or "", "must be object if parent array's x-kubernetes-list-type is map")
        return
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            yield Cause.invalid(at, list(keys), "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield Cause.invalid(f"{path}.items.properties[{key}].type", items["type"], detail)
        if key in keys[:index]:
            yield Cause.invalid(at, list(keys), "must not contain duplicate entries")


def _list_items(schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Of sets and maps: what makes their items comparable."""
    list_type, items = schema.get("x-kubernetes-list-type"), schema.get("items")
    if list_type not in ("set", "map") or not isinstance(items, Mapping):
        return
    if list_type == "set" and schema.get("type") == "array":
        part = {"array": "x-kubernetes-list-type", "object": "x-kubernetes-map-type"}.get(items.get("type") or "", "")
        found = items.get(part) if part else None
        if part and found != "atomic" and not (part == "x-kubernetes-list-type" and found is None):
            detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield Cause.invalid(f"{path}.items.{part}", found, detail)
    if items.get("nullable") is True:
        yield Cause.forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    if list_type == "map":
        yield from _key_properties(schema, items, path)


def _key_properties(schema: Mapping[str, Any], items: Mapping[str, Any], path: str) -> Iterator[Cause]:
    why = "this property is in x-kubernetes-list-map-keys, so it"
    for key in schema.get("x-kubernetes-list-map-keys") or ():
        inner, at = (items.get("properties") or {}).get(key), f"{path}.items.properties[{key}]"
        if inner is None:
            continue
        if key not in (items.get("required") or ()) and inner.get("default") is None:
            yield Cause.required(f"{at}.default", f"{why} must have a default or be a required property")
        if inner.get("nullable") is True:
            yield Cause.forbidden(f"{at}.nullable", f"{why} cannot be nullable")


def default_faults(schema: Mapping[str, Any], path: str) -> list[Cause]:
    """Defaults of a structural schema that it would refuse itself, or that say what would be pruned."""
    return [cause for held in _defaulted(schema, path, in_metadata=False) for cause in _default(held)]


class _Default(NamedTuple):
    schema: Mapping[str, Any]
    path: str
    in_metadata: bool
    """Of the metadata of an object or of one embedded in it, which loses in silence what it has no place for."""


def _defaulted(schema: Mapping[str, Any], path: str, *, in_metadata: bool) -> Iterator[_Default]:
    if schema.get("default") is not None:
        yield _Default(schema, f"{path}.default", in_metadata)
    is_object = schema.get("x-kubernetes-embedded-resource") is True
    inside = in_metadata and not is_object
    if isinstance(schema.get("items"), Mapping):
        yield from _defaulted(schema["items"], f"{path}.items", in_metadata=inside)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _defaulted(schema["additionalProperties"], f"{path}.additionalProperties", in_metadata=inside)
    for name, inner in (schema.get("properties") or {}).items():
        is_metadata = is_object and name in ("apiVersion", "kind", "metadata")
        yield from _defaulted(inner, f"{path}.properties[{name}]", in_metadata=inside or is_metadata)


def _default(held: _Default) -> Iterator[Cause]:
    schema, path, value = held.schema, held.path, held.schema["default"]
    node = compile_schema({"type": "object", "properties": {"value": dict(schema)}}).properties["value"]
    coerced = copy_json(value)
    prune_embedded_metadata(node, coerced)
    pruned = copy_json(coerced)
    prune(node, pruned)
    if pruned != coerced and not held.in_metadata:
        yield Cause.invalid(path, value, "must not have unknown fields")
    checked = copy_json(coerced)
    prune_nulls(node, checked)
    yield from faults(node, checked, path)
