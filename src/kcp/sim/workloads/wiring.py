"""What every workload controller is built from. `sim.cluster` makes one `Wiring` and hands it to each controller's factory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.client.rest import Client
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.writes import SETTLE_S

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")

OWNER_INDEX = "owner"
"""Informer index of objects by the uid of their controlling owner."""


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
    start_delay_s: float
    """From a pod's binding to its containers running, and from its deletion to its end."""


def by_owner(obj: Mapping[str, Any]) -> Iterable[str]:
    """Indexer: an object by the uid of its controlling owner."""
    owner = meta.controller_of(obj)
    return (owner["uid"],) if owner else ()


def wake_owner(pods: PodBook, controller: Controller, kind: str) -> None:
    """Wake the controller of a pod's owner after each change of the pod, siblings' changes together."""

    def listen(before: PodView | None, after: PodView | None) -> None:
        for pod in (before, after):
            if pod is not None and pod.owner_kind == kind:
                controller.enqueue_after(ObjectKey(pod.key.cluster, pod.key.namespace, pod.owner_name), SETTLE_S)

    pods.listen(listen)
