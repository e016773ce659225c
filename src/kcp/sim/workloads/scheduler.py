"""The scheduler: binds pods that have no node, all that wait in one pass, so that each choice sees the one before.

Before: `sim.cluster`, which starts it; new pods, freed room and changed nodes wake it. After: the `binding` subresource of pods.
Source: pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.resources import NOTHING
from kcp.sim.workloads.scheduling import NodeView, place
from kcp.sim.workloads.wiring import NODES, PODS, Wiring
from kcp.sim.workloads.writes import SCHEDULER, patch_status

_EVERYTHING = ObjectKey(ClusterName(""), "", "pending-pods")
_GATHER_S = 0.004
"""How long the scheduler lets new pods gather before a pass."""


@dataclass
class SchedulerReconciler:
    """One pass over the pods that wait."""

    nodes: Informer
    pods: PodBook
    get_pod: Callable[[ObjectKey], JSONObject | None]
    client: Client
    clock: Clock

    async def reconcile(self, _key: ObjectKey) -> Result:
        waiting = [p for p in self.pods.unassigned() if p.is_active]
        if not waiting:
            return Result()
        nodes = self._nodes()
        for view in sorted(waiting, key=lambda p: (p.created, p.key)):
            pod = self.get_pod(view.key)
            if pod is None or meta.uid(pod) != view.uid or not _is_ours(pod):
                continue  # not yet here, gone, or another scheduler's
            if view.waiting_for:
                await self._refuse(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
                continue
            node, why_not = place(pod, nodes)
            if not node:
                await self._refuse(pod, "Unschedulable", why_not)
            elif await self._bind(view, node):
                nodes = [n.with_pods((view,)) if n.name == node else n for n in nodes]
        return Result()

    def _nodes(self) -> Sequence[NodeView]:
        """The nodes with what their unfinished pods ask for, in order of name."""
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

    async def _refuse(self, pod: JSONObject, reason: str, message: str) -> None:
        before = pod.get("status") or {}
        held: JSONObject = {"status": meta.copy_json(before)}
        conditions.set_condition(
            held, conditions.build("PodScheduled", "False", reason=reason, message=message, now=rfc3339(self.clock.now()))
        )
        held["status"].setdefault("phase", "Pending")
        await patch_status(self.client.resource(PODS), pod, held["status"], field_manager=SCHEDULER)


def _is_ours(pod: JSONObject) -> bool:
    return bool(meta.nested(pod, "spec", "schedulerName", default="default-scheduler") == "default-scheduler")


def controller(wiring: Wiring) -> Controller:
    nodes, pods = wiring.informers.informer(NODES), wiring.informers.informer(PODS)
    reconciler = SchedulerReconciler(nodes, wiring.pods, pods.get, wiring.client, wiring.clock)
    made = Controller("scheduler", reconciler.reconcile, clock=wiring.clock, workers=1)
    made.watch(nodes, lambda _key, _old, _new: (_EVERYTHING,))

    def listen(before: PodView | None, after: PodView | None) -> None:
        is_waiting = after is not None and not after.node
        frees_room = before is not None and bool(before.node) and (after is None or after.phase in ("Succeeded", "Failed"))
        if is_waiting or frees_room:
            made.enqueue_after(_EVERYTHING, _GATHER_S)

    wiring.pods.listen(listen)
    return made
