"""The scheduler: binds pods that have no node, all that wait in one pass, so that each choice sees the one before.

Before: `sim.cluster`, which starts it; new pods, freed room, bound claims and changed nodes wake it. After: the `binding` subresource of
pods; for pods that fit nowhere a condition and an event that say why, and the end of pods of lower priority.
Source: pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.preemption import Preemption, awaits_victims, preempt
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.resources import NOTHING
from kcp.sim.workloads.scheduling import NodeView, faults_of, place
from kcp.sim.workloads.volumes import CLAIMS, STORAGE_CLASSES, class_of, waits_for_pod
from kcp.sim.workloads.wiring import NODES, PODS, Wiring
from kcp.sim.workloads.writes import SCHEDULER, delete_if_there, patch_status

_NAMESPACES = GVR("", "v1", "namespaces")
_EVERYTHING = ObjectKey(ClusterName(""), "", "pending-pods")
_GATHER_S = 0.004
"""How long the scheduler lets new pods gather before a pass."""
_WATCH_DELAY_S = 0.02
_GATED = "Scheduling is blocked due to non-empty scheduling gates"


@dataclass
class SchedulerReconciler:
    """One pass over the pods that wait."""

    nodes: Informer
    namespaces: Informer
    volumes: Volumes
    pods: PodBook
    get_pod: Callable[[ObjectKey], JSONObject | None]
    events: Voice
    client: Client
    clock: Clock

    async def reconcile(self, _key: ObjectKey) -> Result:
        waiting = [p for p in self.pods.unassigned() if p.is_active]
        if not waiting:
            return Result()
        nodes, is_behind = self._nodes(), False
        promised = Promises(self.get_pod, waiting)
        for view in sorted(waiting, key=lambda p: (-p.priority, p.created, p.key)):
            pod = self.get_pod(view.key)
            if pod is None or meta.uid(pod) != view.uid:
                is_behind = True  # the book knows it from its writer; the watch is still to bring it
                continue
            if not _is_ours(pod):
                continue
            if view.waiting_for:
                await self._refuse(pod, "SchedulingGated", _GATED)
                continue
            chosen = await self._schedule(pod, view, promised.kept_from(view, nodes))
            promised.note(view, chosen.promised)
            if chosen.node:
                nodes = [n.with_pods((view,)) if n.name == chosen.node else n for n in nodes]
        return Result(requeue_after_s=_WATCH_DELAY_S if is_behind else None)

    async def _schedule(self, pod: JSONObject, view: PodView, nodes: Sequence[NodeView]) -> Choice:
        """Bind a pod, or say why not and make room for it."""
        if unbound := self.volumes.fault(pod):
            await self._refuse(pod, "Unschedulable", f"0/{len(nodes)} nodes are available: {unbound}. not found", says=True)
            return Choice()
        node, why_not = place(pod, nodes, self._labels_of)
        if node:
            if not await self._bind(view, node):
                return Choice()
            text = f"Successfully assigned {view.key.namespace}/{view.key.name} to {node}"
            self.events.normal(pod, "Scheduled", text)
            return Choice(node=node)
        if awaits_victims(pod, nodes):
            return Choice(promised=meta.nested(pod, "status", "nominatedNodeName", default=""))
        plan = preempt(pod, nodes, faults_of(pod, nodes, self._labels_of), self._labels_of) if nodes else Preemption()
        await self._refuse(pod, "Unschedulable", " ".join(filter(None, (why_not, plan.message))), nominated=plan.node, says=True)
        for victim in plan.victims:
            await self._evict(victim, view, plan.node)
        return Choice(promised=plan.node)

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        return meta.labels(self.namespaces.get(ObjectKey(ClusterName(""), "", namespace)) or {})

    def _nodes(self) -> Sequence[NodeView]:
        """The nodes with their unfinished pods, in order of name."""
        views = []
        for node in self.nodes.list():
            present = (pod for pod in self.pods.on_node(meta.name(node)) if pod.is_present)
            views.append(NodeView.of(node, NOTHING).with_pods(present))
        return sorted(views, key=lambda n: n.name)

    async def _bind(self, pod: PodView, node: str) -> bool:
        """Source: pkg/scheduler/framework/plugins/defaultbinder."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self.client.resource(PODS).create(binding, name=pod.key.name, subresource="binding", field_manager=SCHEDULER)
        except (NotFound, Conflict):
            return False  # deleted, or bound by somebody else: its event wakes us
        self.pods.assume_node(pod, node)
        return True

    async def _refuse(self, pod: JSONObject, reason: str, message: str, *, nominated: str = "", says: bool = False) -> None:
        before = pod.get("status") or {}
        held: JSONObject = {"status": meta.copy_json(before)}
        told = conditions.build("PodScheduled", "False", reason=reason, message=message, now=rfc3339(self.clock.now()))
        if meta.generation(pod):
            told["observedGeneration"] = meta.generation(pod)
        conditions.set_condition(held, told)
        held["status"].setdefault("phase", "Pending")
        if nominated:
            held["status"]["nominatedNodeName"] = nominated
        if await patch_status(self.client.resource(PODS), pod, held["status"], field_manager=SCHEDULER) and says:
            self.events.warn(pod, "FailedScheduling", message)

    async def _evict(self, victim: PodView, winner: PodView, node: str) -> None:
        """Source: preemption.Executor: the condition first, then the deletion."""
        pod, resource = self.get_pod(victim.key), self.client.resource(PODS)
        if pod is None or meta.uid(pod) != victim.uid or victim.terminating:
            return
        held: JSONObject = {"status": meta.copy_json(pod.get("status") or {})}
        why, at = "default-scheduler: preempting to accommodate a higher priority pod", rfc3339(self.clock.now())
        told = conditions.build("DisruptionTarget", "True", reason="PreemptionByScheduler", message=why, now=at)
        conditions.set_condition(held, told)
        await patch_status(resource, pod, held["status"], field_manager=SCHEDULER)
        await delete_if_there(resource, victim.key.name, victim.key.namespace, victim.uid)
        self.pods.doom(victim)
        self.events.normal(pod, "Preempted", f"Preempted by pod {winner.uid} on node {node}")


