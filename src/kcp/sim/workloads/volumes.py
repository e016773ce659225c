"""Volumes: claims are bound to volumes made by hand where one fits, else to a volume made for them; freed volumes are reclaimed.

The functions up to the reconcilers are pure. Before: `sim.cluster`, which starts both controllers. After: PersistentVolumes and claims.
The simulated provisioner serves every StorageClass there is, whatever provisioner it names, but for `kubernetes.io/no-provisioner`. A
claim of a class that is not there waits for it, or for a volume made by hand.
Source: pkg/controller/volume/persistentvolume/pv_controller.go, pkg/volume/util (FindMatchingVolume).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.defaultclasses import default_storage_class
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.wiring import PODS, Wiring, wake_self
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, create_if_missing, delete_if_there, patch_status

CLAIMS = GVR("", "v1", "persistentvolumeclaims")
VOLUMES = GVR("", "v1", "persistentvolumes")
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")

PROVISIONER = "sim.kcp.io/provisioner"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_BY_HAND = "no persistent volumes available for this claim and no storage class is set"
_NO_POD_YET = "waiting for first consumer to be created before binding"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_BIND_COMPLETED, _BOUND_BY_CONTROLLER = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_OF_CLAIM, OF_POD = "claim", "claims"
"""Indexes: volumes by the claim they refer to, pods by the claims they use."""


def class_of(obj: Mapping[str, Any]) -> str:
    return meta.annotations(obj).get(_BETA_CLASS) or meta.nested(obj, "spec", "storageClassName", default="")


def volume(claim: Mapping[str, Any], storage_class: Mapping[str, Any] | None = None) -> JSONObject:
    """The volume to make for a claim; named by its uid, so that a second attempt meets the first."""
    spec = claim.get("spec") or {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{meta.uid(claim)}", "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": list(spec.get("accessModes") or ("ReadWriteOnce",)),
            "capacity": {"storage": meta.nested(spec, "resources", "requests", "storage", default="1Gi")},
            "claimRef": reference(claim),
            "csi": {"driver": PROVISIONER, "volumeHandle": meta.uid(claim)},
            "persistentVolumeReclaimPolicy": (storage_class or {}).get("reclaimPolicy") or "Delete",
            "storageClassName": class_of(claim),
            "volumeMode": spec.get("volumeMode") or "Filesystem",
        },
    }


def reference(claim: Mapping[str, Any]) -> JSONObject:
    """What a volume says of its claim."""
    identity = {"name": meta.name(claim), "namespace": meta.namespace(claim), "uid": meta.uid(claim)}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **identity}


def is_bound_to(held: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether a volume is this claim's, or reserved for one of its name."""
    ref = meta.nested(held, "spec", "claimRef", default={})
    return (ref.get("namespace"), ref.get("name")) == (meta.namespace(claim), meta.name(claim)) and ref.get("uid") in (
        None, "", meta.uid(claim),
    )  # fmt: skip


