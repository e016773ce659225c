"""Watch frames: from a stream of bytes to events, one JSON document a line.

Before: `rest.ResourceClient.watch`. This is the hottest loop of a client: the object is parsed once and its bytes are handed on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

import orjson

from kcp.apimachinery.errors import from_status
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError

_HEAD = b'{"type":"'
_MIDDLE = b'","object":'
_TRACE, _TRACE_END = b',"trace":"', b'-01"}'
_TRACE_BYTES = len(_TRACE) + 52 + len(_TRACE_END)


class WatchEvent(NamedTuple):
    """One event of a watch."""

    type: str
    """ADDED, MODIFIED, DELETED or BOOKMARK; an ERROR is raised instead."""
    object: JSONObject
    """Fresh, the receiver's to change. A BOOKMARK carries `metadata.resourceVersion` only."""
    raw: bytes
    """The JSON of `object`, as it came."""
    trace: str = ""
    """The span that the change belongs to, if the server tells."""


async def decode(chunks: AsyncIterator[bytes]) -> AsyncGenerator[WatchEvent, None]:
    """Events of a stream, in order.

    Raises: the StatusError of an ERROR event (Expired for a compacted resourceVersion); TransportError for a frame cut off.
    """
    pending: list[bytes] = []
    async for chunk in chunks:
        if b"\n" not in chunk:
            pending.append(chunk)
            continue
        lines = (b"".join(pending) + chunk).split(b"\n") if pending else chunk.split(b"\n")
        rest = lines.pop()
        pending = [rest] if rest else []
        for line in lines:
            if line:
                yield decode_frame(line)
    if pending:
        raise TransportError("the watch broke in the middle of an event")


def decode_frame(line: bytes) -> WatchEvent:
    """One event. Raises: the StatusError of an ERROR event; TransportError for what is not a frame."""
    try:
        trace = ""
        if line.endswith(_TRACE_END) and line.startswith(_TRACE, at := len(line) - _TRACE_BYTES):
            line, trace = line[:at] + b"}", line[at + len(_TRACE) : -2].decode()
        kind, obj, raw = _split(line)
    except (ValueError, KeyError, TypeError) as error:
        raise TransportError(f"the watch sent what is not an event: {line[:200]!r}") from error
    if kind == "ERROR":
        raise from_status(int(obj.get("code") or 500), obj)
    return WatchEvent(kind, obj, raw, trace)


def _split(line: bytes) -> tuple[str, JSONObject, bytes]:
    """Type, object and the object's bytes; servers write `type` first, which saves encoding the object again."""
    if line.startswith(_HEAD):
        end = line.find(b'"', len(_HEAD))
        if line.startswith(_MIDDLE, end):
            raw = line[end + len(_MIDDLE) : line.rindex(b"}")]
            try:
                return line[len(_HEAD) : end].decode(), orjson.loads(raw), raw
            except orjson.JSONDecodeError:
                pass  # a field follows the object: take the slow way
    frame = orjson.loads(line)
    return frame["type"], frame["object"], orjson.dumps(frame["object"])
