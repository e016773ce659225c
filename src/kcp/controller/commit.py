"""`commit`: write the difference between what was read and what is wanted, and only that.

Before: reconcilers, as their last step. After: `client.rest.ResourceClient.patch`.
Source: kcp pkg/reconciler/committer/committer.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import merge_patch
from kcp.client.rest import ResourceClient

_WRITABLE_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")


async def commit(resource: ResourceClient, old: JSONObject, new: JSONObject, *, field_manager: str = "") -> JSONObject:
    """Make the object that was read as `old` into `new`, by one merge patch; without difference nothing is sent.

    The patch carries uid and resourceVersion of `old`, so that it fails with Conflict if the object moved, and never touches another
    object of the same name. Status and the rest are different endpoints: a change of both is two commits, first one, then the other.

    Returns: the object as the server has it now (`old` if nothing was to do).
    Raises: ValueError for a change of both; Conflict, NotFound and the other StatusErrors.
    """
    main, status = difference(old, new)
    if main and status:
        raise ValueError(
            f"{meta.gvk(old)} {meta.key(old)}: spec or metadata, and status, changed together; commit them one after the other"
        )
    if not main and not status:
        return old
    patch: JSONObject = {**main} if main else {"status": status["status"]}
    patch["metadata"] = {**main.get("metadata", {}), "uid": meta.uid(old), "resourceVersion": meta.resource_version(old)}
    return await resource.patch(
        meta.name(old), patch, namespace=meta.namespace(old), subresource="status" if status else "", field_manager=field_manager
    )


async def commit_own(resource: ResourceClient, old: JSONObject, new: JSONObject) -> JSONObject:
    """The same for labels and annotations that nobody else writes: others may write the object meanwhile, as often as they like.

    With many writers of one object, each of them guarded, the slowest would lose every race. What was decided on stale ground is put right
    by the next look, which their writes bring about. A change of finalizers, which are one list, is guarded as ever.
    Raises: as `commit`; Conflict only for another object of that name, or for finalizers.
    """
    main, status = difference(old, new)
    if status or "finalizers" in main.get("metadata", {}) or main.keys() - {"metadata"}:
        return await commit(resource, old, new)
    if not main:
        return old
    patch: JSONObject = {"metadata": {**main["metadata"], "uid": meta.uid(old)}}
    return await resource.patch(meta.name(old), patch, namespace=meta.namespace(old))


async def commit_both(resource: ResourceClient, old: JSONObject, new: JSONObject, *, field_manager: str = "") -> JSONObject:
    """The same for a change of both parts: first spec and metadata, then status, each only on difference."""
    if new == old:
        return old
    status = new.get("status")
    written = await commit(resource, old, {**new, "status": old.get("status")}, field_manager=field_manager)
    if status is None or status == written.get("status"):
        return written
    return await commit(resource, written, {**written, "status": status}, field_manager=field_manager)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[JSONObject, JSONObject]:
    """Merge patches for the main endpoint and for the status endpoint, each empty if nothing differs there."""
    return _diff(_main(old), _main(new)), _diff(_status(old), _status(new))


def _main(obj: Mapping[str, Any]) -> JSONObject:
    """What a client may write at the main endpoint."""
    body = {name: value for name, value in obj.items() if name not in ("metadata", "status", "apiVersion", "kind")}
    held = meta.metadata(obj)
    body["metadata"] = {name: held[name] for name in _WRITABLE_METADATA if held.get(name)}
    return body


def _status(obj: Mapping[str, Any]) -> JSONObject:
    return {"status": obj["status"]} if obj.get("status") is not None else {}


def _diff(old: JSONObject, new: JSONObject) -> JSONObject:
    if old == new:
        return {}
    patch: JSONObject = merge_patch.diff(old, new)
    return patch
