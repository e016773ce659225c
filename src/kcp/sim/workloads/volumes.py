"""Volumes: every PersistentVolumeClaim gets a PersistentVolume made for it, which goes when the claim goes.

`volume` and `claim_status` are pure. Before: `sim.cluster`, which starts it. After: PersistentVolumes, and the status of claims.
Source: pkg/controller/volume/persistentvolume/pv_controller.go (dynamic provisioning and binding at once, reclaim policy Delete).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.wiring import Wiring, wake_self
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, create_if_missing, delete_if_there, patch_status

CLAIMS = GVR("", "v1", "persistentvolumeclaims")
VOLUMES = GVR("", "v1", "persistentvolumes")

PROVISIONER = "sim.kcp.io/provisioner"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def volume(claim: Mapping[str, Any]) -> JSONObject:
    """The volume of a claim; named by its uid, so that a second attempt meets the first."""
    spec = claim.get("spec") or {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{meta.uid(claim)}", "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": list(spec.get("accessModes") or ("ReadWriteOnce",)),
            "capacity": {"storage": meta.nested(spec, "resources", "requests", "storage", default="1Gi")},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": meta.name(claim),
                         "namespace": meta.namespace(claim), "uid": meta.uid(claim)},
            "csi": {"driver": PROVISIONER, "volumeHandle": meta.uid(claim)},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec.get("storageClassName") or "",
            "volumeMode": spec.get("volumeMode") or "Filesystem",
        },
    }  # fmt: skip


def claim_status(claim: Mapping[str, Any], held: Mapping[str, Any]) -> JSONObject:
    """Bound to `held`."""
    status: JSONObject = meta.copy_json(claim.get("status") or {})
    spec = held.get("spec") or {}
    return {**status, "phase": "Bound", "accessModes": spec.get("accessModes"), "capacity": spec.get("capacity")}


@dataclass
class VolumeReconciler:
    """One claim at a time. A claim that names a volume itself, or a volume made by hand, is left alone."""

    claims: Informer
    volumes: Informer
    client: Client

    async def reconcile(self, key: ObjectKey) -> Result:
        claim = self.claims.get(key)
        await self._reclaim(key, meta.uid(claim) if claim is not None else "")
        if claim is None or meta.deletion_timestamp(claim):
            return Result()
        wanted = volume(claim)
        named = meta.nested(claim, "spec", "volumeName", default="")
        if named not in ("", meta.name(wanted)):
            return Result()
        held = self.volumes.get(ObjectKey(ClusterName(""), "", meta.name(wanted)))
        if held is None:
            await create_if_missing(self.client.resource(VOLUMES), wanted)
        claims = self.client.resource(CLAIMS)
        if not named:
            patch = {"metadata": {"uid": meta.uid(claim)}, "spec": {"volumeName": meta.name(wanted)}}
            try:
                await claims.patch(key.name, patch, namespace=key.namespace, field_manager=CONTROLLER_MANAGER)
            except NotFound:
                return Result()  # deleted meanwhile
        await patch_status(claims, claim, claim_status(claim, wanted))
        if held is not None:  # else its creation wakes us
            await patch_status(self.client.resource(VOLUMES), held, {"phase": "Bound"})
        return Result()

    async def _reclaim(self, key: ObjectKey, uid: str) -> None:
        """Delete the volumes made for earlier claims of this name."""
        for held in self.volumes.list():
            claim = meta.nested(held, "spec", "claimRef", default={})
            is_ours = meta.annotations(held).get(_PROVISIONED_BY) == PROVISIONER
            if is_ours and (claim.get("namespace"), claim.get("name")) == (key.namespace, key.name) and claim.get("uid") != uid:
                await delete_if_there(self.client.resource(VOLUMES), meta.name(held), "", meta.uid(held))


def controller(wiring: Wiring) -> Controller:
    claims, volumes = wiring.informers.informer(CLAIMS), wiring.informers.informer(VOLUMES)
    made = Controller("volume", VolumeReconciler(claims, volumes, wiring.client).reconcile, clock=wiring.clock, workers=1)
    wake_self(claims, made)

    def of_claim(_key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        claim = meta.nested(new or {}, "spec", "claimRef", default={})
        return (ObjectKey(ClusterName(""), claim["namespace"], claim["name"]),) if claim.get("name") else ()

    made.watch(volumes, of_claim)
    return made
