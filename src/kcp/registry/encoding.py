"""From objects to stored bytes to served bytes, so that reads never decode.

A stored value is JSON whose first keys are apiVersion, kind and metadata, and whose metadata starts with an empty resourceVersion. That
order lets the revision be put in by one replacement, and the version of the request by cutting the head.
Before: `writes`, `reads`, `watches`. After: `storage`.
"""

from __future__ import annotations

import orjson

from kcp.apimachinery.errors import RequestEntityTooLarge
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.meta import encode as json_bytes
from kcp.registry.resource import Resource
from kcp.storage.interface import KeyValue
from kcp.storage.item import Item, labels_of, make_item
from kcp.storage.keyspace import parse_key

MAX_OBJECT_BYTES = 1536 * 1024
"""Source: etcd's --max-request-bytes."""

_EMPTY_REVISION = b'"metadata":{"resourceVersion":"",'
_API_VERSION = b'{"apiVersion":"'


def stored_value(obj: JSONObject, resource: Resource) -> bytes:
    """The stored form of a whole object as this resource shows it. Raises RequestEntityTooLarge."""
    if resource.conversion is not None:
        return encode(resource.conversion.to_stored(obj), resource.conversion.api_version)
    return encode(obj, stored_api_version(resource))


def stored_api_version(resource: Resource) -> str:
    version = resource.storage_version or resource.gvr.version
    return f"{resource.gvr.group}/{version}" if resource.gvr.group else version


def encode(obj: JSONObject, api_version: str, *, limit: int = MAX_OBJECT_BYTES) -> bytes:
    """The stored form of a whole object. Raises RequestEntityTooLarge; `limit` 0: never."""
    sent = obj["metadata"]
    metadata = {"resourceVersion": "", "labels": None, **sent}  # labels early: the watch cache then finds them without decoding
    metadata["resourceVersion"] = ""
    if not sent.get("labels"):
        del metadata["labels"]
    stored = {"apiVersion": api_version, "kind": obj["kind"], "metadata": metadata, **obj}
    stored["apiVersion"] = api_version
    stored["metadata"] = metadata
    value = json_bytes(stored)
    if limit and len(value) > limit:
        raise RequestEntityTooLarge(f"the object is too large: {len(value)} bytes, but at most {limit} are stored")
    return value


def as_json(obj: JSONObject) -> bytes:
    """An object as it is served; its parts in the order in which they stand."""
    return json_bytes(obj)


def api_version_of(raw: bytes) -> str:
    """The apiVersion of a stored or served value."""
    start = len(_API_VERSION)
    return raw[start : raw.index(b'"', start)].decode()


def with_api_version(raw: bytes, api_version: str) -> bytes:
    """The same object under another apiVersion; a no-op where it has it already."""
    wanted = api_version.encode()
    start = len(_API_VERSION)
    end = raw.index(b'"', start)
    if raw[start:end] == wanted:
        return raw
    return raw[:start] + wanted + raw[end:]


def is_converted(resource: Resource) -> bool:
    """Whether objects of this resource may be stored in another version than it is served under, or otherwise than they are shown."""
    if resource.versions is not None:
        return True
    if not resource.storage_version:
        return resource.conversion is not None
    return resource.storage_version != resource.gvr.version or resource.stored_versions > 1


def serve(item: Item, resource: Resource) -> Item:
    """A cached item as this resource shows it: the same item, or a copy with another apiVersion."""
    if not is_converted(resource):
        return item
    if resource.conversion is not None:
        return Item(item.key, item.revision, json_bytes(resource.conversion.from_stored(item.decode())), item.labels)
    raw = with_api_version(item.raw, resource.gvr.api_version)
    return item if raw is item.raw else Item(item.key, item.revision, raw, item.labels)


def is_stored_as(item: Item, value: bytes) -> bool:
    """Whether the cached item is what `value` would store: nothing differs but the revision."""
    held, wanted = item.decode(), orjson.loads(value)
    wanted["metadata"]["resourceVersion"] = held["metadata"].get("resourceVersion", "")
    return bool(held == wanted)


def stored_item(key: ObjectKey, value: bytes, revision: int) -> Item:
    """The item of a value that was just written; revision 0 for one that was not (a dry-run creation): it shows no resourceVersion."""
    if revision:
        return make_item(key, value, revision)
    return Item(key, 0, value.replace(_EMPTY_REVISION, b'"metadata":{', 1), labels_of(value))


def listed_item(prefix: bytes, found: KeyValue) -> Item:
    """The item of a value read from the store itself, past the cache."""
    return make_item(parse_key(prefix, found.key), found.value, found.mod_revision)