@dataclass(frozen=True, slots=True)
class Choice:
    node: str = ""
    """That the pod is bound to."""
    promised: str = ""
    """That is being freed for it."""


class Promises:
    """Room that is freed for pods and that no less important pod may take meanwhile. Source: framework/runtime (addNominatedPods)."""

    def __init__(self, get_pod: Callable[[ObjectKey], JSONObject | None], waiting: Iterable[PodView]) -> None:
        self._held: dict[str, tuple[str, PodView]] = {}
        for view in waiting:
            self.note(view, meta.nested(get_pod(view.key) or {}, "status", "nominatedNodeName", default=""))

    def note(self, pod: PodView, node: str) -> None:
        """Args: node: "" where the pod waits for none any more."""
        if node:
            self._held[pod.uid] = (node, pod)
        else:
            self._held.pop(pod.uid, None)

    def kept_from(self, pod: PodView, nodes: Sequence[NodeView]) -> Sequence[NodeView]:
        """The nodes as `pod` finds them."""
        others = [(node, held) for node, held in self._held.values() if held.uid != pod.uid and held.priority >= pod.priority]
        for node, held in others:
            nodes = [n.with_pods((held,)) if n.name == node else n for n in nodes]
        return nodes


@dataclass(frozen=True, slots=True)
class Volumes:
    """Whether the claims of a pod let it run. Source: plugins/volumebinding."""

    claims: Informer
    classes: Informer

    def fault(self, pod: Mapping[str, Any]) -> str:
        for volume in meta.nested(pod, "spec", "volumes", default=()):
            name = meta.nested(volume, "persistentVolumeClaim", "claimName")
            if not name:
                continue
            claim = self.claims.get(ObjectKey(ClusterName(""), meta.namespace(pod), name))
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if meta.deletion_timestamp(claim):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if meta.nested(claim, "status", "phase") != "Bound" and not self._waits_for_pod(claim):
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _waits_for_pod(self, claim: Mapping[str, Any]) -> bool:
        return waits_for_pod(self.classes.get(ObjectKey(ClusterName(""), "", class_of(claim))) or {})


def _is_ours(pod: JSONObject) -> bool:
    return bool(meta.nested(pod, "spec", "schedulerName", default="default-scheduler") == "default-scheduler")


def _offer(node: Mapping[str, Any]) -> object:
    """What of a node concerns the scheduler: heartbeats do not."""
    return meta.labels(node), node.get("spec"), meta.nested(node, "status", "allocatable")


def controller(wiring: Wiring) -> Controller:
    nodes, pods, claims = (wiring.informers.informer(gvr) for gvr in (NODES, PODS, CLAIMS))
    volumes = Volumes(claims, wiring.informers.informer(STORAGE_CLASSES))
    namespaces, events = wiring.informers.informer(_NAMESPACES), wiring.remarks.by("default-scheduler")
    reconciler = SchedulerReconciler(nodes, namespaces, volumes, wiring.pods, pods.get, events, wiring.client, wiring.clock)
    made = Controller("scheduler", reconciler.reconcile, clock=wiring.clock, workers=1)

    def changed_node(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return () if old is not None and new is not None and _offer(old) == _offer(new) else (_EVERYTHING,)

    def changed_claim(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return (_EVERYTHING,) if meta.nested(old or {}, "status", "phase") != meta.nested(new or {}, "status", "phase") else ()

    made.watch(nodes, changed_node)
    made.watch(claims, changed_claim)

    def listen(before: PodView | None, after: PodView | None) -> None:
        is_waiting = after is not None and not after.node and (before is None or before.waiting_for != after.waiting_for)
        is_new = after is not None and not after.node and (before is None or before.labels != after.labels or before.uid != after.uid)
        frees_room = before is not None and bool(before.node) and (after is None or not after.is_present)
        may_attract = after is not None and bool(after.node) and (before is None or not before.node or before.labels != after.labels)
        if is_waiting or is_new or frees_room or (may_attract and wiring.pods.unassigned()):
            made.enqueue_after(_EVERYTHING, _GATHER_S)

    wiring.pods.listen(listen)
    return made
