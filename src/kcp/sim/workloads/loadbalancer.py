"""Services of type LoadBalancer get an external address, as a cloud's controller would give them.

Before: `sim.cluster`, which starts it. After: the status of Services. Source: cloud-provider/controllers/service/controller.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.endpoints import SERVICES
from kcp.sim.workloads.wiring import Wiring

EXTERNAL_NETWORK = IPv4Network("172.19.0.0/16")


def decide(service: Mapping[str, Any], used: frozenset[str]) -> JSONObject:
    """The status that a Service should have. Args: used: external addresses of the other Services."""
    status: JSONObject = meta.copy_json(service.get("status") or {})
    if meta.nested(service, "spec", "type") != "LoadBalancer" or meta.deletion_timestamp(service):
        status["loadBalancer"] = {}
    elif not meta.nested(status, "loadBalancer", "ingress"):
        free = next((str(address) for address in EXTERNAL_NETWORK.hosts() if str(address) not in used), "")
        status["loadBalancer"] = {"ingress": [{"ip": free, "ipMode": "VIP"}]} if free else {}
    else:
        return status
    return status


@dataclass
class LoadBalancerReconciler:
    services: Informer
    client: Client

    async def reconcile(self, key: ObjectKey) -> Result:
        service = self.services.get(key)
        if service is None or not _concerns(service):
            return Result()
        others = (s for s in self.services.list() if meta.uid(s) != meta.uid(service))
        used = frozenset(i.get("ip", "") for s in others for i in meta.nested(s, "status", "loadBalancer", "ingress", default=()))
        wanted = {**service, "status": decide(service, used)}  # users write there too: not over what they wrote meanwhile
        try:
            await commit(self.client.resource(SERVICES), service, wanted, field_manager="cloud-controller-manager")
        except NotFound:
            return Result()  # gone already
        return Result()


def _concerns(service: JSONObject) -> bool:
    return meta.nested(service, "spec", "type") == "LoadBalancer" or bool(meta.nested(service, "status", "loadBalancer", "ingress"))


def controller(wiring: Wiring) -> Controller:
    """One worker: addresses are given out one after the other."""
    services = wiring.informers.informer(SERVICES)
    made = Controller("loadbalancer", LoadBalancerReconciler(services, wiring.client).reconcile, clock=wiring.clock, workers=1)
    made.watch(services)
    return made
