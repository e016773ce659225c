"""All kubelets of the cluster in one loop: bound pods start, complete and end, each with as few writes as possible.

What steers it stands in the pods themselves; in memory it keeps only since when it has seen a pod. Before: `sim.cluster`, which starts it.
After: pod status, and the final deletion of pods. Source: pkg/kubelet/{kubelet,pod_workers}.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from kcp.aio.clock import Clock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.containers import KILLED
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podlife import Place, Step, failed, step
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.resources import NOTHING
from kcp.sim.workloads.scheduling import NodeView, rejection
from kcp.sim.workloads.wiring import NODES, PODS, Wiring
from kcp.sim.workloads.writes import KUBELET, delete_if_there, patch_status

_WATCH_DELAY_S = 0.02
_NEWS = ("node", "terminating", "directives", "generation", "gates")


@dataclass
class KubeletReconciler:
    """One pod at a time."""

    nodes: Informer
    pods: PodBook
    get_pod: Callable[[ObjectKey], JSONObject | None]
    client: Client
    clock: Clock
    events: Voice
    delay_s: float
    _here_since: dict[str, float] = field(default_factory=dict)
    """uid → monotonic time of first sight; forgotten when the pod goes."""
    _ending_since: dict[str, float] = field(default_factory=dict)
    _next_ip: dict[str, int] = field(default_factory=dict)
    _given_ip: dict[str, str] = field(default_factory=dict)
    """uid → address, until the watch has brought it: a second look must not give another one."""

    async def reconcile(self, key: ObjectKey) -> Result:
        pod = self.get_pod(key)
        view = self.pods.get(key)
        if view is None or not view.node:
            return Result()
        if pod is None or meta.uid(pod) != view.uid or (view.terminating and not meta.deletion_timestamp(pod)):
            return Result(requeue_after_s=_WATCH_DELAY_S)  # the book knows it from its writer; the watch is still to bring it
        node = self.nodes.get(ObjectKey(ClusterName(""), "", view.node))
        if node is None:
            return Result(requeue_after_s=1.0)  # bound to a node that does not exist (yet)
        now_s = self.clock.monotonic()
        place = self._place(view, node, host_network=bool(meta.nested(pod, "spec", "hostNetwork")))
        if view.phase == "Pending" and (refused := self._refusal(pod, view, node)) is not None:
            await self._commit(pod, failed(pod, place, *refused, self.clock.now(), code=KILLED))
            return Result()
        plan = step(
            pod,
            place,
            here_for_s=now_s - self._here_since.setdefault(view.uid, now_s),
            ending_for_s=now_s - self._ending_since.setdefault(view.uid, now_s) if meta.deletion_timestamp(pod) else 0.0,
            delay_s=self.delay_s,
            now=self.clock.now(),
        )
        await self._commit(pod, plan)
        return Result(requeue_after_s=plan.again_in_s)

    async def _commit(self, pod: JSONObject, plan: Step) -> None:
        resource = self.client.resource(PODS)
        for said in plan.remarks:
            say = self.events.warn if said.is_warning else self.events.normal
            say(pod, said.reason, said.message, field_path=said.field_path, host=meta.nested(pod, "spec", "nodeName", default=""))
        if plan.delete:
            await delete_if_there(resource, meta.name(pod), meta.namespace(pod), meta.uid(pod), grace_period_s=0)
        elif plan.status is not None:
            await patch_status(resource, pod, plan.status, field_manager=KUBELET)

    def _refusal(self, pod: JSONObject, view: PodView, node: JSONObject) -> tuple[str, str] | None:
        """Why the node does not take a pod that no scheduler has sent; None if it does, or if one has. Source: lifecycle/predicate.go."""
        if meta.deletion_timestamp(pod) or conditions.is_true(pod, "PodScheduled"):
            return None
        others = [p for p in self.pods.on_node(view.node) if p.uid != view.uid and p.is_present and p.created <= view.created]
        return rejection(pod.get("spec") or {}, NodeView.of(node, NOTHING).with_pods(others))

    def _place(self, pod: PodView, node: JSONObject, *, host_network: bool) -> Place:
        addresses = {a.get("type"): a.get("address") or "" for a in meta.nested(node, "status", "addresses", default=())}
        node_ip = addresses.get("InternalIP", "")
        if host_network:
            return Place(node_ip, node_ip)
        address = pod.ip or self._given_ip.get(pod.uid)
        if not address:
            address = self._free_ip(pod.node, meta.nested(node, "spec", "podCIDR", default="10.244.0.0/24"))
            self._given_ip[pod.uid] = address
        return Place(node_ip, address)

    def _free_ip(self, node: str, cidr: str) -> str:
        """The next address of the node's range that no pod has; addresses come round only after all others were used."""
        network = IPv4Network(cidr)
        used = {p.ip for p in self.pods.on_node(node)}
        size = network.num_addresses - 3  # without the network, the gateway and the broadcast address
        for _ in range(size):
            offset = self._next_ip.get(node, 0)
            self._next_ip[node] = (offset + 1) % size
            address = str(network[offset + 2])
            if address not in used:
                return address
        return ""

    def saw(self, pod: PodView) -> float:
        """Note a bound pod. Returns seconds until there is something to do."""
        now_s = self.clock.monotonic()
        if pod.terminating:
            self._ending_since.setdefault(pod.uid, now_s)
        since = self._here_since.setdefault(pod.uid, now_s)
        return max(since + self.delay_s - now_s, 0.0) if pod.phase == "Pending" and not pod.terminating else 0.0

    def forget(self, pod: PodView) -> None:
        self._here_since.pop(pod.uid, None)
        self._given_ip.pop(pod.uid, None)
        self._ending_since.pop(pod.uid, None)


def controller(wiring: Wiring) -> Controller:
    nodes, pods = wiring.informers.informer(NODES), wiring.informers.informer(PODS)
    events = wiring.remarks.by("kubelet")
    reconciler = KubeletReconciler(nodes, wiring.pods, pods.get, wiring.client, wiring.clock, events, wiring.start_delay_s)
    made = Controller("kubelet", reconciler.reconcile, clock=wiring.clock, workers=4)

    def listen(before: PodView | None, after: PodView | None) -> None:
        if after is None or (before is not None and before.uid != after.uid):
            reconciler.forget(before or after)  # type: ignore[arg-type]
        if after is not None and after.node and _is_news(before, after):
            made.enqueue_after(after.key, reconciler.saw(after))

    wiring.pods.listen(listen)
    return made


def _is_news(before: PodView | None, after: PodView) -> bool:
    """Whether a change is one that the kubelet did not make itself."""
    return before is None or any(getattr(before, part) != getattr(after, part) for part in _NEWS)