def match(claim: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The volume for a claim: the one that is reserved for it, else the smallest free one that fits, ties by name.

    Source: FindMatchingVolume.
    """
    reserved = [held for held in volumes if is_bound_to(held, claim)]
    if reserved:
        return min(reserved, key=meta.name)
    fit = [held for held in volumes if meta.nested(held, "spec", "claimRef") is None and _fits(held, claim)]
    return min(fit, key=lambda held: (quantity.parse(held["spec"]["capacity"]["storage"]), meta.name(held)), default=None)


def _fits(held: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    spec, wanted = held.get("spec") or {}, claim.get("spec") or {}
    capacity = meta.nested(spec, "capacity", "storage")
    if capacity is None or meta.deletion_timestamp(held) or class_of(held) != class_of(claim):
        return False
    if (spec.get("volumeMode") or "Filesystem") != (wanted.get("volumeMode") or "Filesystem"):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    selector = wanted.get("selector")
    if selector is not None and not LabelSelector.from_object(selector).matches(meta.labels(held)):
        return False
    return quantity.compare(capacity, meta.nested(wanted, "resources", "requests", "storage", default="0")) >= 0


@dataclass(frozen=True, slots=True)
class Delay:
    """Why no volume is made for a claim now, as its event says it."""

    reason: str
    message: str
    is_warning: bool = False


def delay(claim: Mapping[str, Any], storage_class: Mapping[str, Any] | None, *, has_pod: bool) -> Delay | None:
    """None: make one. Args: storage_class: the claim's, None if there is none. has_pod: a pod uses the claim.

    Source: syncUnboundClaim, provisionClaimOperation.
    """
    name = class_of(claim)
    if storage_class is not None and waits_for_pod(storage_class) and not has_pod:
        return Delay("WaitForFirstConsumer", _NO_POD_YET)
    if not name:
        return Delay("FailedBinding", _BY_HAND)
    if storage_class is None:
        return Delay("ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found', is_warning=True)
    if storage_class.get("provisioner") == _NO_PROVISIONER:
        return Delay("ProvisioningFailed", f"no volume plugin matched name: {_NO_PROVISIONER}", is_warning=True)
    if meta.nested(claim, "spec", "selector") is not None:
        return Delay(
            "ProvisioningFailed", f'failed to provision volume with StorageClass "{name}": claim Selector is not supported', is_warning=True
        )
    return None


def waits_for_pod(storage_class: Mapping[str, Any]) -> bool:
    return bool(storage_class.get("volumeBindingMode") == "WaitForFirstConsumer")


def claim_status(claim: Mapping[str, Any], held: Mapping[str, Any] | None) -> JSONObject:
    """Bound to `held`; without one Pending, or Lost where there was one."""
    status: JSONObject = meta.copy_json(claim.get("status") or {})
    if held is None:
        lost = _BIND_COMPLETED in meta.annotations(claim)
        return {**status, "phase": "Lost"} if lost else {**status, "phase": status.get("phase") or "Pending"}
    spec = held.get("spec") or {}
    return {**status, "phase": "Bound", "accessModes": spec.get("accessModes"), "capacity": spec.get("capacity")}


def volume_phase(held: Mapping[str, Any], claim: Mapping[str, Any] | None) -> str:
    """Args: claim: of the name that the volume refers to. Source: syncVolume."""
    ref = meta.nested(held, "spec", "claimRef", default={})
    if not ref.get("name") or not ref.get("uid"):
        return "Available"  # free, or reserved by hand for a claim that has not come
    return "Bound" if claim is not None and meta.uid(claim) == ref["uid"] else "Released"


@dataclass
class ClaimReconciler:
    """One claim at a time."""

    claims: Informer
    volumes: Informer
    classes: Informer
    pods: Informer
    client: Client
    events: Voice

    async def reconcile(self, key: ObjectKey) -> Result:
        claim = self.claims.get(key)
        if claim is None or meta.deletion_timestamp(claim):
            return Result()
        held, claims = self._volume_for(claim), self.client.resource(CLAIMS)
        if held is None and not meta.nested(claim, "spec", "volumeName"):
            if default := self._default_for(claim):
                classed = {"metadata": {"uid": meta.uid(claim)}, "spec": {"storageClassName": default}}
                await claims.patch(key.name, classed, namespace=key.namespace, field_manager=CONTROLLER_MANAGER)
                return Result()  # its event brings us back
            held = await self._provision(claim)
        elif held is not None and not meta.nested(held, "spec", "claimRef", default={}).get("uid"):
            await self._reserve(held, claim)
        if held is not None and not meta.nested(claim, "spec", "volumeName"):
            marks = {_BIND_COMPLETED: "yes", _BOUND_BY_CONTROLLER: "yes"}
            patch = {"metadata": {"uid": meta.uid(claim), "annotations": marks}, "spec": {"volumeName": meta.name(held)}}
            try:
                claim = await claims.patch(key.name, patch, namespace=key.namespace, field_manager=CONTROLLER_MANAGER)
            except NotFound:
                return Result()  # deleted meanwhile
        await patch_status(claims, claim, claim_status(claim, held))
        return Result()

    def _volume_for(self, claim: JSONObject) -> JSONObject | None:
        """The volume that the claim names, if it may have it; else one that is reserved for it, or fits once it may be looked for."""
        named = meta.nested(claim, "spec", "volumeName", default="")
        if named:
            held = self.volumes.get(ObjectKey(ClusterName(""), "", named))
            free = held is not None and (meta.nested(held, "spec", "claimRef") is None or is_bound_to(held, claim))
            return held if free else None
        volumes = self.volumes.list()
        if waits_for_pod(self._class(claim) or {}) and not self._has_pod(claim):
            volumes = [held for held in volumes if is_bound_to(held, claim)]
        found = match(claim, volumes)
        return dict(found) if found is not None else None

    async def _provision(self, claim: JSONObject) -> JSONObject | None:
        """A volume made for the claim; None, and a word about it, where none is to be made now."""
        storage_class = self._class(claim)
        if (why := delay(claim, storage_class, has_pod=self._has_pod(claim))) is not None:
            (self.events.warn if why.is_warning else self.events.normal)(claim, why.reason, why.message)
            return None
        wanted = volume(claim, storage_class)
        return await create_if_missing(self.client.resource(VOLUMES), wanted) or wanted

    def _default_for(self, claim: Mapping[str, Any]) -> str:
        """The default class that has come since a claim without one was made. Source: assignDefaultStorageClass, KEP-3333."""
        if meta.nested(claim, "spec", "storageClassName") is not None or _BETA_CLASS in meta.annotations(claim):
            return ""
        return default_storage_class(self.classes.list())

    def _class(self, claim: Mapping[str, Any]) -> JSONObject | None:
        return self.classes.get(ObjectKey(ClusterName(""), "", class_of(claim)))

    def _has_pod(self, claim: Mapping[str, Any]) -> bool:
        return bool(self.pods.index_keys(OF_POD, place(claim)))

    async def _reserve(self, held: JSONObject, claim: JSONObject) -> None:
        """Only while the volume is as it was: it may have been given away meanwhile. Raises: Conflict."""
        identity = {"uid": meta.uid(held), "resourceVersion": meta.resource_version(held)}
        patch = {"metadata": {**identity, "annotations": {_BOUND_BY_CONTROLLER: "yes"}}, "spec": {"claimRef": reference(claim)}}
        await self.client.resource(VOLUMES).patch(meta.name(held), patch, field_manager=CONTROLLER_MANAGER)


@dataclass
class VolumeReconciler:
    """One volume at a time: what it is now, and its end."""

    claims: Informer
    volumes: Informer
    client: Client

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.volumes.get(key)
        if held is None:
            return Result()
        ref = meta.nested(held, "spec", "claimRef", default={})
        phase = volume_phase(held, self.claims.get(ObjectKey(ClusterName(""), ref.get("namespace") or "", ref.get("name") or "")))
        if phase == "Released" and await self._is_claimed(ref):
            return Result()  # the mirror is a little behind
        resource = self.client.resource(VOLUMES)
        await patch_status(resource, held, {**(held.get("status") or {}), "phase": phase})  # first: a Bound volume may not go
        policy = meta.nested(held, "spec", "persistentVolumeReclaimPolicy", default="Retain")
        is_ours = policy == "Delete" and meta.annotations(held).get(_PROVISIONED_BY) == PROVISIONER
        if phase == "Released" and is_ours and not meta.deletion_timestamp(held):
            await delete_if_there(resource, key.name, "", meta.uid(held))
        return Result()

    async def _is_claimed(self, ref: Mapping[str, Any]) -> bool:
        """What the server itself says: no volume is given up on the word of a mirror."""
        try:
            live = await self.client.resource(CLAIMS).get(ref["name"], namespace=ref.get("namespace") or "")
        except NotFound:
            return False
        return bool(meta.uid(live) == ref.get("uid"))


def place(obj: Mapping[str, Any]) -> str:
    """Of a claim, in the index of pods."""
    return f"{meta.namespace(obj)}/{meta.name(obj)}"


def _claim_of(held: Mapping[str, Any]) -> list[str]:
    ref = meta.nested(held, "spec", "claimRef", default={})
    return [f"{ref.get('namespace')}/{ref['name']}"] if ref.get("name") else []


def claims_of(pod: Mapping[str, Any]) -> list[str]:
    """Indexer: the places of the claims that a pod uses."""
    used = (meta.nested(v, "persistentVolumeClaim", "claimName") for v in meta.nested(pod, "spec", "volumes", default=()))
    return [f"{meta.namespace(pod)}/{name}" for name in used if name]


def controller(wiring: Wiring) -> Controller:
    """Binds claims."""
    claims, volumes = wiring.informers.informer(CLAIMS), wiring.informers.informer(VOLUMES, indexers={_OF_CLAIM: _claim_of})
    classes, pods = wiring.informers.informer(STORAGE_CLASSES), wiring.informers.informer(PODS, indexers={OF_POD: claims_of})
    reconciler = ClaimReconciler(claims, volumes, classes, pods, wiring.client, wiring.remarks.by("persistentvolume-controller"))
    made = Controller("claim", reconciler.reconcile, clock=wiring.clock, workers=1)
    wake_self(claims, made)

    def pending(_key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A volume that comes, or changes, may be what a claim waits for; one that goes is missed by its claim."""
        waiting = [c for c in claims.list() if meta.nested(c, "status", "phase") != "Bound"]
        return [meta.key(c) for c in waiting] if new is not None else claims.keys()

    def of_pod(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A new pod may be the first consumer."""
        if old is not None or new is None:
            return ()
        return [ObjectKey(key.cluster, key.namespace, place.partition("/")[2]) for place in claims_of(new)]

    made.watch(volumes, pending)
    made.watch(classes, pending)
    made.watch(pods, of_pod)
    return made


def volume_controller(wiring: Wiring) -> Controller:
    """Says what volumes are, and reclaims those that are free."""
    claims, volumes = wiring.informers.informer(CLAIMS), wiring.informers.informer(VOLUMES, indexers={_OF_CLAIM: _claim_of})
    made = Controller("volume", VolumeReconciler(claims, volumes, wiring.client).reconcile, clock=wiring.clock, workers=1)
    made.watch(volumes)
    made.watch(claims, lambda key, _old, _new: volumes.index_keys(_OF_CLAIM, f"{key.namespace}/{key.name}"))
    return made
