"""What becomes of a StatefulSet's claims: kept, or gone with the StatefulSet or with the pod that is scaled away.

It is said by owner references; the garbage collector does the rest. Before: `statefulset`.
Source: pkg/controller/statefulset/stateful_set_utils.go (updateClaimOwnerRefForSetAndPod), KEP-1847.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.informer import Informer
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.writes import CONTROLLER_MANAGER

CLAIMS = GVR("", "v1", "persistentvolumeclaims")
_CONFLICT = "has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim"


def owners(statefulset: Mapping[str, Any], pod: PodView, held: list[JSONObject], *, condemned: bool) -> list[JSONObject]:
    """The owner references that a claim ought to have; others' are left as they are."""
    policy = meta.nested(statefulset, "spec", "persistentVolumeClaimRetentionPolicy", default={})
    set_ref = _reference("apps/v1", "StatefulSet", meta.name(statefulset), meta.uid(statefulset))
    pod_ref = _reference("v1", "Pod", pod.key.name, pod.uid)
    ours = [r for r in held if (r.get("kind"), r.get("name")) in (("StatefulSet", set_ref["name"]), ("Pod", pod_ref["name"]))]
    wanted: list[JSONObject] = []
    if is_anothers(statefulset, pod, held):
        pass  # theirs to keep or to remove
    elif condemned and policy.get("whenScaled") == "Delete":
        wanted = [pod_ref]
    elif policy.get("whenDeleted") == "Delete":
        wanted = [set_ref]
    return [r for r in held if r not in ours] + wanted


def is_anothers(statefulset: Mapping[str, Any], pod: PodView, held: list[JSONObject]) -> bool:
    """Whether somebody else controls a claim that a policy would remove. Source: hasUnexpectedController."""
    policy = meta.nested(statefulset, "spec", "persistentVolumeClaimRetentionPolicy", default={})
    if "Delete" not in (policy.get("whenDeleted"), policy.get("whenScaled")):
        return False
    ours = {("StatefulSet", meta.name(statefulset)): meta.uid(statefulset), ("Pod", pod.key.name): pod.uid}
    for reference in held:
        uid = ours.get((reference.get("kind", ""), reference.get("name", "")))
        if reference.get("uid") != uid if uid is not None else reference.get("controller"):
            return True
    return False


def _reference(version: str, kind: str, name: str, uid: str) -> JSONObject:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True, "blockOwnerDeletion": True}


@dataclass(frozen=True, slots=True)
class Retention:
    claims: Informer
    client: Client
    events: Voice

    async def keep(self, statefulset: Mapping[str, Any], pods: Mapping[int, PodView], wanted: Container[int]) -> None:
        """Bring the owners of the claims of these pods to what the policy says; before any pod is deleted."""
        templates = [meta.name(t) for t in meta.nested(statefulset, "spec", "volumeClaimTemplates", default=())]
        for index, pod in pods.items() if templates else ():
            for template in templates:
                claim = self.claims.get(ObjectKey(pod.key.cluster, pod.key.namespace, f"{template}-{pod.key.name}"))
                if claim is None or meta.deletion_timestamp(claim):
                    continue
                held = meta.owner_references(claim)
                if is_anothers(statefulset, pod, held):
                    text = f"PersistentVolumeClaim {meta.name(claim)} {_CONFLICT}"
                    self.events.warn(statefulset, "ConflictingController", text)
                told = owners(statefulset, pod, held, condemned=index not in wanted)
                if told != held:
                    await self._write(claim, told)

    async def _write(self, claim: JSONObject, told: list[JSONObject]) -> None:
        patch = {"metadata": {"uid": meta.uid(claim), "ownerReferences": told or None}}
        try:
            resource = self.client.resource(CLAIMS)
            await resource.patch(meta.name(claim), patch, namespace=meta.namespace(claim), field_manager=CONTROLLER_MANAGER)
        except NotFound:
            return  # gone
