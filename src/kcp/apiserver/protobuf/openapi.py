"""OpenAPI documents as protobuf, the form in which client-go asks for them: v2, and v3 of one group version.

The messages are gnostic's, whose descriptors lie beside this file (made by `scripts/protobuf/openapi.py`). They follow the JSON closely:
maps are lists of named values, choices are messages with one field set, and `x-…` members are a list of names with YAML texts.
Before: `openapi`. Source: kube-openapi pkg/handler (ToProtoBinary), pkg/handler3 (ToV3ProtoBinary), github.com/google/gnostic-models.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources
from typing import Any

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_MAPS = {"Definitions": "additional_properties", "Paths": "path", "Responses": "response_code"}
"""Messages of v2 that stand for a JSON object with free keys, and the field with its members."""
_MAPS_V3 = {"Paths": "path", "Responses": "response_or_reference"}
_LISTS = {"TypeItem": "value", "ItemsItem": "schema"}
_BY_PLACE = {"query": "query_parameter_sub_schema", "path": "path_parameter_sub_schema", "header": "header_parameter_sub_schema"}


@cache
def _documents() -> dict[str, type[Message]]:
    """The whole documents by the beginning of their version."""
    packed = resources.files(__package__).joinpath("openapi.binpb.gz").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed)).file:
        pool.AddSerializedFile(file.SerializeToString())
    found = {version: pool.FindMessageTypeByName(f"openapi.v{version}.Document") for version in ("2", "3")}
    return {version: message_factory.GetMessageClass(descriptor) for version, descriptor in found.items()}


def encode(document: dict[str, Any]) -> bytes:
    """A document of v2 (`swagger`) or v3 (`openapi`)."""
    message = _documents()["2" if "swagger" in document else "3"]()
    _fill(message, document)
    return message.SerializeToString(deterministic=True)


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """The fields of a message by their names in JSON."""
    return {"$ref" if field.name == "_ref" else field.json_name: field for field in descriptor.fields}


def _fill(message: Any, value: Any) -> None:
    """Set an empty message from the JSON value it stands for."""
    name = message.DESCRIPTOR.name
    if name == "Any":
        message.yaml = orjson.dumps(value).decode() + "\n"  # all JSON is YAML
    elif (members := _members(message.DESCRIPTOR)) is not None:
        _fill_map(message, members, value)
    elif message.DESCRIPTOR.file.package == "openapi.v3" and name == "ItemsItem":
        _extend(message.schema_or_reference, [value])
    elif name in _LISTS:
        _extend(getattr(message, _LISTS[name]), value if isinstance(value, list) else [value])
    elif message.DESCRIPTOR.oneofs_by_name:
        _fill_choice(message, name, value)
    else:
        _fill_object(message, value)


@cache
def _members(descriptor: Descriptor) -> str | None:
    """The field with the members of a message that stands for a JSON object with free keys; None for any other message."""
    held = (_MAPS_V3 if descriptor.file.package == "openapi.v3" else _MAPS).get(descriptor.name)
    return held or ("additional_properties" if [field.name for field in descriptor.fields] == ["additional_properties"] else None)


def _fill_map(message: Any, members: str, value: dict[str, Any]) -> None:
    for key, inner in value.items():
        added = getattr(message, members).add()
        added.name = key
        _fill(added.value, inner)


def _fill_choice(message: Any, name: str, value: Any) -> None:
    if name == "AdditionalPropertiesItem" and isinstance(value, bool):
        message.boolean = value
        return
    if name == "DefaultType":
        _fill_default(message, value)
        return
    if name == "Parameter":
        chosen = "body_parameter" if value["in"] == "body" else "non_body_parameter"
    elif name == "NonBodyParameter":
        chosen = _BY_PLACE[value["in"]]
    elif name.endswith("OrReference") and "$ref" in value:
        chosen = "reference"
    else:  # SchemaItem, AdditionalPropertiesItem, ParametersItem, ResponseValue: the first is what is meant here
        chosen = message.DESCRIPTOR.fields[0].name
    inner = getattr(message, chosen)
    inner.SetInParent()
    _fill(inner, value)


def _fill_default(message: Any, value: Any) -> None:
    """v3 has words for scalar defaults only; any other is told as an empty one."""
    if isinstance(value, bool):
        message.boolean = value
    elif isinstance(value, (int, float)):
        message.number = value
    elif isinstance(value, str):
        message.string = value


def _fill_object(message: Any, value: dict[str, Any]) -> None:
    fields = _fields(message.DESCRIPTOR)
    for key, inner in value.items():
        field = fields.get(key)
        if field is None:
            extensions = fields.get("vendorExtension") or fields.get("specificationExtension")
            if key.startswith("x-") and extensions is not None:
                added = getattr(message, extensions.name).add()
                added.name = key
                _fill(added.value, inner)
        elif field.message_type is None and not field.is_repeated:
            setattr(message, field.name, inner)
        elif field.is_repeated:
            _extend(getattr(message, field.name), inner)
        else:
            held = getattr(message, field.name)
            held.SetInParent()
            _fill(held, inner)


def _extend(repeated: Any, values: list[Any]) -> None:
    if hasattr(repeated, "add"):
        for value in values:
            _fill(repeated.add(), value)
    else:
        repeated.extend(values)
