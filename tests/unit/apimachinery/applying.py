"""Server-side apply and tracking without other versions: then nothing is awaited, and it is done at once."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from kcp.apimachinery.apply import manager
from kcp.apimachinery.meta import JSONObject

T = TypeVar("T")


def server_side_apply(live: JSONObject | None, config: JSONObject, **more: Any) -> JSONObject:
    return at_once(manager.server_side_apply(live, config, **more))


def track_update(old: JSONObject | None, new: JSONObject, **more: Any) -> None:
    at_once(manager.track_update(old, new, **more))


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise AssertionError("it waits for something")
