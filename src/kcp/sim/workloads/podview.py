"""What the workload controllers need to know of a Pod, read once per change and shared: `PodView` and the order in which pods are given up.

Before: `podbook`, which keeps the views current. After: nothing; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ObjectKey
from kcp.sim.workloads.resources import Requests, pod_requests

DELETION_COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

REVISION_HASH_LABEL = "controller-revision-hash"
JOB_TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer of a pod that its Job has not counted yet. Source: KEP-2307."""
INDEX_FAILURES_ANNOTATION = "batch.kubernetes.io/job-index-failure-count"
_CONTAINER_KINDS = ("containerStatuses", "initContainerStatuses")
DIRECTIVE_PREFIX = "sim.kcp.io/"

_PHASE_ORDER = {"Pending": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class PodView:
    """A Pod's facts; immutable, so every controller may hold the same one."""

    key: ObjectKey
    uid: str
    labels: Mapping[str, str]
    owner_uid: str
    """Of the controlling owner; "" for a pod on its own."""
    owner_kind: str
    owner_name: str
    node: str
    phase: str
    ready_since: str
    """RFC 3339; "" while not ready."""
    terminating: bool
    created: str
    restarts: int
    """Of the container that restarted most often."""
    all_restarts: int
    """Of all containers, init containers included, together."""
    ended: str
    """RFC 3339: when the last container ended; "" while some run or wait."""
    tracked: bool
    """A Job still has to count it: it carries the finalizer."""
    index_failures: int
    """How often a Job's index had failed when the pod was made."""
    deletion_cost: int
    requests: Requests
    ip: str
    host_ip: str
    hostname: str
    subdomain: str
    index: int
    """Completion index of an Indexed Job's pod, ordinal of a StatefulSet's; -1 for others."""
    revision: str
    """Of the template it was made from: controller-revision-hash."""
    meant_for: str
    """The node that its affinity asks for by name, as a DaemonSet's pods do; "" for others."""
    ports: tuple[tuple[str, int, str], ...]
    """(name, containerPort, protocol) of every container port."""
    waiting_for: str
    """Name of a scheduling gate, or ""."""
    host_ports: tuple[tuple[str, str, int], ...]
    """(host address, protocol, port) that it takes of its node."""
    priority: int
    keeps_away: tuple[Mapping[str, Any], ...]
    """Required terms of anti-affinity: what it does not want near."""
    generation: int
    gates: tuple[str, ...]
    """Conditions of readiness gates that hold."""
    directives: tuple[tuple[str, str], ...]
    """Annotations that steer the simulation: see `podlife`."""

    @property
    def is_ready(self) -> bool:
        return bool(self.ready_since)

    @property
    def is_active(self) -> bool:
        """Counts as a replica. Source: pkg/controller/controller_utils.go IsPodActive."""
        return self.phase not in ("Succeeded", "Failed") and not self.terminating

    @property
    def is_present(self) -> bool:
        """Takes room on its node."""
        return self.phase not in ("Succeeded", "Failed")

    def is_available(self, min_ready_s: int, now: datetime) -> bool:
        """Ready for at least `min_ready_s`. Source: pkg/api/v1/pod/util.go IsPodAvailable."""
        if not self.ready_since:
            return False
        return min_ready_s == 0 or parse_rfc3339(self.ready_since) + timedelta(seconds=min_ready_s) <= now


def view(pod: Mapping[str, Any]) -> PodView:
    spec, status, held = pod.get("spec") or {}, pod.get("status") or {}, meta.metadata(pod)
    ready = conditions.get(pod, "Ready")
    owner = meta.controller_of(pod)
    gates = spec.get("schedulingGates") or ()
    return PodView(
        key=meta.key(pod),
        uid=meta.uid(pod),
        labels=meta.labels(pod),
        owner_uid=owner["uid"] if owner else "",
        owner_kind=owner["kind"] if owner else "",
        owner_name=owner["name"] if owner else "",
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "Pending",
        ready_since=str(ready.get("lastTransitionTime") or "") if ready is not None and ready.get("status") == "True" else "",
        terminating="deletionTimestamp" in held,
        created=held.get("creationTimestamp") or "",
        restarts=max((c.get("restartCount") or 0 for c in status.get("containerStatuses") or ()), default=0),
        all_restarts=sum(c.get("restartCount") or 0 for k in _CONTAINER_KINDS for c in status.get(k) or ()),
        ended=_ended(pod, status),
        tracked=JOB_TRACKING in (held.get("finalizers") or ()),
        index_failures=_cost(meta.annotations(pod).get(INDEX_FAILURES_ANNOTATION)),
        deletion_cost=_cost(meta.annotations(pod).get(DELETION_COST_ANNOTATION)),
        requests=pod_requests(spec),
        ip=status.get("podIP") or "",
        host_ip=status.get("hostIP") or "",
        hostname=spec.get("hostname") or "",
        subdomain=spec.get("subdomain") or "",
        index=_index(meta.labels(pod)),
        revision=meta.labels(pod).get(REVISION_HASH_LABEL, ""),
        meant_for=_meant_for(spec),
        ports=tuple(_ports(spec)),
        waiting_for=gates[0].get("name", "") if gates else "",
        host_ports=host_ports(spec),
        priority=spec.get("priority") or 0,
        keeps_away=tuple(meta.nested(spec, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", default=())),
        generation=meta.generation(pod),
        gates=tuple(k for g in spec.get("readinessGates") or () if conditions.is_true(pod, k := g.get("conditionType", ""))),
        directives=tuple(sorted((k, v) for k, v in meta.annotations(pod).items() if k.startswith(DIRECTIVE_PREFIX))),
    )


def _ended(pod: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Source: pkg/controller/job/backoff_utils.go getFinishedTime."""
    ends = [meta.nested(c, "state", "terminated", "finishedAt", default="") for c in status.get("containerStatuses") or ()]
    if ends and all(ends):
        return str(max(ends))
    if status.get("phase") not in ("Succeeded", "Failed"):
        return meta.deletion_timestamp(pod)
    ready = conditions.get(pod, "Ready") or {}
    return str(ready.get("lastTransitionTime") or meta.creation_timestamp(pod))


def _index(labels: Mapping[str, str]) -> int:
    text = labels.get("batch.kubernetes.io/job-completion-index") or labels.get("apps.kubernetes.io/pod-index") or ""
    return int(text) if text.isdigit() else -1


def _meant_for(spec: Mapping[str, Any]) -> str:
    """Source: pkg/controller/daemon/util/daemonset_util.go GetTargetNodeName."""
    required = meta.nested(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", default={})
    for term in required.get("nodeSelectorTerms") or ():
        for expression in term.get("matchFields") or ():
            if expression.get("key") == "metadata.name" and expression.get("values"):
                return str(expression["values"][0])
    return ""


def _cost(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0


def host_ports(spec: Mapping[str, Any]) -> tuple[tuple[str, str, int], ...]:
    """Source: pkg/scheduler/util GetHostPorts; init containers that stay count too."""
    containers = [*(spec.get("containers") or ()), *(c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")]
    return tuple(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"]))
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def _ports(spec: Mapping[str, Any]) -> Iterable[tuple[str, int, str]]:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            yield port.get("name") or "", port.get("containerPort") or 0, port.get("protocol") or "TCP"


def available_in_s(pods: Iterable[PodView], min_ready_s: int, now: datetime) -> float | None:
    """Seconds until the next of the ready pods becomes available; None if none is to."""
    due = [parse_rfc3339(p.ready_since) + timedelta(seconds=min_ready_s) for p in pods if p.is_ready] if min_ready_s else []
    return min(((at - now).total_seconds() for at in due if at > now), default=None)


def least_wanted_first(pods: Iterable[PodView]) -> list[PodView]:
    """The order in which pods are deleted when there are too many; ties by name.

    Unassigned, then not running, then unready ones; lower deletion cost; nodes that hold several of these pods; ready for the shortest
    time; more restarts; younger.
    Source: pkg/controller/controller_utils.go ActivePodsWithRanks.Less, without its logarithmic time buckets.
    """
    ordered = sorted(pods, key=lambda p: p.key.name)
    per_node: dict[str, int] = {}
    for pod in ordered:
        if pod.phase not in ("Succeeded", "Failed"):
            per_node[pod.node] = per_node.get(pod.node, 0) + 1
    ordered.sort(key=lambda p: p.created, reverse=True)
    ordered.sort(key=lambda p: p.restarts, reverse=True)
    ordered.sort(key=lambda p: p.ready_since, reverse=True)
    ordered.sort(
        key=lambda p: (
            bool(p.node),
            _PHASE_ORDER.get(p.phase, 3),
            p.is_ready,
            p.deletion_cost,
            -per_node.get(p.node, 0),
        )
    )
    return ordered
