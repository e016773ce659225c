"""CEL types of what a structural schema describes, with the sizes that it allows.

Before: `rules`, `rulecheck`. After: `apimachinery.schema` (nodes), `types`.
Source: k8s.io/apiserver/pkg/cel/{common/schemas.go,limits.go}.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.escaping import escape
from kcp.apimachinery.cel.library.times import parse_duration
from kcp.apimachinery.cel.types import BOOL, STRING, Field, Type
from kcp.apimachinery.schema.node import Schema

LARGEST_REQUEST = 3 * 1024 * 1024
_TEXT_SIZE = {"duration": 32, "date": 12, "date-time": 32}
_LEAST_TEXT = {"duration": 3, "date": 12, "date-time": 21}
_KEY = Type("string", max_size=0)
"""Map keys are taken to be of no size, as upstream does."""


class Declarations:
    """The types of one schema and everything below; nodes that are the same have one type."""

    def __init__(self) -> None:
        self._types: dict[tuple[Schema, bool], Type | None] = {}
        self._least: dict[tuple[Schema, bool], int] = {}

    def of(self, schema: Schema, *, is_root: bool) -> Type | None:
        """None for what expressions do not see.

        Args: is_root: a whole resource or an embedded one, of which apiVersion, kind and the names are always there.
        """
        key = (schema, is_root)
        if key not in self._types:
            self._types[key] = self._make(schema, is_root=is_root)
        return self._types[key]

    def _make(self, schema: Schema, *, is_root: bool) -> Type | None:
        if schema.quantity:
            return Type("string", max_size=LARGEST_REQUEST - 2)
        if schema.int_or_string:
            return Type("dyn", max_size=LARGEST_REQUEST - 2 if schema.max_length is None else max(schema.max_length, 0) * 4)
        match schema.type:
            case "array":
                return self._array(schema)
            case "object":
                return self._object(schema, is_root=is_root)
            case "string":
                return _string(schema)
            case "boolean":
                return BOOL
            case "number":
                return Type("double", max_size=0, convert=_to_float)
            case "integer":
                return Type("int", max_size=0)
        return None

    def _array(self, schema: Schema) -> Type | None:
        items = self.of(schema.items, is_root=schema.items.embedded) if schema.items is not None else None
        if items is None or schema.items is None:
            return None
        most = schema.max_items
        if most is None:
            most = (LARGEST_REQUEST - 2) // (self.least_size(schema.items, is_root=schema.items.embedded) + 1)
        return Type("list", params=(items,), max_size=max(most, 0), schema=schema, convert=_each(items.convert))

    def _object(self, schema: Schema, *, is_root: bool) -> Type | None:
        values = schema.additional
        if values is not None and not schema.properties and not _is_anything(values):
            declared = self.of(values, is_root=values.embedded)
            if declared is None:
                return None
            most = schema.max_properties
            if most is None:
                most = (LARGEST_REQUEST - 2) // (self.least_size(values, is_root=values.embedded) + 6)
            return Type("map", params=(_KEY, declared), max_size=max(most, 0), schema=schema, convert=_each_value(declared.convert))
        return Type("object", max_size=0, fields=lambda: self._fields(schema, is_root=is_root), schema=schema)

    def _fields(self, schema: Schema, *, is_root: bool) -> Mapping[str, Field]:
        is_root = is_root and not schema.native  # Kubernetes' own kinds say themselves what their metadata is
        found: dict[str, Field] = dict(_ROOT_FIELDS) if is_root else {}
        for name, child in schema.properties.items():
            if is_root and name in _ROOT_FIELDS:
                continue
            escaped = escape(name)
            declared = self.of(child, is_root=child.embedded) if escaped is not None else None
            if escaped is not None and declared is not None:
                found[escaped] = Field(name, declared)
        return found

    def least_size(self, schema: Schema, *, is_root: bool) -> int:
        """The fewest bytes that a value of this schema takes up as JSON."""
        key = (schema, is_root)
        if key not in self._least:
            self._least[key] = 1  # while it is worked out, for a schema within itself
            self._least[key] = self._least_size(schema)
        return self._least[key]

    def _least_size(self, schema: Schema) -> int:
        match schema.type:
            case "string":
                return _LEAST_TEXT.get(schema.format, 2)
            case "boolean":
                return 4
            case "array":
                return 2
            case "object" if schema.additional is None or schema.properties:
                required = ((name, schema.properties.get(name)) for name in schema.required)
                needed = ((name, child) for name, child in required if child is not None and not child.has_default)
                sized = ((name, self.least_size(child, is_root=child.embedded)) for name, child in needed)
                return 2 + sum(len(name) + size + 4 for name, size in sized)
            case "object":
                return 2
        return 1


def _is_anything(schema: Schema) -> bool:
    return schema.type == "" and schema.preserve and not schema.int_or_string


def _root_fields() -> dict[str, Field]:
    text = Type("string", max_size=LARGEST_REQUEST - 2)
    names = {name: Field(name, text) for name in ("name", "generateName")}
    return {
        "apiVersion": Field("apiVersion", text),
        "kind": Field("kind", text),
        "metadata": Field("metadata", Type("object", max_size=0, fields=lambda: names)),
    }


_ROOT_FIELDS = _root_fields()


def _string(schema: Schema) -> Type:
    match schema.format:
        case "byte":
            return Type("bytes", max_size=LARGEST_REQUEST - 2 if schema.max_length is None else schema.max_length, convert=_to_bytes)
        case "duration":
            return Type("duration", max_size=_TEXT_SIZE["duration"], convert=_to_duration)
        case "date" | "date-time":
            return Type("timestamp", max_size=_TEXT_SIZE[schema.format], convert=_to_timestamp)
    if schema.max_length is not None:
        most = max(schema.max_length, 0) * 4
    elif schema.enum:
        most = max((len(value.encode()) for value in schema.enum if isinstance(value, str)), default=0)
    else:
        most = LARGEST_REQUEST - 2
    return Type(STRING.kind, max_size=most)


# --- values ---


def _each(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if convert is None:
        return None
    return lambda items: [None if item is None else convert(item) for item in items]


def _each_value(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if convert is None:
        return None
    return lambda held: {key: None if item is None else convert(item) for key, item in held.items()}


def _to_float(value: Any) -> float:
    return float(value)


def _to_timestamp(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text.upper().replace(" ", "T"))
    except (ValueError, AttributeError):
        raise EvaluationError(f"invalid date-time: {text}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _to_duration(text: Any) -> Any:
    return parse_duration(str(text))


def _to_bytes(text: Any) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except (binascii.Error, TypeError, ValueError):
        raise EvaluationError("invalid base64") from None
