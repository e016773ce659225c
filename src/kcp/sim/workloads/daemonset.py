"""DaemonSets: one pod on each node that takes it, replaced within maxUnavailable when the template changes.

`decide` is pure. Before: `sim.cluster`, which starts it. After: pods, bound by the scheduler through node affinity.
Source: pkg/controller/daemon/{daemon_controller,update}.go, util/daemonset_util.go.
"""

from __future__ import annotations

import math
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
from kcp.sim.workloads.podtemplate import owner_reference, pod_from_template, safe_suffix, template_hash
from kcp.sim.workloads.podview import REVISION_HASH_LABEL, PodView
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


def decide(daemonset: Mapping[str, Any], pods: Sequence[PodView], nodes: Sequence[NodeView], now: datetime) -> Plan:
    """What a DaemonSet needs now. Args: pods: all that it controls; nodes: all, their load does not matter."""
    revision = template_hash(meta.nested(daemonset, "spec", "template", default={}))
    wanted = [n.name for n in nodes if not unfit(_spec(daemonset), NOTHING, n)]
    per_node: dict[str, list[PodView]] = {}
    for pod in sorted(pods, key=lambda p: (p.created, p.key)):
        per_node.setdefault(pod.node or pod.meant_for, []).append(pod)
    create: list[JSONObject] = []
    delete = [p for node, held in per_node.items() if node not in wanted for p in held if not p.terminating]
    taken = {p.key.name for p in pods}
    current: list[PodView] = []
    for node in wanted:
        held = per_node.get(node, [])
        delete += [p for p in held if p.phase in ("Failed", "Succeeded") and not p.terminating]
        active = [p for p in held if p.is_active]
        if not held:
            create.append(_pod(daemonset, node, revision, taken))
        current += active[:1]
        delete += active[1:]
    if meta.deletion_timestamp(daemonset):
        return Plan((), (), _status(daemonset, wanted, current, per_node, revision, now))
    delete += _replaced(daemonset, wanted, current, revision, now)
    return Plan(tuple(create), tuple(delete), _status(daemonset, wanted, current, per_node, revision, now))


def _spec(daemonset: Mapping[str, Any]) -> JSONObject:
    """The template's pod spec with the tolerations every daemon has."""
    spec: JSONObject = meta.copy_json(meta.nested(daemonset, "spec", "template", "spec", default={}))
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *({"key": k, "operator": "Exists", "effect": e} for k, e in _TOLERATED)]
    return spec


def _pod(daemonset: Mapping[str, Any], node: str, revision: str, taken: set[str]) -> JSONObject:
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


def _replaced(
    daemonset: Mapping[str, Any], wanted: Sequence[str], current: Sequence[PodView], revision: str, now: datetime
) -> list[PodView]:
    """Old pods that may go now: those that do not work anyway, and of the others as many as maxUnavailable leaves."""
    strategy = meta.nested(daemonset, "spec", "updateStrategy", default={})
    if strategy.get("type") == "OnDelete":
        return []
    min_ready_s = meta.nested(daemonset, "spec", "minReadySeconds", default=0)
    limit = max(share((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(wanted), math.ceil), 1)
    old = [p for p in current if p.revision != revision]
    broken = [p for p in old if not p.is_available(min_ready_s, now)]
    unavailable = len(wanted) - sum(1 for p in current if p.is_available(min_ready_s, now))
    working = [p for p in old if p not in broken]
    return broken + working[: max(limit - unavailable, 0)]


def _status(
    daemonset: Mapping[str, Any],
    wanted: Sequence[str],
    current: Sequence[PodView],
    per_node: Mapping[str, Sequence[PodView]],
    revision: str,
    now: datetime,
) -> JSONObject:
    min_ready_s = meta.nested(daemonset, "spec", "minReadySeconds", default=0)
    available = sum(1 for p in current if p.is_available(min_ready_s, now))
    always = {
        "currentNumberScheduled": len(current),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": sum(1 for node, held in per_node.items() if node not in wanted and any(p.is_active for p in held)),
        "numberReady": sum(1 for p in current if p.is_ready),
        "observedGeneration": meta.generation(daemonset),
    }
    sometimes = {
        "updatedNumberScheduled": sum(1 for p in current if p.revision == revision),
        "numberAvailable": available,
        "numberUnavailable": len(wanted) - available,
    }
    return {**always, **{k: v for k, v in sometimes.items() if v}}


@dataclass
class DaemonSetReconciler:
    daemonsets: Informer
    histories: Histories
    nodes: Informer
    pods: PodBook
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        daemonset = self.daemonsets.get(key)
        if daemonset is None:
            return Result()
        nodes = [NodeView.of(n, NOTHING) for n in self.nodes.list()]
        held = self.pods.owned_by(meta.uid(daemonset))
        await self.histories.keep(daemonset, {f"{key.name}-{p.revision}" for p in held})
        plan = decide(daemonset, held, nodes, self.clock.now())
        pods = self.client.resource(PODS)
        for pod in plan.create:
            if (made := await create_if_missing(pods, pod)) is not None:
                self.pods.assume(made)
        for view in plan.delete:
            await delete_if_there(pods, view.key.name, view.key.namespace, view.uid)
            self.pods.doom(view)
        await patch_status(self.client.resource(DAEMONSET.gvr), daemonset, plan.status)
        return Result()


def controller(wiring: Wiring) -> Controller:
    daemonsets, nodes = wiring.informers.informer(DAEMONSET.gvr), wiring.informers.informer(NODES)
    revisions = wiring.informers.informer(REVISIONS, indexers={OWNER_INDEX: by_owner})
    histories = Histories(revisions, wiring.client, DAEMONSET, REVISION_HASH_LABEL)
    reconciler = DaemonSetReconciler(daemonsets, histories, nodes, wiring.pods, wiring.client, wiring.clock)
    made = Controller("daemonset", reconciler.reconcile, clock=wiring.clock, workers=2)
    wake_self(daemonsets, made)
    made.watch(nodes, lambda _key, _old, _new: daemonsets.keys())
    wake_owner(wiring.pods, made, DAEMONSET.kind)
    return made
