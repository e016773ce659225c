"""Which changes a syncer has to look at: each of its reconcilers reads a part of an object, and most writes are of another. Pure.

A Deployment's status moves a dozen times for each change of its spec; the syncer's own finalizer comes back to it as an event.
Before: `spec` and `status`, for what their informers tell. After: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.syncer.downstream import GENERATION_ANNOTATION

_BESIDE = frozenset(("metadata", "status"))
_STAMPS = frozenset(("resourceVersion", "managedFields"))
_STAMPS_AND_FINALIZERS = _STAMPS | {"finalizers"}


def of_spec(old: JSONObject | None, new: JSONObject | None, finalizer: str = "") -> bool:
    """Whether anything but the status is another.

    Args: finalizer: one that may have come since, on what is not being deleted: whoever put it there goes on with the object anyway.
    >>> of_spec({"spec": 1, "status": 1}, {"spec": 1, "status": 2}), of_spec({"spec": 1}, {"spec": 2}), of_spec(None, {})
    (False, True, True)
    """
    if old is None or new is None or _differ(old, new, _BESIDE):
        return True
    if _differ(meta.metadata(old), meta.metadata(new), _STAMPS_AND_FINALIZERS):
        return True
    before, after = meta.finalizers(old), meta.finalizers(new)
    return before != after and (not finalizer or bool(meta.deletion_timestamp(new)) or [*before, finalizer] != after)


def of_copys_status(old: JSONObject | None, new: JSONObject | None) -> bool:
    """Whether a copy has a status to report that may be another than before: `downstream.upstream_status`.

    >>> of_copys_status(None, {}), of_copys_status(None, {"status": {"a": 1}}), of_copys_status({"status": {"a": 1}}, None)
    (False, True, False)
    """
    if new is None or not new.get("status"):
        return False
    return old is None or _stated(old) != _stated(new)


def of_views_status(old: JSONObject | None, new: JSONObject | None) -> bool:
    """Whether an object appears above, or says of its status what it did not say before.

    >>> of_views_status(None, {}), of_views_status({"spec": 1}, {"spec": 2}), of_views_status({}, {"status": {}})
    (True, False, True)
    """
    return new is not None and (old is None or old.get("status") != new.get("status"))


def _stated(copy: JSONObject) -> tuple[object, int, str]:
    return copy.get("status"), meta.generation(copy), meta.annotations(copy).get(GENERATION_ANNOTATION, "")


def _differ(old: Mapping[str, Any], new: Mapping[str, Any], unread: frozenset[str]) -> bool:
    return any(old.get(part) != new.get(part) for part in old.keys() | new.keys() if part not in unread)
