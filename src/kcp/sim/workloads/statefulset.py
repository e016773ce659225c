"""StatefulSets: pods with an ordinal each, made in order, ended in reverse, replaced one at a time.

`decide` is pure. Before: `sim.cluster`, which starts it. After: pods, their `revisions` and, for volumeClaimTemplates, claims.
Source: pkg/controller/statefulset/{stateful_set_control,stateful_set_utils}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import owner_reference, pod_from_template, template_hash
from kcp.sim.workloads.podview import REVISION_HASH_LABEL, PodView
from kcp.sim.workloads.revisions import REVISIONS, Histories, template_of
from kcp.sim.workloads.rollout import replicas_of
from kcp.sim.workloads.wiring import OWNER_INDEX, PODS, OwnerKind, Wiring, by_owner, wake_owner, wake_self
from kcp.sim.workloads.writes import create_if_missing, delete_if_there, patch_status

STATEFULSET = OwnerKind(GVR("apps", "v1", "statefulsets"), "StatefulSet")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")

REVISION_LABEL = "controller.kubernetes.io/hash"
"""Of a ControllerRevision: the hash of its template."""
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[JSONObject, ...]
    claims: tuple[JSONObject, ...]
    """PersistentVolumeClaims of the pods to create; they may exist."""
    delete: tuple[PodView, ...]
    status: JSONObject


def decide(
    statefulset: Mapping[str, Any], pods: Sequence[PodView], now: datetime, templates: Mapping[str, Mapping[str, Any]] | None = None
) -> Plan:
    """What a StatefulSet needs now. Args: pods: all that it controls. templates: those it has had, by name of the revision."""
    spec = statefulset.get("spec") or {}
    revision = f"{meta.name(statefulset)}-{template_hash(spec.get('template') or {})}"
    held = {p.index: p for p in pods if p.index >= 0}
    create, delete = _next(spec, held, revision, now) if not meta.deletion_timestamp(statefulset) else ([], [])
    return Plan(
        tuple(_pod(statefulset, index, *_template_for(statefulset, index, revision, templates or {})) for index in create),
        tuple(claim for index in create for claim in _claims(statefulset, index)),
        tuple(delete),
        _status(statefulset, list(held.values()), revision, now),
    )


def _next(spec: Mapping[str, Any], held: Mapping[int, PodView], revision: str, now: datetime) -> tuple[list[int], list[PodView]]:
    """Ordinals to create and pods to delete: one at a time, each waiting for the ones before it, unless Parallel."""
    ordered = spec.get("podManagementPolicy") != "Parallel"
    min_ready_s = spec.get("minReadySeconds") or 0
    start = meta.nested(spec, "ordinals", "start", default=0)
    wanted = range(start, start + replicas_of(spec))
    create: list[int] = []
    delete: list[PodView] = []
    for index in wanted:
        pod = held.get(index)
        if pod is None:
            create.append(index)
        elif pod.phase in ("Failed", "Succeeded") and not pod.terminating:
            delete.append(pod)
        if ordered and (pod is None or not pod.is_active or not pod.is_available(min_ready_s, now)):
            return create, delete
    for index in sorted((i for i in held if i not in wanted), reverse=True):
        if not held[index].terminating:
            delete.append(held[index])
        if ordered:
            return create, delete
    if not create and not delete:
        delete = _outdated(spec, held, wanted, revision, now)
    return create, delete


def _outdated(spec: Mapping[str, Any], held: Mapping[int, PodView], wanted: range, revision: str, now: datetime) -> list[PodView]:
    """The next pod to replace: from the highest ordinal down to the partition, waiting for each. Source: updateStatefulSet."""
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    for index in reversed(wanted):
        pod = held.get(index)
        if index - wanted.start < partition or pod is None or pod.terminating:
            return []
        if pod.revision != revision:
            return [pod]
        if not pod.is_available(spec.get("minReadySeconds") or 0, now):
            return []
    return []


def _template_for(
    statefulset: Mapping[str, Any], index: int, revision: str, templates: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Mapping[str, Any]]:
    """Revision and template of a pod to make: below the partition the one that is current. Source: newVersionedStatefulSetPod."""
    partition = meta.nested(statefulset, "spec", "updateStrategy", "rollingUpdate", "partition", default=0)
    current = meta.nested(statefulset, "status", "currentRevision", default="")
    if current in templates and index - meta.nested(statefulset, "spec", "ordinals", "start", default=0) < partition:
        return current, templates[current]
    return revision, meta.nested(statefulset, "spec", "template", default={})


def _pod(statefulset: Mapping[str, Any], index: int, revision: str, template: Mapping[str, Any]) -> JSONObject:
    spec = statefulset.get("spec") or {}
    name = f"{meta.name(statefulset)}-{index}"
    reference = owner_reference(statefulset, api_version="apps/v1", kind="StatefulSet")
    pod = pod_from_template(template, name=name, namespace=meta.namespace(statefulset), owner=reference)
    for label, value in ((POD_NAME_LABEL, name), (POD_INDEX_LABEL, str(index)), (REVISION_HASH_LABEL, revision)):
        meta.set_label(pod, label, value)
    pod["spec"]["hostname"] = name
    if spec.get("serviceName"):
        pod["spec"]["subdomain"] = spec["serviceName"]
    templates = {meta.name(t) for t in spec.get("volumeClaimTemplates") or ()}
    if templates:
        others = [v for v in pod["spec"].get("volumes") or () if v.get("name") not in templates]
        pod["spec"]["volumes"] = [{"name": t, "persistentVolumeClaim": {"claimName": f"{t}-{name}"}} for t in sorted(templates)] + others
    return pod


def _claims(statefulset: Mapping[str, Any], index: int) -> list[JSONObject]:
    """They have no owner: data outlives the StatefulSet, as upstream's default retention policy has it."""
    claims = []
    labels = meta.nested(statefulset, "spec", "selector", "matchLabels", default={})
    for template in meta.nested(statefulset, "spec", "volumeClaimTemplates", default=()):
        claim: JSONObject = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": meta.copy_json(template.get("spec") or {})}
        name = f"{meta.name(template)}-{meta.name(statefulset)}-{index}"
        claim["metadata"] = {"name": name, "namespace": meta.namespace(statefulset), "labels": {**meta.labels(template), **labels}}
        claims.append(claim)
    return claims


