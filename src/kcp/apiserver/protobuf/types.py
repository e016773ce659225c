"""Which message stands for which kind, and who converts it; messages are made at run time from the descriptors in `apis.kubernetes`.

Before: `envelope`. After: `structs` and `special`, which convert; `apis.kubernetes.protobuf`, which holds the data.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kcp.apis.kubernetes import protobuf


class Converter(Protocol):
    """Both directions for one message type."""

    def to_json(self, message: Any) -> Any:
        """The JSON value; None where JSON has `null`, so that the field is left out."""

    def fill(self, message: Any, value: Any) -> None:
        """Set an empty message's fields from a JSON value. Raises TypeError or ValueError where it does not fit."""


class Types:
    """All messages of this server; converters are made when first used."""

    def __init__(self) -> None:
        data = protobuf.load()
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(data.descriptors).file:
            self._pool.AddSerializedFile(file.SerializeToString())
        self._kinds = data.kinds
        self._flags = data.fields
        self._converters: dict[str, Converter] = {}

    def message_of(self, api_version: str, kind: str) -> str | None:
        """The full name of a kind's message."""
        return self._kinds.get(f"{api_version} {kind}")

    def descriptor(self, message: str) -> Descriptor:
        return self._pool.FindMessageTypeByName(message)

    def new(self, message: str) -> Message:
        return message_factory.GetMessageClass(self.descriptor(message))()

    def flags(self, message: str) -> str:
        """See `apis.kubernetes.protobuf.ProtobufTypes.fields`. Raises KeyError for a message without a Go struct behind it."""
        return self._flags[message]

    def converter_of(self, field: FieldDescriptor) -> Converter:
        """Of the messages in a field."""
        assert field.message_type is not None, f"{field.full_name} holds no messages"
        return self.converter(field.message_type)

    def converter(self, descriptor: Descriptor) -> Converter:
        name = descriptor.full_name
        found = self._converters.get(name)
        if found is None:
            from kcp.apiserver.protobuf.special import SPECIAL
            from kcp.apiserver.protobuf.structs import Struct

            special = SPECIAL.get(name)
            found = self._converters[name] = special(self, descriptor) if special is not None else Struct(self, descriptor)
        return found


@cache
def types() -> Types:
    """The one set of messages, made on first use: some milliseconds and megabytes that JSON clients never cost."""
    return Types()
