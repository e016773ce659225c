"""Objects as bytes of `application/vnd.kubernetes.protobuf`: the magic `k8s\\0`, then a runtime.Unknown with the kind and the message.

A watch sends WatchEvents, each behind its length in four bytes; a WatchEvent has no magic, the object in it does.
Before: `body`, `negotiate`, `handlers.watch`. After: `types`.
Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf/protobuf.go, k8s.io/apimachinery/pkg/util/framer, handlers/watch.go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.message import DecodeError, EncodeError, Message

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import InternalError
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.protobuf.types import Converter, types

MAGIC = b"k8s\0"
_UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"
_WATCH_EVENT = "k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent"
_ITEMS_AT_A_TIME = 50
_SHARED_FRAME_BYTES = 32 * 1024
_MISFITS = (TypeError, ValueError, OverflowError, RecursionError, EncodeError)
"""What comes of values that a field does not take, and of objects nested too deeply (the library itself reads 100 levels of messages)."""


class Undecodable(ValueError):
    """Bytes that are no such object; the text says why."""


class NoMessage(LookupError):
    """A kind that has no protobuf form."""


class Unfit(ValueError):
    """An object that its kind's message does not hold, such as one with a text in place of a number."""


def has_message(api_version: str, kind: str) -> bool:
    return types().message_of(api_version, kind) is not None


def decode(raw: bytes) -> JSONObject:
    """The JSON object that a JSON client would have sent. Raises Undecodable, NoMessage."""
    if not raw.startswith(MAGIC):
        raise Undecodable(f"provided data does not appear to be a protobuf message, expected prefix {MAGIC.hex(' ')}")
    unknown: Any = types().new(_UNKNOWN)
    try:
        unknown.ParseFromString(raw[len(MAGIC) :])
        if unknown.contentEncoding:
            raise Undecodable(f"content encoding {unknown.contentEncoding!r} is not read")
        api_version, kind = unknown.typeMeta.apiVersion, unknown.typeMeta.kind
        converter, message = _of_kind(api_version, kind)
        message.ParseFromString(unknown.raw)
        return {"apiVersion": api_version, "kind": kind, **converter.to_json(message)}
    except (DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise Undecodable(str(error)) from error


def encode(obj: JSONObject) -> bytes:
    """Raises NoMessage, Unfit."""
    converter, message = _of_object(obj)
    _fill(converter, message, obj)
    return _sealed(obj, message)


async def encode_document(body: bytes, clock: Clock) -> bytes:
    """An encoded JSON object; a long list in steps between which others run. Raises NoMessage, Unfit."""
    obj = orjson.loads(body)
    items = obj.get("items")
    if not isinstance(items, list) or len(items) <= _ITEMS_AT_A_TIME:
        return encode(obj)
    converter, message = _of_object(obj)
    _fill(converter, message, {"metadata": obj.get("metadata")})
    for start in range(0, len(items), _ITEMS_AT_A_TIME):
        _fill(converter, message, {"items": items[start : start + _ITEMS_AT_A_TIME]})
        await clock.sleep(0)
    return _sealed(obj, message)


def _of_kind(api_version: str, kind: str) -> tuple[Converter, Message]:
    """An empty message of this kind, and who fills it."""
    held = types()
    name = held.message_of(api_version, kind)
    if name is None:
        raise NoMessage(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
    return held.converter(held.descriptor(name)), held.new(name)


def _of_object(obj: JSONObject) -> tuple[Converter, Message]:
    return _of_kind(obj.get("apiVersion") or "", obj.get("kind") or "")


def _fill(converter: Converter, message: Message, obj: JSONObject) -> None:
    try:
        converter.fill(message, obj)
    except _MISFITS as error:
        raise Unfit(str(error)) from error


def _sealed(obj: JSONObject, message: Message) -> bytes:
    unknown: Any = types().new(_UNKNOWN)
    unknown.typeMeta.apiVersion, unknown.typeMeta.kind = obj["apiVersion"], obj["kind"]
    try:
        unknown.raw = message.SerializeToString()
    except EncodeError as error:
        raise Unfit(str(error)) from error
    return MAGIC + bytes(unknown.SerializeToString())


# --- watches ---


def frame(json_frame: bytes) -> bytes:
    """A watch event's JSON line as a frame; watchers of the same events share what is made of them.

    Raises InternalError for an object that cannot be shown.
    """
    return _shared_frame(json_frame) if len(json_frame) <= _SHARED_FRAME_BYTES else _make_frame(json_frame)


def _make_frame(json_frame: bytes) -> bytes:
    event = orjson.loads(json_frame)
    made: Any = types().new(_WATCH_EVENT)
    made.type = event["type"]
    try:
        made.object.raw = encode(event["object"])
    except (NoMessage, Unfit) as error:
        raise InternalError(f"the object cannot be sent as protobuf: {error}") from error
    body = made.SerializeToString()
    return len(body).to_bytes(4, "big") + bytes(body)


_shared_frame = lru_cache(maxsize=256)(_make_frame)
