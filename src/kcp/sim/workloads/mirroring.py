"""EndpointSlice mirroring: Endpoints that somebody wrote for a Service without selector are also there as EndpointSlices.

`is_mirrored` is pure. Before: `sim.cluster`, which starts it. After: `slices`.
Source: pkg/controller/endpointslicemirroring/{endpointslicemirroring_controller,utils}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.endpoints import ENDPOINTS, SERVICES
from kcp.sim.workloads.slices import BY_MIRRORING, ENDPOINT_SLICES, INDEX, SliceKeeper, by_service, mirrored, to_service
from kcp.sim.workloads.wiring import Wiring

_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"


def is_mirrored(endpoints: Mapping[str, Any] | None, service: Mapping[str, Any] | None) -> bool:
    """Whether somebody wrote these Endpoints, for a Service that there is and that has no selector."""
    if endpoints is None or service is None or meta.deletion_timestamp(endpoints):
        return False
    if meta.labels(endpoints).get(_SKIP) == "true" or _LEADER in meta.annotations(endpoints):
        return False
    return not meta.nested(service, "spec", "selector")


@dataclass
class MirroringReconciler:
    services: Informer
    endpoints: Informer
    keeper: SliceKeeper

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.endpoints.get(key)
        wanted = mirrored(held) if held is not None and is_mirrored(held, self.services.get(key)) else []
        await self.keeper.bring(key.namespace, key.name, wanted)
        return Result()


def controller(wiring: Wiring) -> Controller:
    services, endpoints = wiring.informers.informer(SERVICES), wiring.informers.informer(ENDPOINTS)
    slices = wiring.informers.informer(ENDPOINT_SLICES, indexers={INDEX: by_service})
    reconciler = MirroringReconciler(services, endpoints, SliceKeeper(slices, wiring.client, BY_MIRRORING))
    made = Controller("endpointslice-mirroring", reconciler.reconcile, clock=wiring.clock, workers=1)
    made.watch(endpoints)
    made.watch(services)
    made.watch(slices, lambda key, old, new: to_service(key, new or old))
    return made
