"""Which node takes a pod: filters with upstream's words for what does not fit, then the least allocated node, ties by name.

Pure. Before: `scheduler`. Source: pkg/scheduler/framework/plugins (noderesources, nodeaffinity, tainttoleration, nodeunschedulable).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.selectors import LabelSelector
from kcp.sim.workloads.podaffinity import NamespaceLabels, Site, rules_for
from kcp.sim.workloads.podview import PodView, host_ports
from kcp.sim.workloads.resources import Requests, amounts, pod_requests

NO_FREE_PORTS = "node(s) didn't have free ports for the requested pod ports"
_INT_OPERATORS = {"Gt": lambda have, want: have > want, "Lt": lambda have, want: have < want}


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node's offer and what is taken of it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...]
    unschedulable: bool
    offer: Requests
    taken: Requests
    ports: frozenset[tuple[str, str, int]] = frozenset()
    """Host ports in use: (address, protocol, port)."""
    pods: tuple[PodView, ...] = ()
    """Those that count in `taken`, where they are known."""
    shy: tuple[PodView, ...] = ()
    """Those of them that keep others away."""

    @classmethod
    def of(cls, node: Mapping[str, Any], taken: Requests) -> NodeView:
        spec = node.get("spec") or {}
        allocatable = meta.nested(node, "status", "allocatable", default={})
        pods = int(str(allocatable.get("pods") or 0))  # none: such a node takes no pods
        return cls(
            name=meta.name(node),
            labels=meta.labels(node),
            taints=tuple(spec.get("taints") or ()),
            unschedulable=bool(spec.get("unschedulable")),
            offer=amounts(allocatable, pods=pods),
            taken=taken,
        )

    def with_pods(self, pods: Iterable[PodView]) -> NodeView:
        """The node with these pods on it, beside those that count already."""
        taken, ports, added = self.taken, set(self.ports), tuple(pods)
        shy = (*self.shy, *(pod for pod in added if pod.keeps_away))
        for pod in added:
            taken = taken.plus(pod.requests)
            ports.update(pod.host_ports)
        return replace(self, taken=taken, ports=frozenset(ports), pods=(*self.pods, *added), shy=shy)


def place(pod: Mapping[str, Any], nodes: Sequence[NodeView], namespace_labels: NamespaceLabels = lambda _name: {}) -> tuple[str, str]:
    """The chosen node's name and "", or "" and why there is none.

    >>> place({"spec": {"containers": []}}, [])
    ('', 'no nodes available to schedule pods')
    """
    if not nodes:
        return "", "no nodes available to schedule pods"
    faults = faults_of(pod, nodes, namespace_labels)
    fit = [node for node in nodes if not faults[node.name]]
    if fit:
        spec = pod.get("spec") or {}
        requests = pod_requests(spec)
        return min(fit, key=lambda node: (-_preference(spec, node), -_score(node, requests), node.name)).name, ""
    return "", f"{summary(len(nodes), (fault for found in faults.values() for fault in found))}."


def summary(nodes: int, faults: Iterable[str]) -> str:
    """How many nodes have which fault. Source: framework.FitError."""
    told = ", ".join(sorted(f"{count} {fault}" for fault, count in Counter(faults).items()))
    return f"0/{nodes} nodes are available: {told}"


def _preference(spec: Mapping[str, Any], node: NodeView) -> int:
    """Preferred node affinity, less the taints that are better avoided: it decides before the free room does."""
    terms = meta.nested(spec, "affinity", "nodeAffinity", "preferredDuringSchedulingIgnoredDuringExecution", default=())
    liked = sum(int(t.get("weight") or 0) for t in terms if _term_matches(t.get("preference") or {}, node))
    return liked - 100 * sum(1 for t in node.taints if t.get("effect") == "PreferNoSchedule" and not _tolerated(t, spec))


def faults_of(pod: Mapping[str, Any], nodes: Sequence[NodeView], namespace_labels: NamespaceLabels) -> dict[str, list[str]]:
    """Why each node does not take the pod; empty lists for those that do."""
    spec = pod.get("spec") or {}
    requests = pod_requests(spec)
    by_name = {node.name: node for node in nodes}
    sites = [Site(node.name, node.labels, node.pods, node.shy) for node in nodes]
    rules = rules_for(pod, sites, namespace_labels, lambda site: matches_node(spec, by_name[site.name]))
    found: dict[str, list[str]] = {}
    for node in nodes:
        faults = unfit(spec, requests, node)
        if not faults and rules is not None and (fault := rules.fault(node.labels)):
            faults = [fault]
        found[node.name] = faults
    return found


def _score(node: NodeView, requests: Requests) -> float:
    """The share that stays free, CPU and memory alike; the number of pods decides for pods that ask for nothing.

    Source: noderesources LeastAllocated.
    """
    left = node.offer.minus(node.taken).minus(requests)
    cpu = left.cpu_millis / node.offer.cpu_millis if node.offer.cpu_millis else 0.0
    memory = left.memory_bytes / node.offer.memory_bytes if node.offer.memory_bytes else 0.0
    pods = left.pods / node.offer.pods if node.offer.pods else 0.0
    return (cpu + memory) / 2 + pods / 1000


def unfit(spec: Mapping[str, Any], requests: Requests, node: NodeView) -> list[str]:
    """Why the node does not take the pod; empty if it does. The first failing plug-in speaks, as upstream."""
    if node.unschedulable and not _tolerated({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, spec):
        return ["node(s) were unschedulable"]
    if any(t.get("effect") != "PreferNoSchedule" and not _tolerated(t, spec) for t in node.taints):
        return ["node(s) had untolerated taint(s)"]
    if not matches_node(spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if _has_port_conflict(host_ports(spec), node.ports):
        return [NO_FREE_PORTS]
    return shortages(requests, node)


def _has_port_conflict(wanted: Iterable[tuple[str, str, int]], used: frozenset[tuple[str, str, int]]) -> bool:
    """A port is free if nobody has it for the same protocol and the same address; 0.0.0.0 is every address. Source: HostPortInfo."""
    if not used:
        return False
    for address, protocol, port in wanted:
        for held, other, number in used:
            if (protocol, port) == (other, number) and (address == held or "0.0.0.0" in (address, held)):
                return True
    return False


def rejection(spec: Mapping[str, Any], node: NodeView) -> tuple[str, str] | None:
    """Why a kubelet turns away a pod that was put on its node by hand: reason and message; None if it does not.

    Source: pkg/kubelet/lifecycle/predicate.go.
    """
    if not matches_node(spec, node):
        return "NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    if _has_port_conflict(host_ports(spec), node.ports):
        return "NodePorts", f"Pod was rejected: Predicate NodePorts failed: {NO_FREE_PORTS}"
    asked = pod_requests(spec)
    for fault in shortages(asked, node):
        name = "pods" if fault == "Too many pods" else fault.removeprefix("Insufficient ")
        numbers = (_amount(name, part) for part in (asked, node.taken, node.offer))
        told = ", ".join(f"{word}: {number}" for word, number in zip(("requested", "used", "capacity"), numbers, strict=True))
        return f"OutOf{name}", f"Pod was rejected: Node didn't have enough resource: {name}, {told}"
    return None


def _amount(name: str, amounts: Requests) -> int:
    known = {"cpu": amounts.cpu_millis, "memory": amounts.memory_bytes, "pods": amounts.pods}
    return known[name] if name in known else dict(amounts.others).get(name, 0)


def shortages(requests: Requests, node: NodeView) -> list[str]:
    """Source: noderesources fitsRequest."""
    left = node.offer.minus(node.taken)
    short = []
    if left.pods < requests.pods:
        short.append("Too many pods")
    if requests.cpu_millis and left.cpu_millis < requests.cpu_millis:
        short.append("Insufficient cpu")
    if requests.memory_bytes and left.memory_bytes < requests.memory_bytes:
        short.append("Insufficient memory")
    if requests.others:
        free = dict(left.others)
        short += [f"Insufficient {name}" for name, amount in requests.others if amount and free.get(name, 0) < amount]
    return short


def _tolerated(taint: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    return any(tolerates(toleration, taint) for toleration in spec.get("tolerations") or ())


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Source: k8s.io/api/core/v1/toleration.go ToleratesTaint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def matches_node(spec: Mapping[str, Any], node: NodeView) -> bool:
    """nodeSelector and required node affinity. Source: component-helpers scheduling/corev1/nodeaffinity."""
    if any(node.labels.get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    required = meta.nested(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def _term_matches(term: Mapping[str, Any], node: NodeView) -> bool:
    """One term: all its expressions hold; an empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return _expressions_match(expressions, node.labels) and _expressions_match(fields, {"metadata.name": node.name})


def _expressions_match(expressions: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    for expression in expressions:
        compare = _INT_OPERATORS.get(expression.get("operator", ""))
        if compare is None:
            # field names such as metadata.name are valid label keys, so one matcher serves both
            if not LabelSelector.from_object({"matchExpressions": [expression]}).matches(labels):
                return False
            continue
        try:
            have, want = int(labels[expression.get("key", "")]), int(expression["values"][0])
        except (KeyError, ValueError, IndexError):
            return False
        if not compare(have, want):
            return False
    return True