def _status(statefulset: Mapping[str, Any], pods: Sequence[PodView], revision: str, now: datetime) -> JSONObject:
    min_ready_s = meta.nested(statefulset, "spec", "minReadySeconds", default=0)
    before = meta.nested(statefulset, "status", "currentRevision", default=revision)
    active = [p for p in pods if p.is_active]
    updated = [p for p in active if p.revision == revision]
    available = sum(1 for p in active if p.is_available(min_ready_s, now))
    complete = len(updated) == len(pods) == replicas_of(statefulset.get("spec") or {}) == available
    current = revision if complete else before
    counts = {
        "readyReplicas": sum(1 for p in active if p.is_ready),
        "currentReplicas": sum(1 for p in active if p.revision == current),
        "updatedReplicas": len(updated),
    }
    return {
        "observedGeneration": meta.generation(statefulset),
        "replicas": len(pods),
        "availableReplicas": available,
        "currentRevision": current,
        "updateRevision": revision,
        "collisionCount": 0,
        **{k: v for k, v in counts.items() if v},
    }


@dataclass
class StatefulSetReconciler:
    statefulsets: Informer
    histories: Histories
    pods: PodBook
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        statefulset = self.statefulsets.get(key)
        if statefulset is None:
            return Result()
        held = self.pods.owned_by(meta.uid(statefulset))
        current = meta.nested(statefulset, "status", "currentRevision", default="")
        await self.histories.keep(statefulset, {current, *(p.revision for p in held)})
        templates = {meta.name(r): template_of(r) for r in self.histories.of(statefulset)}
        plan = decide(statefulset, held, self.clock.now(), templates)
        pods = self.client.resource(PODS)
        for claim in plan.claims:
            await create_if_missing(self.client.resource(CLAIMS), claim)  # one from an earlier pod of this ordinal is kept
        for pod in plan.create:
            if (made := await create_if_missing(pods, pod)) is not None:
                self.pods.assume(made)
        for view in plan.delete:
            await delete_if_there(pods, view.key.name, view.key.namespace, view.uid)
            self.pods.doom(view)
        await patch_status(self.client.resource(STATEFULSET.gvr), statefulset, plan.status)
        return Result()


def controller(wiring: Wiring) -> Controller:
    statefulsets = wiring.informers.informer(STATEFULSET.gvr)
    revisions = wiring.informers.informer(REVISIONS, indexers={OWNER_INDEX: by_owner})
    histories = Histories(revisions, wiring.client, STATEFULSET, REVISION_LABEL)
    reconciler = StatefulSetReconciler(statefulsets, histories, wiring.pods, wiring.client, wiring.clock)
    made = Controller("statefulset", reconciler.reconcile, clock=wiring.clock, workers=2)
    wake_self(statefulsets, made)
    wake_owner(wiring.pods, made, STATEFULSET.kind)
    return made
