"""DaemonSets: one pod on each node that takes it, replaced within maxUnavailable when the template changes.

`decide` is pure. Before: `sim.cluster`, which starts it. After: pods, bound by the scheduler through node affinity.
Source: pkg/controller/daemon/{daemon_controller,update}.go, util/daemonset_util.go.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
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
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import owner_reference, pod_from_template, safe_suffix, template_hash
from kcp.sim.workloads.podview import REVISION_HASH_LABEL, PodView, available_in_s
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.resources import NOTHING
from kcp.sim.workloads.revisions import REVISIONS, Histories
from kcp.sim.workloads.rollout import share
from kcp.sim.workloads.scheduling import NodeView, unfit
from kcp.sim.workloads.wiring import NODES, OWNER_INDEX, PODS, OwnerKind, Wiring, by_owner, wake_owner, wake_self
from kcp.sim.workloads.writes import create_if_missing, delete_if_there, patch_status

DAEMONSET = OwnerKind(GVR("apps", "v1", "daemonsets"), "DaemonSet")

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
"""Source: AddOrUpdateDaemonPodTolerations."""


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[JSONObject, ...]
    delete: tuple[PodView, ...]
    status: JSONObject
    requeue_after_s: float | None = None
    """Until the next pod has been ready for minReadySeconds."""


@dataclass(frozen=True, slots=True)
class _Site:
    """A node that takes the pod, and what stands there."""

    node: str
    old: PodView | None
    """Of an earlier template; the oldest."""
    new: PodView | None

    @property
    def present(self) -> PodView | None:
        return self.new or self.old


def decide(
    daemonset: Mapping[str, Any], pods: Sequence[PodView], nodes: Sequence[NodeView], now: datetime, taken: Container[str] | None = None
) -> Plan:
    """What a DaemonSet needs now.

    Args: pods: all that it controls; nodes: all, their load does not matter. taken: names of pods, whoever's; of these pods by default.
    """
    revision = template_hash(meta.nested(daemonset, "spec", "template", default={}))
    wanted = [n.name for n in nodes if not unfit(_spec(daemonset), NOTHING, n)]
    stays = {n.name for n in nodes if n.name in wanted or not _is_driven_away(daemonset, n)}
    per_node: dict[str, list[PodView]] = {}
    for pod in sorted(pods, key=lambda p: (p.created, p.key)):
        per_node.setdefault(pod.node or pod.meant_for, []).append(pod)
    delete = [p for node, held in per_node.items() if node not in stays for p in held if not p.terminating]
    create: list[str] = []
    sites: list[_Site] = []
    for node in wanted:
        held = per_node.get(node, [])
        delete += [p for p in held if p.phase in ("Failed", "Succeeded") and not p.terminating]
        old = [p for p in held if p.is_active and p.revision != revision]
        new = [p for p in held if p.is_active and p.revision == revision]
        if not held:
            create.append(node)
        surplus = old[1:] + new[1:]
        delete += surplus
        sites.append(_Site(node, old[0] if old else None, new[0] if new else None))
    status = _status(daemonset, wanted, sites, per_node, revision, now)
    if meta.deletion_timestamp(daemonset):
        return Plan((), (), status)
    surged, replaced = _rolled(daemonset, sites, now)
    made = [_pod(daemonset, node, revision, taken if taken is not None else {p.key.name for p in pods}) for node in (*create, *surged)]
    waits_s = available_in_s(pods, meta.nested(daemonset, "spec", "minReadySeconds", default=0), now)
    return Plan(tuple(made), tuple([*delete, *replaced]), status, waits_s)


def _is_driven_away(daemonset: Mapping[str, Any], node: NodeView) -> bool:
    """Whether a pod that is there has to go: a NoSchedule taint that came later does not drive it away. Source: NodeShouldRunDaemonPod."""
    spec = _spec(daemonset)
    lasting = [t for t in node.taints if t.get("effect") == "NoExecute"]
    return bool(unfit(spec, NOTHING, replace(node, taints=tuple(lasting), unschedulable=False)))


def _spec(daemonset: Mapping[str, Any]) -> JSONObject:
    """The template's pod spec with the tolerations every daemon has."""
    spec: JSONObject = meta.copy_json(meta.nested(daemonset, "spec", "template", "spec", default={}))
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *({"key": k, "operator": "Exists", "effect": e} for k, e in _TOLERATED)]
    return spec


def _pod(daemonset: Mapping[str, Any], node: str, revision: str, taken: Container[str]) -> JSONObject:
    attempt = 0
    while (name := f"{meta.name(daemonset)}-{safe_suffix(f'{meta.uid(daemonset)}/{node}/{attempt}', 5)}") in taken:
        attempt += 1
    template = meta.nested(daemonset, "spec", "template", default={})
    reference = owner_reference(daemonset, api_version="apps/v1", kind="DaemonSet")
    pod = pod_from_template(template, name=name, namespace=meta.namespace(daemonset), owner=reference)
    pod["spec"] = _spec(daemonset)
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    affinity = meta.ensure(pod["spec"], "affinity", "nodeAffinity")
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    meta.set_label(pod, REVISION_HASH_LABEL, revision)
    return pod


