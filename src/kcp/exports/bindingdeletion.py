"""What becomes of the objects of a binding that is deleted: they go with it, unless another binding takes them over.

Before: the binding controller. After: the objects, through their API.
Source: kcp pkg/reconciler/apis/apibindingdeletion/{apibinding_deletion_controller,apibinding_deletor,apibinding_adoption}.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.commit import commit
from kcp.controller.controller import Result
from kcp.exports.boundresources import BoundResource, bound_resources
from kcp.exports.grants import CLAIMS_CHANGED, CLAIMS_WITHDRAWN
from kcp.exports.names import (
    BINDING_FINALIZER,
    BINDING_RESOURCE_DELETE_SUCCESS,
    BINDINGS,
    PERMISSION_CLAIMS_APPLIED,
    ExportReference,
    exported_resources,
)

ORPHAN, WAIT_FOR_SUCCESSOR = "Orphan", "WaitForSuccessor"
"""Values of `spec.deletionPolicy`; else objects without a successor are deleted."""
_SOONEST_LOOK_S, _LATEST_LOOK_S = 0.1, 5.0


def successor_of(bound: BoundResource, others: Iterable[JSONObject], export_of: Callable[[ExportReference], JSONObject | None]) -> str:
    """The binding that takes a resource's objects over, because they are stored under its export's identity too; "" if there is none."""
    for binding in others:
        reference = ExportReference.of(binding)
        export = export_of(reference) if reference is not None and not meta.deletion_timestamp(binding) else None
        if export is None or meta.nested(export, "status", "identityHash", default="") != bound.identity:
            continue
        if any(offered.group_resource == bound.group_resource for offered in exported_resources(export)):
            return meta.name(binding)
    return ""


@dataclass(slots=True)
class Remains:
    """What is still there."""

    resources: Counter[GroupResource]
    finalizers: Counter[str]

    def condition(self, now: str) -> JSONObject:
        if self.finalizers:
            held = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(self.finalizers.items()))
            return _failed("SomeFinalizersRemain", f"Some content in the workspace has finalizers remaining: {held}", now)
        held = ", ".join(f"{gr.resource}.{gr.group} has {n} resource instances" for gr, n in sorted(self.resources.items()))
        return _failed("SomeResourcesRemain", f"Some resources are remaining: {held}", now)


def _failed(reason: str, message: str, now: str) -> JSONObject:
    return conditions.build(
        BINDING_RESOURCE_DELETE_SUCCESS, conditions.FALSE, reason=reason, message=message, severity="Error", now=now
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BindingFinalizer:
    successor: Callable[[ObjectKey, BoundResource], str]
    """The binding beside this one that takes over; "" for none."""
    version: Callable[[ClusterName, BoundResource], str]
    """One that is served: the stored one need not be."""
    may_hold: Callable[[ClusterName, BoundResource], Awaitable[bool]]
    """Whether there may be objects of it in the workspace; most have none of most resources."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def finalize(self, key: ObjectKey, binding: JSONObject) -> Result:
        """Withdraw the claims, see to the objects, then let the binding go."""
        if BINDING_FINALIZER not in meta.finalizers(binding):
            return Result()
        client = self.for_cluster(key.cluster)
        if not await self._withdraw(client, binding):
            return Result()
        wanted: JSONObject = meta.copy_json(binding)
        failed = await self._settle(key, client, binding)
        if failed is None:
            meta.set_finalizers(wanted, [f for f in meta.finalizers(binding) if f != BINDING_FINALIZER])
        else:
            conditions.set_condition(wanted, failed)
        await commit(client.resource(BINDINGS), binding, wanted)
        return Result(requeue_after_s=self._next_look_s(binding) if failed is not None else None)

    def _next_look_s(self, binding: JSONObject) -> float:
        """Soon at first: most finalizers are removed as soon as their controllers have seen the deletion."""
        age_s = (self.clock.now() - parse_rfc3339(meta.deletion_timestamp(binding))).total_seconds()
        return min(max(age_s / 4, _SOONEST_LOOK_S), _LATEST_LOOK_S)

    async def _withdraw(self, client: Client, binding: JSONObject) -> bool:
        """Whether no claim of this binding is granted any more and no object labelled for one; else see that it becomes so."""
        if not meta.nested(binding, "status", "appliedPermissionClaims", default=()):
            return (conditions.get(binding, PERMISSION_CLAIMS_APPLIED) or {}).get("reason") not in (CLAIMS_CHANGED, CLAIMS_WITHDRAWN)
        wanted: JSONObject = meta.copy_json(binding)
        del wanted["status"]["appliedPermissionClaims"]
        now, why = rfc3339(self.clock.now()), "labels of claims are being removed"
        withdrawn = conditions.build(
            PERMISSION_CLAIMS_APPLIED, conditions.FALSE, reason=CLAIMS_WITHDRAWN, message=why, severity="Info", now=now
        )
        conditions.set_condition(wanted, withdrawn)
        await commit(client.resource(BINDINGS), binding, wanted)
        return False

    async def _settle(self, key: ObjectKey, client: Client, binding: JSONObject) -> JSONObject | None:
        """Delete what nobody takes over; the condition that says what it waits for, None when nothing is left to do."""
        policy = meta.nested(binding, "spec", "deletionPolicy", default="")
        remains, now = Remains(Counter(), Counter()), rfc3339(self.clock.now())
        for bound in bound_resources(binding):
            if policy == ORPHAN or bound.is_virtual or not await self.may_hold(key.cluster, bound) or self.successor(key, bound):
                continue
            if policy == WAIT_FOR_SUCCESSOR:
                if await _objects(self._resource(key, client, bound)):
                    text = f"no other APIBinding takes over {bound.group_resource}: create one, or change spec.deletionPolicy"
                    return _failed("WaitingForSuccessor", text, now)
                continue
            remaining = await _emptied(self._resource(key, client, bound))
            if remaining:
                remains.resources[bound.group_resource] += len(remaining)
                remains.finalizers.update(finalizer for obj in remaining for finalizer in meta.finalizers(obj))
        return remains.condition(now) if remains.resources else None

    def _resource(self, key: ObjectKey, client: Client, bound: BoundResource) -> ResourceClient:
        return client.resource(GVR(bound.group_resource.group, self.version(key.cluster, bound), bound.group_resource.resource))


async def _objects(resource: ResourceClient) -> list[JSONObject]:
    try:
        return list((await resource.list()).items)
    except NotFound:
        return []  # nothing serves it, so nobody can reach what may be left


async def _emptied(resource: ResourceClient) -> list[JSONObject]:
    """Delete all instances of one bound resource; those that stay all the same."""
    found = await _objects(resource)
    for namespace in sorted({meta.namespace(obj) for obj in found if not meta.deletion_timestamp(obj)}):
        await resource.delete_collection(namespace=namespace, propagation="Background")
    return await _objects(resource) if found else []
