"""ReplicaSets and ReplicationControllers: as many pods as asked for, and a status that counts them.

Before: `sim.cluster`, which starts it; `podbook` events wake it. After: pods, made and deleted.
Source: pkg/controller/replicaset/{replica_set,replica_set_utils}.go.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.claiming import PodClaims, SelectorOf, Selectors, by_label_selector, by_labels, wake_for_orphans
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import ordinal_names, owner_reference, pod_from_template
from kcp.sim.workloads.podview import PodView, available_in_s, least_wanted_first
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.rollout import replicas_of
from kcp.sim.workloads.wiring import PODS, OwnerKind, Wiring, wake_owner, wake_self
from kcp.sim.workloads.writes import IDLE_S, create_if_missing, delete_if_there, patch_status

REPLICASET = OwnerKind(GVR("apps", "v1", "replicasets"), "ReplicaSet")
REPLICATION_CONTROLLER = OwnerKind(GVR("", "v1", "replicationcontrollers"), "ReplicationController")

_BURST = 500
"""Pods made or deleted per reconcile. Source: BurstReplicas."""


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[JSONObject, ...]
    delete: tuple[PodView, ...]
    status: JSONObject
    requeue_after_s: float | None
    """Until the next pod has been ready for minReadySeconds."""


def decide(owner: Mapping[str, Any], kind: OwnerKind, pods: Sequence[PodView], now: datetime, taken: Container[str] | None = None) -> Plan:
    """What a ReplicaSet needs now.

    Args: pods: all that it controls, finished and terminating ones included. taken: names of pods, whoever's; of these pods by default.
    """
    spec = owner.get("spec") or {}
    active = [p for p in pods if p.is_active]
    create: list[JSONObject] = []
    delete: list[PodView] = []
    missing = replicas_of(spec) - len(active)
    if not meta.deletion_timestamp(owner):
        if missing > 0:
            create = _new_pods(owner, kind, taken or {p.key.name for p in pods}, min(missing, _BURST))
        elif missing < 0:
            delete = least_wanted_first(active)[: min(-missing, _BURST)]
    status, requeue_after_s = _status(owner, pods, now)
    return Plan(tuple(create), tuple(delete), status, requeue_after_s)


def _new_pods(owner: Mapping[str, Any], kind: OwnerKind, taken: Container[str], count: int) -> list[JSONObject]:
    template = meta.nested(owner, "spec", "template", default={})
    reference = owner_reference(owner, api_version=kind.gvr.api_version, kind=kind.kind)
    names = islice(ordinal_names(meta.name(owner), meta.uid(owner), taken), count)
    return [pod_from_template(template, name=name, namespace=meta.namespace(owner), owner=reference) for name in names]


def _status(owner: Mapping[str, Any], pods: Sequence[PodView], now: datetime) -> tuple[JSONObject, float | None]:
    """Source: calculateStatus; zero counts are left out but for `replicas` and a pointer, as Go's omitempty has it."""
    active = [p for p in pods if p.is_active]
    min_ready_s = meta.nested(owner, "spec", "minReadySeconds", default=0)
    wanted_labels = meta.nested(owner, "spec", "template", "metadata", "labels", default={}).items()
    counts = {
        "fullyLabeledReplicas": sum(1 for p in active if wanted_labels <= p.labels.items()),
        "readyReplicas": sum(1 for p in active if p.is_ready),
        "availableReplicas": sum(1 for p in active if p.is_available(min_ready_s, now)),
    }
    status: JSONObject = {"replicas": len(active), **{k: v for k, v in counts.items() if v}, "observedGeneration": meta.generation(owner)}
    if owner.get("kind") == "ReplicaSet":  # KEP-3973; ReplicationControllers have no such field
        status["terminatingReplicas"] = sum(1 for p in pods if p.terminating and p.phase not in ("Succeeded", "Failed"))
    kept = [c for c in meta.nested(owner, "status", "conditions", default=()) if c.get("type") != "ReplicaFailure"]
    if kept:
        status["conditions"] = kept
    return status, available_in_s(active, min_ready_s, now)


@dataclass
class ReplicaSetReconciler:
    """Makes and deletes pods, then writes the counts."""

    kind: OwnerKind
    owners: Informer
    pods: PodBook
    claims: PodClaims
    events: Voice
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        owner = self.owners.get(key)
        if owner is None:
            return Result()  # the garbage collector takes its pods
        plan = decide(owner, self.kind, await self.claims.claim(owner), self.clock.now(), self.pods.names(key.namespace))
        failure = await self._create(owner, plan.create)
        for pod in plan.delete:
            await delete_if_there(self.client.resource(PODS), pod.key.name, pod.key.namespace, pod.uid)
            self.pods.doom(pod)
            self.events.normal(owner, "SuccessfulDelete", f"Deleted pod: {pod.key.name}")
        status = plan.status
        if failure is not None:
            _report(status, owner, failure, self.clock)
        elif plan.create or plan.delete:
            return Result(requeue_after_s=IDLE_S)  # their events come sooner: until then the status stays as it is
        await patch_status(self.client.resource(self.kind.gvr), owner, status)
        if failure is not None:
            raise failure
        return Result(requeue_after_s=plan.requeue_after_s)

    async def _create(self, owner: JSONObject, pods: Sequence[JSONObject]) -> StatusError | None:
        """Create pods until one is refused; returns the refusal."""
        resource = self.client.resource(PODS)
        for pod in pods:
            try:
                if (made := await create_if_missing(resource, pod)) is not None:
                    self.pods.assume(made)
                    self.events.normal(owner, "SuccessfulCreate", f"Created pod: {meta.name(made)}")
            except StatusError as refusal:
                self.events.warn(owner, "FailedCreate", f"Error creating: {refusal.message}")
                return refusal
        return None


def _report(status: JSONObject, owner: Mapping[str, Any], failure: StatusError, clock: Clock) -> None:
    """Condition ReplicaFailure, its transition time kept while it stands."""
    held = conditions.get(owner, "ReplicaFailure")
    condition = conditions.build("ReplicaFailure", "True", reason="FailedCreate", message=failure.message, now=rfc3339(clock.now()))
    if held is not None:
        condition["lastTransitionTime"] = held.get("lastTransitionTime")
    status.setdefault("conditions", []).append(condition)


def controller(wiring: Wiring) -> Controller:
    return _controller(wiring, REPLICASET, by_label_selector, "replicaset-controller")


def replication_controller(wiring: Wiring) -> Controller:
    return _controller(wiring, REPLICATION_CONTROLLER, by_labels, "replication-controller")


def _controller(wiring: Wiring, kind: OwnerKind, selector_of: SelectorOf, component: str) -> Controller:
    owners = wiring.informers.informer(kind.gvr)
    claims = PodClaims(kind, wiring.pods, wiring.client, selector_of)
    events = wiring.remarks.by(component)
    reconciler = ReplicaSetReconciler(kind, owners, wiring.pods, claims, events, wiring.client, wiring.clock)
    made = Controller(kind.kind.lower(), reconciler.reconcile, clock=wiring.clock, workers=4)
    wake_self(owners, made)
    wake_owner(wiring.pods, made, kind.kind)
    wake_for_orphans(Selectors(owners, selector_of), wiring.pods, made)
    return made
