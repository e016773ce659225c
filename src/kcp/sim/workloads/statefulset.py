"""StatefulSets: pods with an ordinal each, made in order, ended in reverse, replaced one at a time.

`decide` is pure. Before: `sim.cluster`, which starts it. After: pods, their `revisions` and, for volumeClaimTemplates, claims.
Source: pkg/controller/statefulset/{stateful_set_control,stateful_set_utils}.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.claiming import PodClaims, Selectors, wake_for_orphans
from kcp.sim.workloads.claimretention import CLAIMS, Retention
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import owner_reference, pod_from_template, template_hash
from kcp.sim.workloads.podview import REVISION_HASH_LABEL, PodView, available_in_s
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.revisions import REVISIONS, Histories, template_of
from kcp.sim.workloads.rollout import replicas_of, share
from kcp.sim.workloads.wiring import OWNER_INDEX, PODS, OwnerKind, Wiring, by_owner, wake_owner, wake_self
from kcp.sim.workloads.writes import create_if_missing, delete_if_there, patch_status

STATEFULSET = OwnerKind(GVR("apps", "v1", "statefulsets"), "StatefulSet")

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
    requeue_after_s: float | None = None
    """Until the next pod has been ready for minReadySeconds."""


def decide(
    statefulset: Mapping[str, Any], pods: Sequence[PodView], now: datetime, templates: Mapping[str, Mapping[str, Any]] | None = None
) -> Plan:
    """What a StatefulSet needs now. Args: pods: all that it controls. templates: those it has had, by name of the revision."""
    spec = statefulset.get("spec") or {}
    revision = f"{meta.name(statefulset)}-{template_hash(spec.get('template') or {})}"
    held = {index: p for p in pods if (index := ordinal_of(meta.name(statefulset), p.key.name)) >= 0}
    create, delete = _next(spec, held, revision, now) if not meta.deletion_timestamp(statefulset) else ([], [])
    return Plan(
        tuple(_pod(statefulset, index, *_template_for(statefulset, index, revision, templates or {})) for index in create),
        tuple(claim for index in create for claim in _claims(statefulset, index)),
        tuple(delete),
        _status(statefulset, list(held.values()), revision, now),
        available_in_s(held.values(), spec.get("minReadySeconds") or 0, now),
    )


def ordinal_of(statefulset: str, pod: str) -> int:
    """The ordinal of a pod by its name; -1 for one that is no member. Source: getParentNameAndOrdinal.

    >>> ordinal_of("web", "web-12"), ordinal_of("web", "web-x-1")
    (12, -1)
    """
    prefix, _, number = pod.rpartition("-")
    return int(number) if prefix == statefulset and number.isdecimal() else -1


def wanted_ordinals(spec: Mapping[str, Any]) -> range:
    start = meta.nested(spec, "ordinals", "start", default=0)
    return range(start, start + replicas_of(spec))


def _next(spec: Mapping[str, Any], held: Mapping[int, PodView], revision: str, now: datetime) -> tuple[list[int], list[PodView]]:
    """Ordinals to create and pods to delete: one at a time, each waiting for the ones before it, unless Parallel."""
    ordered = spec.get("podManagementPolicy") != "Parallel"
    min_ready_s = spec.get("minReadySeconds") or 0
    wanted = wanted_ordinals(spec)
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
    if condemned := sorted((i for i in held if i not in wanted), reverse=True):
        return create, delete + _condemned(held, condemned, min_ready_s, now, ordered=ordered)
    if not create and not delete:
        delete = _outdated(spec, held, wanted, revision, now)
    return create, delete


def _condemned(held: Mapping[int, PodView], indexes: Sequence[int], min_ready_s: int, now: datetime, *, ordered: bool) -> list[PodView]:
    """From the highest ordinal down; in order, an unhealthy pod halts the way down unless it is the first unhealthy one itself.

    Source: processCondemned.
    """
    if not ordered:
        return [held[i] for i in indexes if not held[i].terminating]
    unhealthy = [i for i in sorted(held) if not held[i].is_available(min_ready_s, now) or held[i].terminating]
    pod = held[indexes[0]]
    if pod.terminating or (unhealthy and unhealthy[0] != indexes[0] and indexes[0] in unhealthy):
        return []
    return [pod]


def _outdated(spec: Mapping[str, Any], held: Mapping[int, PodView], wanted: range, revision: str, now: datetime) -> list[PodView]:
    """The next pods to replace: from the highest ordinal down to the partition, as many as may be unavailable at once.

    Source: updateStatefulSet, updateStatefulSetAfterInvariantEstablished (KEP-961).
    """
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return []
    rolling, min_ready_s = strategy.get("rollingUpdate") or {}, spec.get("minReadySeconds") or 0
    partition = rolling.get("partition") or 0
    most = max(share(rolling.get("maxUnavailable", 1), len(wanted), math.floor), 1)
    away = {i for i in wanted if (pod := held.get(i)) is None or pod.terminating or not pod.is_available(min_ready_s, now)}
    found: list[PodView] = []
    for index in reversed(wanted):
        pod = held.get(index)
        if index - wanted.start < partition:
            break
        if pod is not None and pod.revision != revision and not pod.terminating and len(away - {index}) < most:
            found.append(pod)
            away.add(index)
        if len(away) >= most:
            break
    return found


def _template_for(
    statefulset: Mapping[str, Any], index: int, revision: str, templates: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Mapping[str, Any]]:
    """Revision and template of a pod to make: below the partition the one that is current. Source: newVersionedStatefulSetPod."""
    partition = meta.nested(statefulset, "spec", "updateStrategy", "rollingUpdate", "partition", default=0)
    current = meta.nested(statefulset, "status", "currentRevision", default="")
    is_rolling = meta.nested(statefulset, "spec", "updateStrategy", "type", default="RollingUpdate") == "RollingUpdate"
    if is_rolling and current in templates and index - meta.nested(statefulset, "spec", "ordinals", "start", default=0) < partition:
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
    """Whether they have an owner, and so an end, is the retention policy's affair: see `claimretention`."""
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
    is_rolling = meta.nested(statefulset, "spec", "updateStrategy", "type", default="RollingUpdate") == "RollingUpdate"
    complete = is_rolling and len(updated) == len(pods) == replicas_of(statefulset.get("spec") or {}) == available
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
        **({"conditions": kept} if (kept := meta.nested(statefulset, "status", "conditions")) else {}),
    }