def _rolled(daemonset: Mapping[str, Any], sites: Sequence[_Site], now: datetime) -> tuple[list[str], list[PodView]]:
    """Nodes that get a new pod beside the old one, and old pods that go now. Source: rollingUpdate, KEP-1591 (maxSurge)."""
    strategy = meta.nested(daemonset, "spec", "updateStrategy", default={})
    if strategy.get("type") == "OnDelete":
        return [], [s.old for s in sites if s.old is not None and s.new is not None]
    rolling, min_ready_s = strategy.get("rollingUpdate") or {}, meta.nested(daemonset, "spec", "minReadySeconds", default=0)
    surge = share(rolling.get("maxSurge", 0), len(sites), math.ceil)
    unavailable = share(rolling.get("maxUnavailable", 1), len(sites), math.ceil)
    if not surge:
        return [], _in_place(sites, max(unavailable, 1), min_ready_s, now)
    gone = [s.old for s in sites if s.old is not None and s.new is not None and s.new.is_available(min_ready_s, now)]
    beside = sum(1 for s in sites if s.old is not None and s.new is not None and s.old not in gone)
    lone = [s for s in sites if s.old is not None and s.new is None]
    broken = [s.node for s in lone if s.old is not None and not s.old.is_available(min_ready_s, now)]
    working = [s.node for s in lone if s.node not in broken]
    return broken + working[: max(surge - beside - len(broken), 0)], gone


def _in_place(sites: Sequence[_Site], limit: int, min_ready_s: int, now: datetime) -> list[PodView]:
    """Old pods that may go now: those that do not work anyway, and of the others as many as maxUnavailable leaves."""
    twice = [s.old for s in sites if s.old is not None and s.new is not None]
    old = [s.old for s in sites if s.old is not None and s.new is None]
    broken = [p for p in old if not p.is_available(min_ready_s, now)]
    unavailable = sum(1 for s in sites if s.present is None or not s.present.is_available(min_ready_s, now))
    working = [p for p in old if p not in broken]
    return twice + broken + working[: max(limit - unavailable, 0)]


def _status(
    daemonset: Mapping[str, Any],
    wanted: Sequence[str],
    sites: Sequence[_Site],
    per_node: Mapping[str, Sequence[PodView]],
    revision: str,
    now: datetime,
) -> JSONObject:
    min_ready_s = meta.nested(daemonset, "spec", "minReadySeconds", default=0)
    here = [[p for p in (s.old, s.new) if p is not None] for s in sites]
    available = sum(1 for held in here if any(p.is_available(min_ready_s, now) for p in held))
    always = {
        "currentNumberScheduled": sum(1 for held in here if held),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": sum(1 for node, held in per_node.items() if node not in wanted and any(p.is_active for p in held)),
        "numberReady": sum(1 for held in here if any(p.is_ready for p in held)),
        "observedGeneration": meta.generation(daemonset),
    }
    sometimes = {
        "updatedNumberScheduled": sum(1 for s in sites if s.new is not None and s.new.revision == revision),
        "numberAvailable": available,
        "numberUnavailable": len(wanted) - available,
    }
    kept = meta.nested(daemonset, "status", "conditions")
    return {**always, **{k: v for k, v in sometimes.items() if v}, **({"conditions": kept} if kept else {})}


@dataclass
class DaemonSetReconciler:
    daemonsets: Informer
    histories: Histories
    nodes: Informer
    pods: PodBook
    claims: PodClaims
    events: Voice
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        daemonset = self.daemonsets.get(key)
        if daemonset is None:
            return Result()
        nodes = [NodeView.of(n, NOTHING) for n in self.nodes.list()]
        held = await self.claims.claim(daemonset)
        await self.histories.keep(daemonset, {f"{key.name}-{p.revision}" for p in held})
        plan = decide(daemonset, held, nodes, self.clock.now(), self.pods.names(key.namespace))
        pods = self.client.resource(PODS)
        for pod in plan.create:
            try:
                if (made := await create_if_missing(pods, pod)) is not None:
                    self.pods.assume(made)
                    self.events.normal(daemonset, "SuccessfulCreate", f"Created pod: {meta.name(made)}")
            except StatusError as refusal:
                self.events.warn(daemonset, "FailedCreate", f"Error creating: {refusal.message}")
                raise
        for view in plan.delete:
            if view.phase == "Failed":
                told = f"Found failed daemon pod {key.namespace}/{view.key.name} on node {view.node}, will try to kill it"
                self.events.warn(daemonset, "FailedDaemonPod", told)
            await delete_if_there(pods, view.key.name, view.key.namespace, view.uid)
            self.pods.doom(view)
            self.events.normal(daemonset, "SuccessfulDelete", f"Deleted pod: {view.key.name}")
        await patch_status(self.client.resource(DAEMONSET.gvr), daemonset, plan.status)
        return Result(requeue_after_s=plan.requeue_after_s)


def controller(wiring: Wiring) -> Controller:
    daemonsets, nodes = wiring.informers.informer(DAEMONSET.gvr), wiring.informers.informer(NODES)
    revisions = wiring.informers.informer(REVISIONS, indexers={OWNER_INDEX: by_owner})
    histories = Histories(revisions, wiring.client, DAEMONSET, REVISION_HASH_LABEL)
    claims, events = PodClaims(DAEMONSET, wiring.pods, wiring.client), wiring.remarks.by("daemonset-controller")
    reconciler = DaemonSetReconciler(daemonsets, histories, nodes, wiring.pods, claims, events, wiring.client, wiring.clock)
    made = Controller("daemonset", reconciler.reconcile, clock=wiring.clock, workers=2)
    wake_self(daemonsets, made)
    made.watch(nodes, lambda _key, _old, _new: daemonsets.keys())
    wake_owner(wiring.pods, made, DAEMONSET.kind)
    wake_for_orphans(Selectors(daemonsets), wiring.pods, made)
    return made
