"""WATCH: events as lines of JSON, or as frames of protobuf, until the client or the timeout ends it.

Before: `resources`. After: `registry.watch`.

Whole objects are frames shared with every other watcher. An error after the start is an ERROR event, because the answer's code is sent.
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


async def watch(call: Call) -> Response:
    """Raises: BadRequest, NotAcceptable; later faults come as ERROR events."""
    query = watch_query(call.req)
    streams_list = bool(query.send_initial_events) and query.bookmarks  # then no Tables: handlers/get.go, watchListEndpointRestrictions
    form = wanted(call.req, call.scope, is_stream=True, has_tables=not streams_list)
    events = call.backend.watch(call.scope, query)
    encode = _encoder(call, form)
    content_type = f"{PROTOBUF};stream=watch" if form.media == PROTOBUF else form.media
    return Response(200, content_type=content_type, stream=_frames(events, encode))


def _plain(event: WatchEvent) -> bytes:
    return event.frame


def _encoder(call: Call, form: Wanted) -> Encode:
    if form.media == PROTOBUF:
        from kcp.apiserver.protobuf.envelope import frame

        encode = _encoder(call, replace(form, media=JSON))
        return lambda event: frame(encode(event))
    if not form.transform:
        return _plain
    if form.transform == "Table":
        include_object(call.req)  # refuses a wrong value before the answer starts
        return _TableFrames(call, form)
    return lambda event: _partial_frame(event, form.meta_version)


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
        self._call = call
        self._form = form
        self._has_columns = False

    def __call__(self, event: WatchEvent) -> bytes:
        if event.type == "ERROR":
            return event.frame
        items = [event.item] if event.item is not None else []
        made = table(self._call, items, self._form, resource_version=str(event.revision))
        if event.item is None:
            self._put_bookmark(made, event)
        if self._has_columns:
            made["columnDefinitions"] = None
        self._has_columns = True
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
    try:
        async for batch in events:
            yield encode(batch[0]) if len(batch) == 1 else b"".join([encode(event) for event in batch])
    except StatusError as error:
        yield encode(WatchEvent("ERROR", None, 0, orjson.dumps({"type": "ERROR", "object": error.to_status()}) + b"\n"))
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