@dataclass
class StatefulSetReconciler:
    statefulsets: Informer
    histories: Histories
    retention: Retention
    pods: PodBook
    claims: PodClaims
    events: Voice
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        statefulset = self.statefulsets.get(key)
        if statefulset is None:
            return Result()
        held = await self.claims.claim(statefulset)
        current = meta.nested(statefulset, "status", "currentRevision", default="")
        await self.histories.keep(statefulset, {current, *(p.revision for p in held)})
        templates = {meta.name(r): template_of(r) for r in self.histories.of(statefulset)}
        plan = decide(statefulset, held, self.clock.now(), templates)
        if not meta.deletion_timestamp(statefulset):
            await self.retention.keep(
                statefulset, {ordinal_of(key.name, p.key.name): p for p in held}, wanted_ordinals(statefulset["spec"])
            )
        await self._make(statefulset, plan)
        for view in plan.delete:
            await self._delete(statefulset, view)
        await patch_status(self.client.resource(STATEFULSET.gvr), statefulset, plan.status)
        return Result(requeue_after_s=plan.requeue_after_s)

    async def _make(self, statefulset: JSONObject, plan: Plan) -> None:
        """Claims first: a pod without its claims could not run. Raises: StatusError, after saying so."""
        name = meta.name(statefulset)
        for claim in plan.claims:
            if await create_if_missing(self.client.resource(CLAIMS), claim) is not None:  # one from an earlier pod of this ordinal is kept
                member = f"{name}-{meta.name(claim).rpartition('-')[2]}"
                text = f"create Claim {meta.name(claim)} Pod {member} in StatefulSet {name} success"
                self.events.normal(statefulset, "SuccessfulCreate", text)
        for pod in plan.create:
            try:
                made = await create_if_missing(self.client.resource(PODS), pod)
            except StatusError as refusal:
                text = f"create Pod {meta.name(pod)} in StatefulSet {name} failed error: {refusal.message}"
                self.events.warn(statefulset, "FailedCreate", text)
                raise
            if made is not None:
                self.pods.assume(made)
                self.events.normal(statefulset, "SuccessfulCreate", f"create Pod {meta.name(made)} in StatefulSet {name} successful")

    async def _delete(self, statefulset: JSONObject, pod: PodView) -> None:
        if pod.phase in ("Failed", "Succeeded"):
            word = "Failed" if pod.phase == "Failed" else "Terminated"
            about = f"StatefulSet {meta.namespace(statefulset)}/{meta.name(statefulset)}"
            self.events.warn(statefulset, f"Recreating{word}Pod", f"{about} is recreating {word.lower()} Pod {pod.key.name}")
        await delete_if_there(self.client.resource(PODS), pod.key.name, pod.key.namespace, pod.uid)
        self.pods.doom(pod)
        text = f"delete Pod {pod.key.name} in StatefulSet {meta.name(statefulset)} successful"
        self.events.normal(statefulset, "SuccessfulDelete", text)


def _is_member(statefulset: Mapping[str, Any], pod: PodView) -> bool:
    return ordinal_of(meta.name(statefulset), pod.key.name) >= 0


def controller(wiring: Wiring) -> Controller:
    statefulsets = wiring.informers.informer(STATEFULSET.gvr)
    revisions = wiring.informers.informer(REVISIONS, indexers={OWNER_INDEX: by_owner})
    histories = Histories(revisions, wiring.client, STATEFULSET, REVISION_LABEL)
    events = wiring.remarks.by("statefulset-controller")
    retention = Retention(wiring.informers.informer(CLAIMS), wiring.client, events)
    claims = PodClaims(STATEFULSET, wiring.pods, wiring.client, fits=_is_member)
    reconciler = StatefulSetReconciler(statefulsets, histories, retention, wiring.pods, claims, events, wiring.client, wiring.clock)
    made = Controller("statefulset", reconciler.reconcile, clock=wiring.clock, workers=2)
    wake_self(statefulsets, made)
    wake_owner(wiring.pods, made, STATEFULSET.kind)
    wake_for_orphans(Selectors(statefulsets), wiring.pods, made)
    return made
