"""Preemption: which pods of lower priority have to go so that a pod fits, and on which node that costs least.

Pure. Before: `scheduler`. Source: pkg/scheduler/framework/preemption/preemption.go, plugins/defaultpreemption/default_preemption.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import meta
from kcp.sim.workloads.podaffinity import EXISTING_ANTI_AFFINITY, NamespaceLabels
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.resources import NOTHING, pod_requests
from kcp.sim.workloads.scheduling import NO_FREE_PORTS, NodeView, faults_of, shortages, summary

_HOPELESS, _NOBODY = "Preemption is not helpful for scheduling", "No preemption victims found for incoming pod"
_CURABLE = ("Insufficient ", "Too many pods", NO_FREE_PORTS, EXISTING_ANTI_AFFINITY, "node(s) didn't match pod anti-affinity rules")


@dataclass(frozen=True, slots=True)
class Preemption:
    node: str = ""
    victims: tuple[PodView, ...] = ()
    message: str = ""
    """What is said of it where no node can be freed."""


def preempt(
    pod: Mapping[str, Any], nodes: Sequence[NodeView], faults: Mapping[str, Sequence[str]], namespace_labels: NamespaceLabels
) -> Preemption:
    """The node to free for a pod that fits nowhere. Args: faults: why each node does not take it."""
    spec = pod.get("spec") or {}
    if spec.get("preemptionPolicy") == "Never":
        return Preemption(message=f"{_told(nodes, dict.fromkeys(faults, _HOPELESS))}.")
    priority, found, reasons = spec.get("priority") or 0, [], dict[str, str]()
    for node in nodes:
        if not _is_curable(spec, node, faults[node.name]):
            reasons[node.name] = _HOPELESS
            continue
        victims = _victims(pod, node, nodes, priority, namespace_labels)
        if victims:
            found.append((node.name, victims))
        reasons[node.name] = _NOBODY
    if not found:
        return Preemption(message=f"{_told(nodes, reasons)}.")
    name, chosen = min(found, key=_cost)
    return Preemption(name, tuple(chosen))


def _cost(choice: tuple[str, Sequence[PodView]]) -> tuple[int, int, int, str]:
    """The most important victim decides, then all together, then their number. Source: pickOneNodeForPreemption."""
    name, victims = choice
    return max(p.priority for p in victims), sum(p.priority for p in victims), len(victims), name


def _told(nodes: Sequence[NodeView], reasons: Mapping[str, str]) -> str:
    return f"no new claims to deallocate, preemption: {summary(len(nodes), reasons.values())}"


def _is_curable(spec: Mapping[str, Any], node: NodeView, faults: Sequence[str]) -> bool:
    """Whether fewer pods on the node would help: not if the node is too small, tainted or not meant."""
    if not all(fault.startswith(_CURABLE) for fault in faults):
        return False
    return not shortages(pod_requests(spec), replace(node, taken=NOTHING))


def _victims(
    pod: Mapping[str, Any], node: NodeView, nodes: Sequence[NodeView], priority: int, namespace_labels: NamespaceLabels
) -> list[PodView]:
    """The fewest pods of lower priority, the least important ones, without which the pod fits; none if it does not fit even so."""
    lower = sorted((p for p in node.pods if p.priority < priority), key=lambda p: (-p.priority, p.created, p.key))
    staying = [p for p in node.pods if p.priority >= priority]

    def fits(present: Sequence[PodView]) -> bool:
        freed = replace(node, taken=NOTHING, ports=frozenset(), pods=(), shy=()).with_pods(present)
        around = [freed if other.name == node.name else other for other in nodes]
        return not faults_of(pod, around, namespace_labels)[node.name]

    if not lower or not fits(staying):
        return []
    victims = []
    for candidate in lower:  # the most important first: it is spared if it can be
        if fits([*staying, candidate]):
            staying.append(candidate)
        else:
            victims.append(candidate)
    return victims


def awaits_victims(pod: Mapping[str, Any], nodes: Sequence[NodeView]) -> bool:
    """Whether the node that was freed for a pod still holds victims on their way out. Source: PodEligibleToPreemptOthers."""
    nominated = meta.nested(pod, "status", "nominatedNodeName", default="")
    priority = meta.nested(pod, "spec", "priority", default=0)
    return any(p.terminating and p.priority < priority for node in nodes if node.name == nominated for p in node.pods)
