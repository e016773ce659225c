"""Waiting until an object is as a command wants it, by watching it over the plugins' blocking transport.

Nothing else runs while the transport reads, so the limits are the server's: each watch is asked to end in time.
Before: every command that waits. After: `client.rest`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Expired
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient

_SERVER_SLACK_S = 1
_LONGEST_WATCH_S = 30.0
"""Shorter than the transport's patience with a silent connection."""


@dataclass(frozen=True, slots=True)
class Waited:
    obj: JSONObject
    """As it was seen last."""
    is_done: bool
    is_gone: bool = False


async def wait_until(
    resource: ResourceClient, obj: JSONObject, is_done: Callable[[JSONObject], bool], clock: Clock, timeout_s: float, *, namespace: str = ""
) -> Waited:
    """Watch `obj` from the state it is in until it is right, gone, or late."""
    if is_done(obj):
        return Waited(obj, is_done=True)
    uid, deadline_s = meta.uid(obj), clock.monotonic() + timeout_s
    while (left_s := deadline_s - clock.monotonic()) > 0:
        try:
            found = await _watch_once(resource, obj, is_done, min(left_s, _LONGEST_WATCH_S), namespace)
        except Expired:
            present = await resource.list(namespace=namespace, field_selector=f"metadata.name={meta.name(obj)}")
            if not present.items or meta.uid(present.items[0]) != uid:
                return Waited(obj, is_done=False, is_gone=True)
            found = Waited(present.items[0], is_done=is_done(present.items[0]))
        if found.is_done or found.is_gone:
            return found
        obj = found.obj
    return Waited(obj, is_done=False)


async def _watch_once(
    resource: ResourceClient, obj: JSONObject, is_done: Callable[[JSONObject], bool], limit_s: float, namespace: str
) -> Waited:
    selector, version = f"metadata.name={meta.name(obj)}", meta.resource_version(obj)
    watch = resource.watch(
        namespace=namespace, field_selector=selector, resource_version=version, timeout_s=max(int(limit_s), 1) + _SERVER_SLACK_S
    )
    async with aclosing(watch) as events:
        async for event in events:
            if event.type == "DELETED":
                return Waited(event.object, is_done=False, is_gone=True)
            if event.type != "BOOKMARK":
                obj = event.object
                if is_done(obj):
                    return Waited(obj, is_done=True)
    return Waited(obj, is_done=False)
