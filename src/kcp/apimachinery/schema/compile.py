"""From an OpenAPI schema to `Schema` nodes.

Before: whoever knows a schema (built-in definitions, a CRD, an APIResourceSchema). After: `node.Schema`.
Equal sub-schemas become one node in the whole process, and definitions behind `$ref` are compiled when first used and shared, so a thousand
CRDs that embed the same pod template hold it once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

import orjson

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.fields import prune, prune_embedded_metadata
from kcp.apimachinery.schema.formats import INTEGER_RANGES
from kcp.apimachinery.schema.node import CONTENT, NOTHING, Never, Schema
from kcp.apimachinery.schema.patterns import pattern as pattern_of
from kcp.apimachinery.schema.wellknown import DEFAULTS, OBJECT_META, QUANTITY, WELL_KNOWN

Resolver = Callable[[str], JSONObject]

_PLAIN: Mapping[str, type[Any]] = {"string": str, "boolean": bool, "integer": int}
_LIMITS = (
    ("pattern", None), ("minimum", None), ("maximum", None), ("multiple_of", None), ("min_length", None), ("max_length", None),
    ("min_items", None), ("max_items", None), ("unique_items", False), ("min_properties", None), ("max_properties", None), ("enum", ()),
    ("all_of", ()), ("any_of", ()), ("one_of", ()), ("not_", None),
)  # fmt: skip
_CHECKED_FORMATS_PLAIN = frozenset(("", "password", "double", "float"))
_INT_OR_STRING_ALTERNATIVES = ([{"type": "integer"}, {"type": "string"}], [{"type": "string"}, {"type": "integer"}])

_interned: WeakValueDictionary[Hashable, Schema] = WeakValueDictionary()


def compile_schema(openapi: JSONObject, *, resolve: Resolver | None = None) -> Schema:
    """The compiled schema of one kind.

    Args: openapi an OpenAPI v3 or structural schema of a whole object; resolve gives the definition behind a `$ref`, by its bare name
          (`io.k8s.api.core.v1.PodSpec`). Calls with the same `resolve` share definitions.
    """
    definitions = _definitions(resolve)
    native = "x-kubernetes-group-version-kind" in openapi or isinstance(openapi.get("type"), list)
    return _as_resource(definitions.compile(openapi, native=native))


class Definitions:
    """The definitions reachable through one resolver, each compiled at most once."""

    def __init__(self, resolve: Resolver | None) -> None:
        self._resolve = resolve
        self._nodes: dict[tuple[str, bytes], Schema] = {}

    def compile(self, openapi: Mapping[str, Any], *, native: bool) -> Schema:
        """The node of one schema; behind a `$ref`, a node that fills itself when first read."""
        reference = openapi.get("$ref") or _wrapped_reference(openapi)
        if reference:
            return self._reference(reference.rpartition("/")[2], openapi)
        return intern(self._content(openapi, native=native))

    def _reference(self, name: str, openapi: Mapping[str, Any]) -> Schema:
        extra = {key: value for key, value in openapi.items() if key.startswith("x-kubernetes-") or key == "nullable"}
        key = (name, orjson.dumps(extra, option=orjson.OPT_SORT_KEYS) if extra else b"")
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Schema()
            node.pending = partial(self._definition, name, extra)
        return node

    def _definition(self, name: str, extra: Mapping[str, Any]) -> Schema:
        if extra:
            base, own = self._reference(name, {}), self._content(extra, native=True)
            given = _extensions(extra)
            return intern({slot: own[slot] if slot in given else getattr(base, slot) for slot in CONTENT})
        openapi = WELL_KNOWN.get(name)
        if openapi is None:
            if self._resolve is None:
                raise ValueError(f"the schema refers to {name}, but there is nothing to look it up in")
            openapi = self._resolve(name)
        for field, value in DEFAULTS.get(name, {}).items():
            properties = openapi.get("properties", {})
            openapi = {**openapi, "properties": {**properties, field: {**properties.get(field, {}), "default": value}}}
        return self.compile(openapi, native=True)

    def _content(self, openapi: Mapping[str, Any], *, native: bool) -> dict[str, Any]:
        content = _shape(openapi, native=native)
        content.update(_value_limits(openapi))
        properties = openapi.get("properties") or {}
        compiled = {name: self.compile(inner, native=native) for name, inner in properties.items()}
        additional = openapi.get("additionalProperties")
        items = openapi.get("items")
        content["properties"] = MappingProxyType(compiled) if compiled else NOTHING
        content["additional"] = self._any() if additional is True else self.compile(additional, native=native) if additional else None
        if additional == {}:
            content["additional"] = self._any()
        content["items"] = self.compile(items, native=native) if isinstance(items, Mapping) else None
        for slot, key in (("all_of", "allOf"), ("any_of", "anyOf"), ("one_of", "oneOf")):
            content[slot] = tuple(self.compile(part, native=native) for part in openapi.get(key) or ())
        if content["int_or_string"] and _only_types(openapi.get("anyOf")):
            content["any_of"] = ()
        content["not_"] = self.compile(openapi["not"], native=native) if openapi.get("not") else None
        content["defaults"] = tuple(
            (name, _filled_in(inner["default"], compiled[name]), inner.get("nullable") is True)
            for name, inner in properties.items()
            if "default" in inner and not _is_native_zero(inner)
        )
        return _derived(content)

    def _any(self) -> Schema:
        return self.compile({"x-kubernetes-preserve-unknown-fields": True}, native=False)


@lru_cache(maxsize=16)
def _definitions(resolve: Resolver | None) -> Definitions:
    return Definitions(resolve)


def _wrapped_reference(openapi: Mapping[str, Any]) -> str:
    """OpenAPI v3 puts a `$ref` that has siblings into an `allOf` of one."""
    parts = openapi.get("allOf")
    return str(parts[0].get("$ref") or "") if isinstance(parts, list) and len(parts) == 1 and "properties" not in openapi else ""


def _filled_in(value: Any, node: Schema) -> Any:
    """A default as objects get it: metadata of embedded objects without what it has no place for."""
    value = copy_json(value)
    if not node.native and isinstance(value, (dict, list)):
        prune_embedded_metadata(node, value)
    return value


def _is_native_zero(inner: Mapping[str, Any]) -> bool:
    """`default: {}` beside a `$ref` says that the Go field is a struct, not that the server fills something in."""
    return inner["default"] == {} and bool(inner.get("$ref") or _wrapped_reference(inner))


def _only_types(any_of: Any) -> bool:
    return any_of in _INT_OR_STRING_ALTERNATIVES


def _shape(openapi: Mapping[str, Any], *, native: bool) -> dict[str, Any]:
    """What the node says about the kind of value and its place in patches and apply."""
    declared = openapi.get("type") or ""
    types = [name for name in declared if name != "null"] if isinstance(declared, list) else [declared]
    type_name = str(types[0]) if len(types) == 1 else ""
    int_or_string = openapi.get("x-kubernetes-int-or-string") is True or openapi.get("format") == "int-or-string"
    quantity = openapi.get(QUANTITY) is True
    fields_open = not openapi.get("properties") and not openapi.get("additionalProperties")
    open_by_kind = fields_open and (type_name == "" or (native and type_name == "object"))
    strategy = openapi.get("x-kubernetes-patch-strategy") or ""
    typeless_native = native and not type_name and not int_or_string and not quantity and not openapi.get("properties")
    return {
        "type": "" if int_or_string or quantity else type_name,
        "native": native,
        "nullable": openapi.get("nullable") is True,
        "drop_null": native and (bool(declared) or int_or_string or quantity),  # Go makes of a null what it makes of an absent field
        "drop_empty": native and (type_name == "array" or (type_name == "object" and bool(openapi.get("additionalProperties")))),
        "int_or_string": int_or_string,
        "quantity": quantity,
        "preserve": openapi.get("x-kubernetes-preserve-unknown-fields") is True or open_by_kind,
        "embedded": openapi.get("x-kubernetes-embedded-resource") is True,
        "required": tuple(openapi.get("required") or ()),
        "list_type": openapi.get("x-kubernetes-list-type") or "",
        "list_keys": tuple(openapi.get("x-kubernetes-list-map-keys") or ()),
        "map_type": openapi.get("x-kubernetes-map-type") or ("atomic" if typeless_native else ""),
        "merge_key": openapi.get("x-kubernetes-patch-merge-key") or "",
        "patch_strategy": tuple(part for part in strategy.split(",") if part),
        "has_default": "default" in openapi,
        "default_value": copy_json(openapi.get("default")),
        "validations": tuple(openapi.get("x-kubernetes-validations") or ()),
    }


def _value_limits(openapi: Mapping[str, Any]) -> dict[str, Any]:
    pattern = openapi.get("pattern") or ""
    return {
        "enum": tuple(openapi.get("enum") or ()),
        "pattern": pattern_of(pattern) if pattern else None,
        "pattern_text": pattern,
        "format": openapi.get("format") or "",
        "minimum": openapi.get("minimum"),
        "maximum": openapi.get("maximum"),
        "exclusive_minimum": openapi.get("exclusiveMinimum") is True,
        "exclusive_maximum": openapi.get("exclusiveMaximum") is True,
        "multiple_of": openapi.get("multipleOf"),
        "min_length": openapi.get("minLength"),
        "max_length": openapi.get("maxLength"),
        "min_items": openapi.get("minItems"),
        "max_items": openapi.get("maxItems"),
        "unique_items": openapi.get("uniqueItems") is True,
        "min_properties": openapi.get("minProperties"),
        "max_properties": openapi.get("maxProperties"),
    }


def _derived(content: dict[str, Any]) -> dict[str, Any]:
    """Facts that the walks would otherwise work out for every value."""
    limited = any(content[slot] != empty for slot, empty in _LIMITS)
    only_format = content["type"] == "integer" and not limited
    content["int_range"] = INTEGER_RANGES.get(content["format"]) if only_format else None
    checked_format = content["format"] not in _CHECKED_FORMATS_PLAIN
    enforced_list = not content["native"] and content["list_type"] in ("set", "map")
    content["constrained"] = limited or checked_format or enforced_list or content["embedded"]
    content["plain"] = (
        Never if content["constrained"] or content["int_or_string"] or content["quantity"] else _PLAIN.get(content["type"], Never)
    )
    beside = (node for node in (content["additional"], content["items"]) if node is not None)
    content["defaulting"] = bool(content["defaults"]) or any(
        node.pending is not None or node.defaulting or node.drop_null or node.drop_empty
        for node in (*content["properties"].values(), *beside)
    )
    return content if not content["embedded"] else _with_resource_fields(content)


def _as_resource(node: Schema) -> Schema:
    """The node of a whole object: apiVersion, kind and metadata are always known, whatever the schema says about them."""
    if node.type not in ("object", ""):
        return node
    return intern(_with_resource_fields({slot: getattr(node, slot) for slot in CONTENT}))


def _with_resource_fields(content: dict[str, Any]) -> dict[str, Any]:
    declared: Mapping[str, Schema] = content["properties"]
    text = intern(_definitions(None)._content({"type": ["string", "null"]}, native=True))
    metadata = _object_meta(declared.get("metadata"))
    properties = {**declared, "apiVersion": text, "kind": text, "metadata": metadata}
    defaults = tuple((name, _known(value, metadata) if name == "metadata" else value, null) for name, value, null in content["defaults"])
    return {**content, "properties": MappingProxyType(properties), "defaults": defaults, "defaulting": True}


def _known(value: Any, node: Schema) -> Any:
    value = copy_json(value)
    prune(node, value)
    return value


def _object_meta(declared: Schema | None) -> Schema:
    """ObjectMeta; a CRD may narrow `metadata.name` and `metadata.generateName`, and have defaults for what ObjectMeta has."""
    standard = _definitions(None)._reference(OBJECT_META, {})
    if declared is None:
        return standard
    narrowed = {k: v for k, v in declared.properties.items() if k in ("name", "generateName") and v.constrained}
    defaults = tuple(entry for entry in declared.defaults if entry[0] in standard.properties)
    if not narrowed and not defaults:
        return standard
    content = {slot: getattr(standard, slot) for slot in CONTENT}
    content |= {"properties": MappingProxyType({**standard.properties, **narrowed}), "defaults": (*standard.defaults, *defaults)}
    return intern({**content, "defaulting": True})


def _extensions(extra: Mapping[str, Any]) -> frozenset[str]:
    """The slots that siblings of a `$ref` decide."""
    slots = {
        "x-kubernetes-list-type": ("list_type",), "x-kubernetes-list-map-keys": ("list_keys",), "x-kubernetes-map-type": ("map_type",),
        "x-kubernetes-patch-merge-key": ("merge_key",), "x-kubernetes-patch-strategy": ("patch_strategy",), "nullable": ("nullable",),
        "x-kubernetes-preserve-unknown-fields": ("preserve",), "x-kubernetes-validations": ("validations",),
    }  # fmt: skip
    return frozenset(slot for key in extra for slot in slots.get(key, ()))


def intern(content: Mapping[str, Any]) -> Schema:
    """The one node with this content."""
    key = tuple(_identity(content[slot]) for slot in CONTENT)
    node = _interned.get(key)
    if node is None:
        node = Schema()
        for slot in CONTENT:
            setattr(node, slot, content[slot])
        node.pending = None
        _interned[key] = node
    return node


def _identity(value: Any) -> Hashable:
    """A hashable stand-in for one slot's value; nodes stand for themselves, because equal ones are the same."""
    if isinstance(value, (dict, list)):
        return orjson.dumps(value)
    if isinstance(value, Mapping):
        return tuple((name, id(node)) for name, node in value.items())
    if isinstance(value, tuple):
        return tuple(_identity(part) for part in value)
    if isinstance(value, (bool, int, float)):
        return (type(value), value)
    return value if isinstance(value, Hashable) else id(value)
