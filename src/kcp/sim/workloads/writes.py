"""Writes that the workload controllers share: a status only where it differs, a deletion that may have happened already.

Each status has one writer here, so a patch is guarded by uid alone: a stale copy costs nothing, the next event corrects it.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Conflict, Forbidden, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import merge_patch
from kcp.client.rest import ResourceClient

CONTROLLER_MANAGER = "kube-controller-manager"
KUBELET = "kubelet"
SCHEDULER = "kube-scheduler"

SETTLE_S = 0.01
"""How long a controller waits after a child's change before it looks: siblings that change together cost one status, not one each."""

IDLE_S = 1.0
"""The same after a change that only says that something has begun: most often its end comes first, and the status is written once."""


async def patch_status(
    resource: ResourceClient,
    old: JSONObject,
    status: JSONObject,
    *,
    annotations: Mapping[str, str] | None = None,
    field_manager: str = CONTROLLER_MANAGER,
) -> bool:
    """Bring the status of `old` to `status`. Returns whether there was anything to write.

    Args: annotations: to set with it, where the kind's status endpoint takes them.
    Raises: StatusError; an object that is gone meanwhile is none.
    """
    before = old.get("status") or {}
    held = meta.annotations(old)
    marks = {k: v for k, v in (annotations or {}).items() if held.get(k) != v}
    if before == status and not marks:
        return False
    patch: JSONObject = {"metadata": {"uid": meta.uid(old)}, "status": merge_patch.diff(before, status)}
    if marks:
        patch["metadata"]["annotations"] = marks
    try:
        await resource.patch(meta.name(old), patch, namespace=meta.namespace(old), subresource="status", field_manager=field_manager)
    except NotFound:
        return False  # deleted meanwhile: its status matters to nobody
    return True


async def create_if_missing(resource: ResourceClient, obj: JSONObject) -> JSONObject | None:
    """Create an object; None where it is there already (an earlier attempt made it), or where its namespace is on its way out.

    Raises: StatusError. Source: pkg/controller/controller_utils.go and its callers, which ignore NamespaceTerminatingCause.
    """
    try:
        return await resource.create(obj, field_manager=CONTROLLER_MANAGER)
    except AlreadyExists:
        return None
    except (Forbidden, NotFound) as refusal:
        if isinstance(refusal, NotFound) or any(cause.reason == "NamespaceTerminating" for cause in refusal.causes):
            return None
        raise


async def delete_if_there(
    resource: ResourceClient, name: str, namespace: str, uid: str, *, propagation: str = "", grace_period_s: int | None = None
) -> None:
    """Delete exactly the object with this uid, if it is still there."""
    try:
        await resource.delete(name, namespace=namespace, uid=uid, propagation=propagation, grace_period_s=grace_period_s)
    except NotFound:
        return  # somebody was quicker
    except Conflict:
        return  # the name belongs to another object by now
