"""Taints of nodes: those that follow from a node's conditions are set, and pods that do not tolerate a NoExecute taint have to go.

`tainted` and `stays_for_s` are pure. Before: `sim.cluster`, which starts it. After: spec.taints of nodes, deletion of pods.
Source: pkg/controller/nodelifecycle/node_lifecycle_controller.go (taints by condition, handleDisruption),
pkg/controller/tainteviction/taint_eviction.go, plugin/pkg/admission/defaulttolerationseconds/admission.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.nodetaint import NOT_READY
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.scheduling import tolerates
from kcp.sim.workloads.wiring import NODES, PODS, Wiring
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, delete_if_there, patch_status

NO_EXECUTE, NO_SCHEDULE = "NoExecute", "NoSchedule"
UNREACHABLE = "node.kubernetes.io/unreachable"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("Ready", "False"): (NOT_READY, (NO_SCHEDULE, NO_EXECUTE)),
    ("Ready", "Unknown"): (UNREACHABLE, (NO_SCHEDULE, NO_EXECUTE)),
    ("MemoryPressure", "True"): ("node.kubernetes.io/memory-pressure", (NO_SCHEDULE,)),
    ("DiskPressure", "True"): ("node.kubernetes.io/disk-pressure", (NO_SCHEDULE,)),
    ("PIDPressure", "True"): ("node.kubernetes.io/pid-pressure", (NO_SCHEDULE,)),
    ("NetworkUnavailable", "True"): ("node.kubernetes.io/network-unavailable", (NO_SCHEDULE,)),
}
_OURS = frozenset((_UNSCHEDULABLE, *(key for key, _ in _BY_CONDITION.values())))
_DEFAULT_TOLERATION_S = 300


def is_unready(node: Mapping[str, Any]) -> bool:
    """Whether it is said not to be ready, or not known to be."""
    told = conditions.get(node, "Ready")
    return told is not None and told["status"] != "True"


def tainted(node: Mapping[str, Any], now: str, *, evicts: bool = True) -> list[JSONObject]:
    """The taints that a node ought to have: others' as they are, and ours as its conditions and `spec.unschedulable` say.

    Args: evicts: False where no node is ready: then it is rather the view of the nodes that is lost, and pods stay where they are.
    """
    held: Sequence[JSONObject] = meta.nested(node, "spec", "taints", default=())
    wanted = [
        (key, effect)
        for condition in meta.nested(node, "status", "conditions", default=())
        for key, effects in (_BY_CONDITION.get((condition.get("type"), condition.get("status")), ("", ())),)
        for effect in effects
        if evicts or effect != NO_EXECUTE
    ]
    if meta.nested(node, "spec", "unschedulable"):
        wanted.append((_UNSCHEDULABLE, NO_SCHEDULE))
    kept = [taint for taint in held if taint.get("key") not in _OURS or (taint["key"], taint.get("effect")) in wanted]
    there = {(taint.get("key"), taint.get("effect")) for taint in kept}
    return [*kept, *({"key": k, "effect": e, "timeAdded": now} for k, e in wanted if (k, e) not in there)]


def stays_for_s(spec: Mapping[str, Any], taints: Iterable[Mapping[str, Any]]) -> float | None:
    """How long a pod may stay once its node has these NoExecute taints; 0 not at all, None for ever. Source: processPodOnNode."""
    longest: float | None = None
    for taint in taints:
        used = [t for t in spec.get("tolerations") or () if tolerates(t, taint)]
        if not used:
            return 0.0
        limits = [max(float(t["tolerationSeconds"]), 0.0) for t in used if t.get("tolerationSeconds") is not None]
        if limits:
            longest = min([*limits, *([longest] if longest is not None else [])])
    return longest


def tolerate_for_a_while(pod: JSONObject) -> None:
    """Give a new pod the tolerations by which it outlives five minutes of its node's absence, unless it says otherwise."""
    tolerations: list[JSONObject] = meta.ensure(pod, "spec").setdefault("tolerations", [])
    for key in (NOT_READY, UNREACHABLE):
        if not any(tolerates(t, {"key": key, "effect": NO_EXECUTE}) for t in tolerations):
            lasting = {"key": key, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": _DEFAULT_TOLERATION_S}
            tolerations.append(lasting)


@dataclass
class TaintReconciler:
    """One node at a time."""

    nodes: Informer
    pods: PodBook
    get_pod: Callable[[ObjectKey], JSONObject | None]
    client: Client
    events: Voice
    clock: Clock
    _since: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """(uid of the node, key, effect) → monotonic time of first sight, for taints that do not say when they were added."""

    async def reconcile(self, key: ObjectKey) -> Result:
        node = self.nodes.get(key)
        if node is None:
            return Result()
        taints = tainted(node, rfc3339(self.clock.now()), evicts=not all(map(is_unready, self.nodes.list())))
        wanted: JSONObject = {**node, "spec": {**(node.get("spec") or {}), "taints": taints}}
        if not wanted["spec"]["taints"]:
            del wanted["spec"]["taints"]
        node = await commit(self.client.resource(NODES), node, wanted, field_manager=CONTROLLER_MANAGER)
        taints = [t for t in meta.nested(node, "spec", "taints", default=()) if t.get("effect") == NO_EXECUTE]
        ages_s = self._ages_s(node, taints)
        if not taints:
            return Result()
        waits = [await self._look(view, taints, ages_s) for view in self.pods.on_node(key.name) if view.is_active]
        return Result(requeue_after_s=min((wait_s for wait_s in waits if wait_s is not None), default=None))

    def _ages_s(self, node: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> float:
        """For how long the youngest of the taints has been there."""
        uid, now_s = meta.uid(node), self.clock.monotonic()
        there = {(uid, str(t.get("key")), str(t.get("effect"))): t for t in taints}
        for gone in [k for k in self._since if k[0] == uid and k not in there]:
            del self._since[gone]
        ages = []
        for identity, taint in there.items():
            since_s = self._since.setdefault(identity, now_s)
            added = taint.get("timeAdded")
            ages.append((self.clock.now() - parse_rfc3339(added)).total_seconds() if added else now_s - since_s)
        return min(ages, default=0.0)

    async def _look(self, view: PodView, taints: Sequence[Mapping[str, Any]], age_s: float) -> float | None:
        """Delete a pod whose time has come. Returns seconds until it has, None if never."""
        pod = self.get_pod(view.key)
        if pod is None or meta.uid(pod) != view.uid:
            return None
        stays_s = stays_for_s(pod.get("spec") or {}, taints)
        if stays_s is None:
            return None
        if stays_s > age_s:
            return stays_s - age_s
        await self._evict(pod)
        self.pods.doom(view)
        return None

    async def _evict(self, pod: JSONObject) -> None:
        resource = self.client.resource(PODS)
        text = "Taint manager: deleting due to NoExecute taint"
        held: JSONObject = {"status": meta.copy_json(pod.get("status") or {})}
        told = conditions.build("DisruptionTarget", "True", reason="DeletionByTaintManager", message=text, now=rfc3339(self.clock.now()))
        conditions.set_condition(held, told)
        await patch_status(resource, pod, held["status"])
        message = f"Marking for deletion Pod {meta.namespace(pod)}/{meta.name(pod)}"
        self.events.normal(pod, "TaintManagerEviction", message)
        await delete_if_there(resource, meta.name(pod), meta.namespace(pod), meta.uid(pod))


def controller(wiring: Wiring) -> Controller:
    nodes, pods = wiring.informers.informer(NODES), wiring.informers.informer(PODS)
    events = wiring.remarks.by("taint-eviction-controller")
    reconciler = TaintReconciler(nodes, wiring.pods, pods.get, wiring.client, events, wiring.clock)
    made = Controller("taint", reconciler.reconcile, clock=wiring.clock, workers=1)

    def of_all_where_readiness_changes(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Whether pods have to go from one node depends on there being another that is ready."""
        changed = (old is not None and is_unready(old)) != (new is not None and is_unready(new))
        return {key, *map(meta.key, nodes.list())} if changed else (key,)

    made.watch(nodes, of_all_where_readiness_changes)

    def listen(before: PodView | None, after: PodView | None) -> None:
        """A pod that comes to a node."""
        if after is not None and after.node and (before is None or before.node != after.node):
            made.enqueue(ObjectKey(ClusterName(""), "", after.node))

    wiring.pods.listen(listen)
    return made
