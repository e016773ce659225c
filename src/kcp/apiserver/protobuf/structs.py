"""Messages that are structs, which is nearly all of them: field by field, as Go's encoding/json names and omits them.

What protobuf cannot tell apart, JSON does not either afterwards: an empty list or map counts as absent, except where Kubernetes' JSON
always writes it (`rules` of a Role). Structs that Go writes as `{}` although nothing is in them are left out.
Before: `types`. Source: the `json` and `protobuf` tags of the Go types; k8s.io/apimachinery/pkg/runtime/serializer/{json,protobuf}.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, ItemsView, Mapping
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.protobuf import INLINE, KEPT, OMITTED
from kcp.apiserver.protobuf.types import Converter, Types

Show: TypeAlias = Callable[[Any], Any]
"""From a scalar's or message's value to JSON."""
Take: TypeAlias = Callable[[JSONObject, Any], None]
"""Puts a field's value into a JSON object."""
Put: TypeAlias = Callable[[Any, Any], None]
"""Sets a message's field from a JSON value."""


class Struct:
    """The converter of one struct; its tables are made on first use, because types refer to each other in circles."""

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        self._types = types
        self._descriptor = descriptor
        self._takes: dict[int, Take] = {}
        self._puts: dict[str, Put] = {}
        self._lists_kept: tuple[str, ...] = ()
        self._is_ready = False

    def to_json(self, message: Any) -> JSONObject:
        if not self._is_ready:
            self._prepare()
        made: JSONObject = {}
        for field, value in message.ListFields():
            self._takes[field.number](made, value)
        for name in self._lists_kept:
            if name not in made:
                made[name] = []
        return made

    def fill(self, message: Any, value: Any) -> None:
        """Fields that the message does not have, and nulls, are passed over."""
        puts = self.puts()
        for key, inner in _entries(value):
            put = puts.get(key)
            if put is not None and inner is not None:
                put(message, inner)

    def puts(self) -> Mapping[str, Put]:
        """By JSON name, those of embedded structs included."""
        if not self._is_ready:
            self._prepare()
        return self._puts

    def _prepare(self) -> None:
        kept = []
        flags = self._types.flags(self._descriptor.full_name)
        for field, flag in zip(sorted(self._descriptor.fields, key=lambda f: f.number), flags, strict=True):
            if flag == INLINE:
                self._embed(field)
                continue
            self._takes[field.number], self._puts[field.json_name] = _conversion(self._types, field, flag)
            if flag == KEPT and field.is_repeated and not _is_map(field):
                kept.append(field.json_name)
        self._lists_kept = tuple(kept)
        self._is_ready = True

    def _embed(self, field: FieldDescriptor) -> None:
        inner = self._types.converter_of(field)
        assert isinstance(inner, Struct), f"{field.full_name} is embedded, but is no struct"
        name = field.name
        self._takes[field.number] = lambda made, value: made.update(inner.to_json(value))
        for key, put in inner.puts().items():
            self._puts[key] = _through(name, put)


def _entries(value: Any) -> ItemsView[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} in place of an object")
    return value.items()


def _through(name: str, put: Put) -> Put:
    return lambda message, value: put(getattr(message, name), value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _conversion(types: Types, field: FieldDescriptor, flag: str) -> tuple[Take, Put]:
    if _is_map(field):
        return _map(types, field)
    if field.is_repeated:
        return _list(types, field)
    if field.message_type is not None:
        return _message(types.converter_of(field), field, is_omitted=flag == OMITTED)
    return _scalar(field, is_omitted=flag == OMITTED)


# --- scalars ---


def _identity(value: Any) -> Any:
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text)


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _scalars(field: FieldDescriptor) -> tuple[Show, Show]:
    """To JSON, and from it."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _base64, _from_base64
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _number, _identity
    return _identity, _identity


def _scalar(field: FieldDescriptor, *, is_omitted: bool) -> tuple[Take, Put]:
    name, json_name = field.name, field.json_name
    show, read = _scalars(field)

    def take(made: JSONObject, value: Any) -> None:
        if value or not is_omitted:
            made[json_name] = show(value)

    def put(message: Any, value: Any) -> None:
        setattr(message, name, read(value))

    return take, put


# --- messages ---


def _message(converter: Converter, field: FieldDescriptor, *, is_omitted: bool) -> tuple[Take, Put]:
    name, json_name = field.name, field.json_name

    def take(made: JSONObject, value: Any) -> None:
        shown = converter.to_json(value)
        if shown is not None and not (is_omitted and shown == {}):
            made[json_name] = shown

    def put(message: Any, value: Any) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        converter.fill(inner, value)

    return take, put


# --- lists and maps ---


def _taking(json_name: str, show: Show) -> Take:
    def take(made: JSONObject, value: Any) -> None:
        made[json_name] = show(value)

    return take


def _list(types: Types, field: FieldDescriptor) -> tuple[Take, Put]:
    name = field.name
    if field.message_type is not None:
        converter = types.converter_of(field)
        return _taking(field.json_name, lambda value: [converter.to_json(inner) for inner in value]), _filling_list(name, converter)
    show, read = _scalars(field)

    def put(message: Any, value: Any) -> None:
        getattr(message, name).extend([read(inner) for inner in value])

    return _taking(field.json_name, lambda value: [show(inner) for inner in value]), put


def _filling_list(name: str, converter: Converter) -> Put:
    def put(message: Any, value: Any) -> None:
        held = getattr(message, name)
        for inner in value:
            made = held.add()
            if inner is not None:
                converter.fill(made, inner)

    return put


def _map(types: Types, field: FieldDescriptor) -> tuple[Take, Put]:
    """Keys in order, as Go writes them."""
    name = field.name
    assert field.message_type is not None, "a map is a list of entries"
    values = field.message_type.fields_by_name["value"]
    if values.message_type is not None:
        converter = types.converter_of(values)
        put = _filling_map(name, converter)
        return _taking(field.json_name, lambda value: {key: converter.to_json(value[key]) for key in sorted(value)}), put
    show, read = _scalars(values)

    def put_scalars(message: Any, value: Any) -> None:
        held = getattr(message, name)
        for key, inner in _entries(value):
            held[key] = read(inner)

    return _taking(field.json_name, lambda value: {key: show(value[key]) for key in sorted(value)}), put_scalars


def _filling_map(name: str, converter: Converter) -> Put:
    def put(message: Any, value: Any) -> None:
        held = getattr(message, name)
        for key, inner in _entries(value):
            made = held[key]
            if inner is not None:
                converter.fill(made, inner)

    return put
