"""Deleted claims stay until no pod on a node uses them, deleted volumes until no claim is bound to them.

Before: `sim.cluster`, which starts both controllers. After: finalizers of claims and volumes, which `storageinuse` put there.
Source: pkg/controller/volume/pvcprotection/pvc_protection_controller.go, pkg/controller/volume/pvprotection/pv_protection_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.storageinuse import CLAIM_PROTECTION, VOLUME_PROTECTION
from kcp.sim.workloads.volumes import CLAIMS, OF_POD, VOLUMES, claims_of, place
from kcp.sim.workloads.wiring import PODS, Wiring
from kcp.sim.workloads.writes import CONTROLLER_MANAGER


def uses(pod: Mapping[str, Any], claim: str) -> bool:
    """Whether a pod keeps the claim at this place: only once it is on a node, for none starts there with a claim on its way out."""
    return bool(meta.nested(pod, "spec", "nodeName")) and claim in claims_of(pod)


def is_protected(obj: Mapping[str, Any], finalizer: str) -> bool | None:
    """False if it lacks the finalizer while it lives, True if it waits for its end with it; None if there is nothing to do."""
    held = finalizer in meta.finalizers(obj)
    if meta.deletion_timestamp(obj):
        return True if held else None
    return None if held else False


@dataclass
class ProtectionReconciler:
    """One claim, or one volume, at a time."""

    informer: Informer
    client: Client
    gvr: GVR
    finalizer: str
    is_used: Callable[[JSONObject], Any]
    """Awaitable: whether something still needs the object, by the server's own word."""

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.informer.get(key)
        protected = None if obj is None else is_protected(obj, self.finalizer)
        if obj is None or protected is None or (protected and await self.is_used(obj)):
            return Result()
        wanted = copy_json(obj)
        others = [f for f in meta.finalizers(obj) if f != self.finalizer]
        meta.set_finalizers(wanted, others if protected else [*others, self.finalizer])
        try:
            await commit(self.client.resource(self.gvr), obj, wanted, field_manager=CONTROLLER_MANAGER)
        except NotFound:
            return Result()  # gone already
        return Result()


def claim_controller(wiring: Wiring) -> Controller:
    claims, pods = wiring.informers.informer(CLAIMS), wiring.informers.informer(PODS, indexers={OF_POD: claims_of})

    async def is_used(claim: JSONObject) -> bool:
        """The mirror may be behind: only the server's own list says that no pod uses a claim."""
        where = place(claim)
        if any(uses(pod, where) for pod in pods.by_index(OF_POD, where)):
            return True
        live = await wiring.client.resource(PODS).list(namespace=meta.namespace(claim))
        return any(uses(pod, where) for pod in live.items)

    reconciler = ProtectionReconciler(claims, wiring.client, CLAIMS, CLAIM_PROTECTION, is_used)
    made = Controller("claim-protection", reconciler.reconcile, clock=wiring.clock, workers=1)
    made.watch(claims)

    def freed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A pod that has gone, or given its name to another, may have been the last user."""
        if old is None or (new is not None and meta.uid(new) == meta.uid(old)):
            return ()
        return [ObjectKey(key.cluster, key.namespace, where.partition("/")[2]) for where in claims_of(old)]

    made.watch(pods, freed)
    return made


def volume_controller(wiring: Wiring) -> Controller:
    volumes = wiring.informers.informer(VOLUMES)

    async def is_used(held: JSONObject) -> bool:
        return bool(meta.nested(held, "status", "phase") == "Bound")

    reconciler = ProtectionReconciler(volumes, wiring.client, VOLUMES, VOLUME_PROTECTION, is_used)
    made = Controller("volume-protection", reconciler.reconcile, clock=wiring.clock, workers=1)
    made.watch(volumes)
    return made
