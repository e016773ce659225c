"""The service `kubernetes` in namespace default, by which pods reach the API: whoever deletes it, or its endpoints, finds it again.

Before: `sim.cluster`, which starts it on clusters that listen. After: `bootstrap.ensure_kubernetes_service`.
Source: pkg/controlplane/controller/kubernetesservice/controller.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.sim.workloads.endpoints import ENDPOINTS, SERVICES
from kcp.sim.workloads.slices import ENDPOINT_SLICES


@dataclass
class KubernetesServiceReconciler:
    ensure: Callable[[], Awaitable[None]]
    """Creates what is missing."""

    async def reconcile(self, key: ObjectKey) -> Result:  # noqa: ARG002 - there is one
        await self.ensure()
        return Result()


def build_kubernetes_service_controller(informers: InformerFactory, ensure: Callable[[], Awaitable[None]], *, clock: Clock) -> Controller:
    controller: Controller = Controller("kubernetes-service", KubernetesServiceReconciler(ensure).reconcile, clock=clock, workers=1)

    def once_gone(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001
        return (key,) if new is None and (key.namespace, key.name) == ("default", "kubernetes") else ()

    for kind in (SERVICES, ENDPOINTS, ENDPOINT_SLICES):
        controller.watch(informers.informer(kind), once_gone)
    return controller
