"""Waiting for an object to be in a state, by watching it.

Called by `bootstrap` and `home`. After: `client.rest`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Expired, NotFound, Timeout
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient


async def wait_for(
    resource: ResourceClient, name: str, is_there: Callable[[JSONObject], bool], *, timeout_s: float, what: str
) -> JSONObject:
    """The object `name` once `is_there(object)`.

    Raises: Timeout that names `what` and the object's conditions; NotFound if the object is deleted meanwhile.
    """
    last: list[JSONObject] = []
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    return await _watch_until(resource, name, is_there, last)
                except Expired:
                    continue  # the history is shorter than the wait: list again
    except TimeoutError:
        raise Timeout(f"{what} is not there after {timeout_s:g} s{_conditions(last)}") from None


async def _watch_until(resource: ResourceClient, name: str, is_there: Callable[[JSONObject], bool], last: list[JSONObject]) -> JSONObject:
    selector = f"metadata.name={name}"
    while True:
        present = await resource.list(field_selector=selector)
        last[:] = present.items
        if present.items and is_there(present.items[0]):
            return present.items[0]
        async with aclosing(resource.watch(field_selector=selector, resource_version=present.resource_version)) as events:
            async for event in events:
                if event.type == "DELETED":
                    raise NotFound.of(resource.gvr.group_resource, name)
                if event.type in ("ADDED", "MODIFIED"):
                    last[:] = [event.object]
                    if is_there(event.object):
                        return event.object


def _conditions(objects: list[JSONObject]) -> str:
    """What a late object says about itself."""
    told = [
        f"{c.get('type')}: {c.get('reason', '')} {c.get('message', '')}".strip()
        for obj in objects
        for c in meta.nested(obj, "status", "conditions", default=())
        if c.get("status") != "True"
    ]
    return f" ({'; '.join(told)})" if told else ""
