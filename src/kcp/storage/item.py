"""Objects and watch events as they are served: encoded once, shared by every reader.

Made by the watch cache, or by a virtual workspace's backend; handed up through `registry.backend` to the request handlers.
Before: `watchcache`. After: `registry`, `apiserver.handlers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import orjson

from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject

EventType: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


@dataclass(frozen=True, slots=True, eq=False)
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

    __slots__ = ("_frame", "item", "revision", "type")

    def __init__(self, type_: EventType, item: Item | None, revision: int, frame: bytes | None = None) -> None:
        self.type = type_
        self.item = item
        """The object; for DELETED its last state with the revision of the deletion. None for ERROR and BOOKMARK, which carry a frame."""
        self.revision = revision
        self._frame = frame

    @property
    def frame(self) -> bytes:
        """`{"type":…,"object":…}` and a newline."""
        if self._frame is None:
            assert self.item is not None, "an event without an object carries its frame"
            self._frame = b'{"type":"' + self.type.encode() + b'","object":' + self.item.raw + b"}\n"
        return self._frame
