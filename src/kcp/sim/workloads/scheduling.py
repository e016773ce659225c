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
from kcp.sim.workloads.resources import Requests, amounts, pod_requests

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

    @classmethod
    def of(cls, node: Mapping[str, Any], taken: Requests) -> NodeView:
        spec = node.get("spec") or {}
        allocatable = meta.nested(node, "status", "allocatable", default={})
        pods = int(str(allocatable.get("pods") or 110))
        return cls(
            name=meta.name(node),
            labels=meta.labels(node),
            taints=tuple(spec.get("taints") or ()),
            unschedulable=bool(spec.get("unschedulable")),
            offer=amounts(allocatable, pods=pods),
            taken=taken,
        )

    def with_pod(self, requests: Requests) -> NodeView:
        return replace(self, taken=self.taken.plus(requests))


def place(pod: Mapping[str, Any], nodes: Sequence[NodeView]) -> tuple[str, str]:
    """The chosen node's name and "", or "" and why there is none.

    >>> place({"spec": {"containers": []}}, [])
    ('', 'no nodes available to schedule pods')
    """
    if not nodes:
        return "", "no nodes available to schedule pods"
    spec = pod.get("spec") or {}
    requests = pod_requests(spec)
    faults = {node.name: unfit(spec, requests, node) for node in nodes}
    fit = [node for node in nodes if not faults[node.name]]
    if fit:
        return min(fit, key=lambda node: (-_score(node, requests), node.name)).name, ""
    counts = Counter(fault for found in faults.values() for fault in found)
    told = ", ".join(sorted(f"{count} {fault}" for fault, count in counts.items()))
    return "", f"0/{len(nodes)} nodes are available: {told}."


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
    taint = next((t for t in node.taints if t.get("effect") != "PreferNoSchedule" and not _tolerated(t, spec)), None)
    if taint is not None:
        return [f"node(s) had untolerated taint {{{taint.get('key')}: {taint.get('value') or ''}}}"]
    if not matches_node(spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    return _shortages(requests, node)


def _shortages(requests: Requests, node: NodeView) -> list[str]:
    """Source: noderesources fitsRequest."""
    left = node.offer.minus(node.taken)
    short = []
    if left.pods < requests.pods:
        short.append("Too many pods")
    if requests.cpu_millis and left.cpu_millis < requests.cpu_millis:
        short.append("Insufficient cpu")
    if requests.memory_bytes and left.memory_bytes < requests.memory_bytes:
        short.append("Insufficient memory")
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
