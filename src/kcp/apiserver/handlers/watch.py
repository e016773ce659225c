"""WATCH: events as lines of JSON, or as frames of protobuf, until the client or the timeout ends it.

Before: `resources`. After: `registry.watch`.

Frames are shared with every other watcher that wants the same form. An error after the start is an ERROR event, because the answer's code
is sent.
Source: k8s.io/apiserver/pkg/endpoints/handlers/watch.go.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import orjson

from kcp.apimachinery.errors import StatusError
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import partial, table
from kcp.apiserver.handlers.options import watch_query
from kcp.apiserver.negotiate import JSON, PROTOBUF, Wanted, include_object, wanted
from kcp.apiserver.request import Response
from kcp.registry.backend import WatchEvent

Encode: TypeAlias = Callable[[WatchEvent], bytes]

_CHUNK_BYTES = 64 * 1024


async def watch(call: Call) -> Response:
    """Raises: BadRequest, NotAcceptable; later faults come as ERROR events."""
    query = watch_query(call.req)
    form = wanted(call.req, call.scope, is_stream=True)
    events = call.backend.watch(call.scope, query)
    encode = _encoder(call, form)
    content_type = f"{PROTOBUF};stream=watch" if form.media == PROTOBUF else form.media
    return Response(200, content_type=content_type, stream=_frames(events, encode))


def _plain(event: WatchEvent) -> bytes:
    return event.frame


def _encoder(call: Call, form: Wanted) -> Encode:
    if form.media == PROTOBUF:
        return _protobuf_encoder(call, form)
    if not form.transform:
        traces = call.req.traces
        return _plain if traces is None else lambda event: traces.frame(event.frame, event.revision)
    if form.transform == "Table":
        return _TableFrames(call, form)
    key, version = (form.transform, form.meta_version), form.meta_version
    return lambda event: event.in_form(key, lambda event: _partial_frame(event, version))


def _protobuf_encoder(call: Call, form: Wanted) -> Encode:
    from kcp.apiserver.protobuf.envelope import frame

    encode = _encoder(call, replace(form, media=JSON))
    if form.transform == "Table":
        return lambda event: frame(encode(event))  # the first one is not like the others
    key = (PROTOBUF, form.transform, form.meta_version)
    return lambda event: event.in_form(key, lambda event: frame(encode(event)))


def _partial_frame(event: WatchEvent, version: str) -> bytes:
    if event.item is None:
        return _bookmark_as(event, f"meta.k8s.io/{version}", "PartialObjectMetadata")
    return b'{"type":"%s","object":%s}\n' % (event.type.encode(), partial(event.item.raw, version))


def _bookmark_as(event: WatchEvent, api_version: str, kind: str) -> bytes:
    """A bookmark whose object says it is of the kind the client expects."""
    frame = orjson.loads(event.frame)
    if event.type == "BOOKMARK":
        frame["object"]["apiVersion"], frame["object"]["kind"] = api_version, kind
    return orjson.dumps(frame) + b"\n"


class _TableFrames:
    """Each event as a Table of one row; only the first one carries the column definitions."""

    def __init__(self, call: Call, form: Wanted) -> None:
        """Raises BadRequest for a wrong `includeObject`, before the answer starts."""
        self._call = call
        self._form = form
        self._key = ("Table", call.scope.resource, form.meta_version, include_object(call.req))
        self._has_columns = False

    def __call__(self, event: WatchEvent) -> bytes:
        if event.type == "ERROR":
            return event.frame
        if self._has_columns:
            second = int(self._call.clock.monotonic())  # cells may show ages
            return event.in_form((*self._key, second), self._encode)
        frame = self._encode(event)
        self._has_columns = True
        return frame

    def _encode(self, event: WatchEvent) -> bytes:
        items = [event.item] if event.item is not None else []
        made = table(self._call, items, self._form, resource_version=str(event.revision))
        if event.item is None:
            self._put_bookmark(made, event)
        if self._has_columns:
            made["columnDefinitions"] = None
        return orjson.dumps({"type": event.type, "object": made}) + b"\n"

    def _put_bookmark(self, made: dict[str, object], event: WatchEvent) -> None:
        """A bookmark is a Table whose one row has no cells to speak of, and the bookmark as its object in the form asked for."""
        obj = orjson.loads(event.frame)["object"]
        include = include_object(self._call.req)
        if include == "Metadata":
            obj = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{self._form.meta_version}", "metadata": obj["metadata"]}
        width = len(made["columnDefinitions"])  # type: ignore[arg-type]  # a list, by build_table
        made["rows"] = [{"cells": ["", *[None] * (width - 1)], "object": obj if include != "None" else None}]


async def _frames(events: AsyncIterator[Sequence[WatchEvent]], encode: Encode) -> AsyncGenerator[bytes, None]:
    """Many events in one chunk, but few large ones: of what a client does not read, no more than a chunk is encoded."""
    try:
        async for batch in events:
            chunk: list[bytes] = []
            size = 0
            for event in batch:
                frame = encode(event)
                chunk.append(frame)
                size += len(frame)
                if size >= _CHUNK_BYTES:
                    yield b"".join(chunk)
                    chunk, size = [], 0
            if chunk:
                yield chunk[0] if len(chunk) == 1 else b"".join(chunk)
    except StatusError as error:
        yield encode(WatchEvent("ERROR", None, 0, orjson.dumps({"type": "ERROR", "object": error.to_status()}) + b"\n"))
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
