"""Messages whose JSON is not an object of their fields: times, quantities, int-or-string, raw JSON, and the either-or types of CRD schemas.

Before: `types`. Source: the MarshalJSON and UnmarshalJSON methods of k8s.io/apimachinery/pkg/apis/meta/v1/{time,micro_time,types}.go,
pkg/api/resource/quantity.go, pkg/util/intstr/intstr.go, pkg/runtime/extension.go, and of
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/marshal.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor

from kcp.aio.clock import parse_rfc3339, rfc3339, rfc3339_micro
from kcp.apiserver.protobuf.types import Converter, Types

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)


class Time:
    """RFC 3339 in whole seconds; Go's zero time is an empty message, and `null` in JSON."""

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        pass

    def to_json(self, message: Any) -> str | None:
        if not message.HasField("seconds") and not message.HasField("nanos"):
            return None
        return self._show(_EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000))

    def fill(self, message: Any, value: Any) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{type(value).__name__} in place of a time")
        since = parse_rfc3339(value) - _EPOCH
        message.seconds = since // _SECOND
        message.nanos = self._nanos(since % _SECOND)

    def _show(self, instant: datetime) -> str:
        return rfc3339(instant)

    def _nanos(self, fraction: timedelta) -> int:
        return 0


class MicroTime(Time):
    """RFC 3339 in microseconds."""

    def _show(self, instant: datetime) -> str:
        return rfc3339_micro(instant)

    def _nanos(self, fraction: timedelta) -> int:
        return fraction // _MICROSECOND * 1000


class Quantity:
    """A string; JSON may have a number."""

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        pass

    def to_json(self, message: Any) -> str:
        text: str = message.string
        return text or "0"

    def fill(self, message: Any, value: str | float) -> None:
        message.string = value if isinstance(value, str) else str(value)


class IntOrString:
    _STRING = 1

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        pass

    def to_json(self, message: Any) -> int | str:
        shown: int | str = message.strVal if message.type == self._STRING else message.intVal
        return shown

    def fill(self, message: Any, value: str | int) -> None:
        if isinstance(value, str):
            message.type, message.strVal = self._STRING, value
        else:
            message.type, message.intVal = 0, value


class Raw:
    """JSON inside of bytes: RawExtension, FieldsV1, and the JSON type of CRD schemas."""

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        self._field = descriptor.fields[0].name

    def to_json(self, message: Any) -> Any:
        """Raises ValueError for bytes that are neither JSON nor an object in protobuf of their own."""
        raw = getattr(message, self._field)
        if raw.startswith(b"k8s\0"):
            from kcp.apiserver.protobuf.envelope import decode

            return decode(raw)
        return orjson.loads(raw) if raw else None

    def fill(self, message: Any, value: Any) -> None:
        setattr(message, self._field, orjson.dumps(value))


class Items:
    """A list that is a message, because protobuf has no maps of lists."""

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        pass

    def to_json(self, message: Any) -> list[str]:
        return list(message.items)

    def fill(self, message: Any, value: list[str]) -> None:
        message.items.extend(value)


class SchemaOr:
    """A schema, or in its place what `_other` and `_put_other` deal with."""

    def __init__(self, types: Types, descriptor: Descriptor) -> None:
        self.schemas: Converter = types.converter_of(descriptor.fields_by_name["schema"])

    def to_json(self, message: Any) -> Any:
        return self.schemas.to_json(message.schema) if message.HasField("schema") else self._other(message)

    def fill(self, message: Any, value: Any) -> None:
        if isinstance(value, dict):
            message.schema.SetInParent()
            self.schemas.fill(message.schema, value)
            self._put_schema(message)
        else:
            self._put_other(message, value)

    def _other(self, message: Any) -> Any:
        raise TypeError(type(message).__name__)

    def _put_schema(self, message: Any) -> None:
        """Whatever else goes with a schema."""

    def _put_other(self, message: Any, value: Any) -> None:
        raise TypeError(type(message).__name__)


class SchemaOrList(SchemaOr):
    def _other(self, message: Any) -> Any:
        return [self.schemas.to_json(inner) for inner in message.jSONSchemas] or None

    def _put_other(self, message: Any, value: Any) -> None:
        for inner in value:
            self.schemas.fill(message.jSONSchemas.add(), inner)


class SchemaOrBool(SchemaOr):
    """A schema counts as allowed."""

    def _other(self, message: Any) -> Any:
        return message.allows

    def _put_schema(self, message: Any) -> None:
        message.allows = True

    def _put_other(self, message: Any, value: Any) -> None:
        message.allows = value


class SchemaOrNames(SchemaOr):
    def _other(self, message: Any) -> Any:
        return list(message.property) or None

    def _put_other(self, message: Any, value: Any) -> None:
        message.property.extend(value)


_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_CRD = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"

SPECIAL: Mapping[str, Callable[[Types, Descriptor], Converter]] = {
    f"{_META}.Time": Time,
    f"{_META}.MicroTime": MicroTime,
    f"{_META}.FieldsV1": Raw,
    f"{_META}.Verbs": Items,
    "k8s.io.apimachinery.pkg.api.resource.Quantity": Quantity,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": IntOrString,
    "k8s.io.apimachinery.pkg.runtime.RawExtension": Raw,
    "k8s.io.api.authentication.v1.ExtraValue": Items,
    "k8s.io.api.authorization.v1.ExtraValue": Items,
    "k8s.io.api.certificates.v1.ExtraValue": Items,
    f"{_CRD}.JSON": Raw,
    f"{_CRD}.JSONSchemaPropsOrArray": SchemaOrList,
    f"{_CRD}.JSONSchemaPropsOrBool": SchemaOrBool,
    f"{_CRD}.JSONSchemaPropsOrStringArray": SchemaOrNames,
}
"""By message. Their constructors take the same two arguments, whether they need them or not."""
