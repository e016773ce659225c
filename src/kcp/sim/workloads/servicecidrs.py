"""ServiceCIDRs become ready and stay while addresses need them; an IPAddress stands for each address that a Service holds (KEP-1880).

Before: `sim.cluster`, which starts both controllers. After: `sim.addresses`, whose allocator follows the same objects.
Source: pkg/controller/servicecidrs/servicecidrs_controller.go, pkg/registry/core/service/ipallocator/{ipallocator,controller/repairip}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.addresses import IP_ADDRESSES, SERVICE_CIDRS, Network, holder_of, networks_of
from kcp.sim.workloads.endpoints import SERVICES
from kcp.sim.workloads.wiring import Wiring
from kcp.sim.workloads.writes import CONTROLLER_MANAGER

_FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_FAMILY, _MANAGED_BY, _ALLOCATOR = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
_OF_ADDRESS = "address"
_GRACE_S = 10.0
"""So long nothing new is allocated from a range that goes, until all who allocate know of it."""
_STILL_NEEDED = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


def addresses_of(service: Mapping[str, Any]) -> Iterable[str]:
    """Indexer: a Service by its cluster addresses."""
    held = meta.nested(service, "spec", "clusterIPs", default=()) or ()
    return () if meta.nested(service, "spec", "type") == "ExternalName" else [ip for ip in held if ip and ip != "None"]


def is_needed(networks: Sequence[Network], others: Sequence[Network], addresses: Iterable[str]) -> bool:
    """Whether a range that is to go holds addresses that no other range holds.

    >>> from ipaddress import ip_network
    >>> ours = [ip_network("10.1.0.0/24")]
    >>> is_needed(ours, [], ["10.1.0.7"]), is_needed(ours, [ip_network("10.0.0.0/8")], ["10.1.0.7"]), is_needed(ours, [], ["10.2.0.7"])
    (True, False, False)
    """
    for text in addresses:
        address = ip_address(text)
        if any(address in network for network in networks) and not any(address in network for network in others):
            return True
    return False


@dataclass
class ServiceCIDRReconciler:
    ranges: Informer
    addresses: Informer
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.ranges.get(key)
        if held is None:
            return Result()
        if meta.deletion_timestamp(held):
            return await self._deleted(held)
        if _FINALIZER not in meta.finalizers(held):
            wanted = meta.copy_json(held)
            meta.set_finalizers(wanted, [*meta.finalizers(held), _FINALIZER])
            await self._write(held, wanted)
        elif not conditions.is_true(held, "Ready"):
            await self._say(held, conditions.TRUE, "", "Kubernetes Service CIDR is ready")
        return Result()

    async def _deleted(self, held: JSONObject) -> Result:
        if _FINALIZER not in meta.finalizers(held):
            return Result()
        others = [n for r in self.ranges.list() if meta.uid(r) != meta.uid(held) and not meta.deletion_timestamp(r) for n in networks_of(r)]
        if is_needed(networks_of(held), others, (meta.name(a) for a in self.addresses.list())):
            await self._say(held, conditions.FALSE, "Terminating", _STILL_NEEDED)
            return Result()
        left_s = _GRACE_S - (self.clock.now() - parse_rfc3339(meta.deletion_timestamp(held))).total_seconds()
        if left_s > 0:
            return Result(requeue_after_s=left_s)
        wanted = meta.copy_json(held)
        meta.set_finalizers(wanted, [f for f in meta.finalizers(held) if f != _FINALIZER])
        await self._write(held, wanted)
        return Result()

    async def _say(self, held: JSONObject, status: str, reason: str, message: str) -> None:
        wanted = meta.copy_json(held)
        now = rfc3339(self.clock.now())
        conditions.set_condition(wanted, conditions.build("Ready", status, reason=reason, message=message, now=now))
        await self._write(held, wanted)

    async def _write(self, held: JSONObject, wanted: JSONObject) -> None:
        try:
            await commit(self.client.resource(SERVICE_CIDRS), held, wanted, field_manager=CONTROLLER_MANAGER)
        except NotFound:
            return  # gone already


@dataclass
class IPAddressReconciler:
    """One address at a time."""

    services: Informer
    addresses: Informer
    client: Client

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.addresses.get(key)
        service = next(iter(self.services.by_index(_OF_ADDRESS, key.name)), None)
        resource = self.client.resource(IP_ADDRESSES)
        if held is None:
            if service is not None:
                try:
                    await resource.create(_ip_address(key.name, service), field_manager="kube-apiserver")
                except AlreadyExists:
                    return Result()  # its own event leads here again
            return Result()
        if meta.labels(held).get(_MANAGED_BY) != _ALLOCATOR:
            return Result()  # somebody else's reservation
        where = (meta.namespace(service), meta.name(service)) if service is not None else None
        if where != holder_of(held) and not await self._still_holds(held, key.name):
            await resource.delete(key.name, uid=meta.uid(held))
        return Result()

    async def _still_holds(self, address: JSONObject, name: str) -> bool:
        """Whether the Service that the object names has the address, by the server's own word."""
        namespace, service = holder_of(address)
        try:
            live = await self.client.resource(SERVICES).get(service, namespace=namespace)
        except NotFound:
            return False
        return name in addresses_of(live)


def _ip_address(name: str, service: JSONObject) -> JSONObject:
    family = f"IPv{ip_address(name).version}"
    parent = {"group": "", "resource": "services", "namespace": meta.namespace(service), "name": meta.name(service)}
    metadata = {"name": name, "labels": {_FAMILY: family, _MANAGED_BY: _ALLOCATOR}}
    return {"apiVersion": IP_ADDRESSES.api_version, "kind": "IPAddress", "metadata": metadata, "spec": {"parentRef": parent}}


def range_controller(wiring: Wiring) -> Controller:
    ranges, addresses = wiring.informers.informer(SERVICE_CIDRS), wiring.informers.informer(IP_ADDRESSES)
    reconciler = ServiceCIDRReconciler(ranges, addresses, wiring.client, wiring.clock)
    made = Controller("service-cidrs", reconciler.reconcile, clock=wiring.clock, workers=1)

    def ending(_key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        """What changes elsewhere may let a range go."""
        return [meta.key(held) for held in ranges.list() if meta.deletion_timestamp(held)]

    made.watch(ranges)
    made.watch(ranges, ending)
    made.watch(addresses, ending)
    return made


def address_controller(wiring: Wiring) -> Controller:
    services = wiring.informers.informer(SERVICES, indexers={_OF_ADDRESS: addresses_of})
    addresses = wiring.informers.informer(IP_ADDRESSES)
    made = Controller("ip-addresses", IPAddressReconciler(services, addresses, wiring.client).reconcile, clock=wiring.clock, workers=1)

    def of_service(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        before, after = (set(addresses_of(obj)) if obj is not None else set() for obj in (old, new))
        return [ObjectKey(ClusterName(""), "", ip) for ip in sorted(before ^ after)]

    made.watch(services, of_service)
    made.watch(addresses)
    return made
