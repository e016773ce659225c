"""Objects and watch events as they are served: encoded once, shared by every reader.

Made by the watch cache, or by a virtual workspace's backend; handed up through `registry.backend` to the request handlers.
Before: `watchcache`. After: `registry`, `apiserver.handlers`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias

import orjson

from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject

EventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]

_MOST_FORMS = 8
"""Kept of one event at a time; tables with ages are new each second."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Item:
    """One stored object as it is served: encoded once, shared by every reader."""

    key: ObjectKey
    revision: int
    raw: bytes
    """JSON of the object in its storage version, `metadata.resourceVersion` filled in."""
    labels: Mapping[str, str]

    def decode(self) -> JSONObject:
        """A fresh object, the caller's to change."""
        obj: JSONObject = orjson.loads(self.raw)
        return obj


class WatchEvent:
    """One event of a watch, its wire frame encoded at most once for all watchers that get it."""

    __slots__ = ("_forms", "_frame", "before", "item", "revision", "type")

    def __init__(
        self, type_: EventType, item: Item | None, revision: int, frame: bytes | None = None, *, before: Item | None = None
    ) -> None:  # fmt: skip
        self.type = type_
        self.item = item
        """The object; for DELETED its last state with the revision of the deletion. None for ERROR and BOOKMARK, which carry a frame."""
        self.revision = revision
        self.before = before
        """Of MODIFIED: the object until then, where that is known."""
        self._frame = frame
        self._forms: dict[Hashable, bytes] | None = None

    def in_form(self, form: Hashable, make: Callable[[WatchEvent], bytes]) -> bytes:
        """The frame in another form, made at most once for all watchers that want it so; `form` names everything it depends on."""
        if self._forms is None or len(self._forms) > _MOST_FORMS:
            self._forms = {}
        made = self._forms.get(form)
        if made is None:
            made = self._forms[form] = make(self)
        return made

    @property
    def frame(self) -> bytes:
        """`{"type":…,"object":…}` and a newline."""
        if self._frame is None:
            assert self.item is not None, "an event without an object carries its frame"
            self._frame = b'{"type":"' + self.type.encode() + b'","object":' + self.item.raw + b"}\n"
        return self._frame


_NO_LABELS: Mapping[str, str] = MappingProxyType({})
_METADATA = b'"metadata":{'
_LABELS = b'"labels":{'
_VERSION = b'"metadata":{"resourceVersion":"%d"'
_NO_VERSION = b'"metadata":{"resourceVersion":""'


def make_item(key: ObjectKey, value: bytes, revision: int) -> Item:
    """The served form of a stored value, whose metadata begins with an empty resourceVersion.

    >>> make_item(ObjectKey("root", "", "a"), b'{"metadata":{"resourceVersion":"","name":"a"}}', 7).raw
    b'{"metadata":{"resourceVersion":"7","name":"a"}}'
    """
    return Item(key, revision, value.replace(_NO_VERSION, _VERSION % revision, 1), labels_of(value))


def at_revision(item: Item, revision: int) -> Item:
    """The same content at another revision, as a deletion shows it."""
    raw = item.raw.replace(_VERSION % item.revision, _VERSION % revision, 1)
    return Item(item.key, revision, raw, item.labels)


def labels_of(raw: bytes) -> Mapping[str, str]:
    """`metadata.labels` of an encoded object, mostly without decoding it.

    The bytes `"labels":{` cannot stand inside a string (its quotes would be escaped), and a map of labels holds no braces. So if no brace
    stands between the start of the metadata and the first such key, that key is metadata's own; else the object is decoded.
    """
    at = raw.find(_LABELS)
    if at < 0:
        return _NO_LABELS
    start = raw.find(_METADATA)
    before = raw[start + len(_METADATA) : at]
    if 0 <= start < at and b"{" not in before and b"}" not in before:
        return _shared_labels(raw[at + len(_LABELS) - 1 : raw.index(b"}", at) + 1])
    return (orjson.loads(raw).get("metadata") or {}).get("labels") or _NO_LABELS


@lru_cache(maxsize=4096)
def _shared_labels(raw: bytes) -> Mapping[str, str]:
    """One map for all objects with the same labels, which in most resources are nearly all."""
    return MappingProxyType(orjson.loads(raw)) if raw != b"{}" else _NO_LABELS
