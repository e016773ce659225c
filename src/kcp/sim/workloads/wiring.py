"""What every workload controller is built from. `sim.cluster` makes one `Wiring` and hands it to each controller's factory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.remarks import Remarks
from kcp.sim.workloads.writes import IDLE_S, SETTLE_S

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")

OWNER_INDEX = "owner"
"""Informer index of objects by the uid of their controlling owner."""

ORPHAN_INDEX = "orphan"
"""Informer index of objects without a controlling owner, by namespace."""


@dataclass(frozen=True, slots=True)
class OwnerKind:
    """A kind whose objects control pods or other workloads."""

    gvr: GVR
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wiring:
    client: Client
    informers: InformerFactory
    pods: PodBook
    clock: Clock
    remarks: Remarks
    start_delay_s: float
    """From a pod's binding to its containers running, and from its deletion to its end."""


def by_owner(obj: Mapping[str, Any]) -> Iterable[str]:
    """Indexer: an object by the uid of its controlling owner."""
    owner = meta.controller_of(obj)
    return (owner["uid"],) if owner else ()


def by_namespace_of_orphan(obj: Mapping[str, Any]) -> Iterable[str]:
    """Indexer: an object that nothing controls, by its namespace."""
    return () if meta.controller_of(obj) else (meta.namespace(obj),)


_URGENT = (meta.uid, meta.generation, meta.deletion_timestamp)


def wake_self(informer: Informer, controller: Controller) -> None:
    """Wake a controller for the objects of its own kind: at once where the spec changed, later for what are mostly its own writes."""

    def handle(key: ObjectKey, before: JSONObject | None, after: JSONObject | None) -> None:
        if before is None or after is None or any(read(before) != read(after) for read in _URGENT):
            controller.enqueue(key)
        else:
            controller.enqueue_after(key, IDLE_S)

    informer.add_handler(handle)


def wake_owner(pods: PodBook, controller: Controller, kind: str) -> None:
    """Wake the controller of a pod's owner after each change of the pod, siblings' changes together."""

    def listen(before: PodView | None, after: PodView | None) -> None:
        delay_s = IDLE_S if _has_only_begun(before, after) else _settling_s(pods, before, after)
        for pod in (before, after):
            if pod is not None and pod.owner_kind == kind:
                controller.enqueue_after(ObjectKey(pod.key.cluster, pod.key.namespace, pod.owner_name), delay_s)

    pods.listen(listen)


def _settling_s(pods: PodBook, before: PodView | None, after: PodView | None) -> float:
    """Longer while siblings are about to start, for their change will follow."""
    if before is None or after is None or before.phase != "Pending" or after.phase != "Running":
        return SETTLE_S
    return 5 * SETTLE_S if any(p.phase == "Pending" and p.node for p in pods.owned_by(after.owner_uid)) else SETTLE_S


def _has_only_begun(before: PodView | None, after: PodView | None) -> bool:
    """A pod was made or bound, and does not run yet."""
    if after is None or after.terminating or after.phase != "Pending":
        return False
    return before is None or (before.uid == after.uid and before.phase == "Pending" and before.labels == after.labels)
