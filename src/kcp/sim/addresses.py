"""Cluster IPs and node ports: handed out at the creation of a Service, so that the answer already carries them.

`ClusterAdmission` stands before the ordinary admission chain and fills in what a physical cluster's API server does: addresses and ports
of Services, the selector of Jobs.
Before: `cluster`. After: the Services informer, which says what is taken.
Source: pkg/registry/core/service/storage/alloc.go; pkg/registry/batch/job/strategy.go (generateSelector).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Cause, InternalError, Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Admission, Attributes
from kcp.sim.servicefields import carry_over, kind_of, needs_ports
from kcp.sim.workloads.endpoints import SERVICES

SERVICE_CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs")
IP_ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses")
SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
KUBERNETES_IP = "10.96.0.1"
_FIRST_OFFSET = 11
"""The first ten addresses are for services that want a fixed one, such as DNS."""

NODE_PORTS = range(30000, 32768)

_HELD_FOR_S = 10.0
"""How long an allocation counts before the watch brings its Service: the creation may still fail."""

_Service: TypeAlias = tuple[str, str]
"""Namespace and name."""
Network: TypeAlias = IPv4Network | IPv6Network


def networks_of(service_cidr: Mapping[str, Any]) -> Sequence[Network]:
    return [ip_network(text, strict=False) for text in meta.nested(service_cidr, "spec", "cidrs", default=()) or ()]


def holder_of(address: Mapping[str, Any]) -> _Service:
    """The Service for which an IPAddress stands; empty names where it is for something else."""
    parent = meta.nested(address, "spec", "parentRef", default={})
    is_service = (parent.get("group") or "", parent.get("resource")) == ("", "services")
    return (parent.get("namespace") or "", parent.get("name") or "") if is_service else ("", "")


class Allocator:
    """Addresses and ports in use, by Service; fed by the informers of Services, ServiceCIDRs and IPAddresses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used: dict[str, _Service] = {}
        self._by_service: dict[_Service, frozenset[str]] = {}
        self._held: dict[str, tuple[float, _Service]] = {}
        self._reserved: dict[str, _Service] = {}
        """By IPAddress objects, each for one Service or for something else."""
        self._networks: dict[str, Sequence[IPv4Network]] = {}
        """Of further ServiceCIDRs that are ready, by name."""
        self._next_offset = _FIRST_OFFSET
        self._next_port = 0

    def on_event(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """The informer's handler."""
        service = (key.namespace, key.name)
        for value in self._by_service.pop(service, frozenset()):
            if self._used.get(value) == service:
                del self._used[value]
        if new is None:
            return
        values = frozenset(_taken_by(new))
        self._by_service[service] = values
        for value in values:
            self._used[value] = service
            self._held.pop(value, None)

    def on_range(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """The handler of ServiceCIDRs: a range that is not ready, or on its way out, gives no new addresses."""
        if new is None or meta.deletion_timestamp(new) or not conditions.is_true(new, "Ready"):
            self._networks.pop(key.name, None)
            return
        found = [network for network in networks_of(new) if isinstance(network, IPv4Network) and network != SERVICE_NETWORK]
        self._networks[key.name] = found

    def on_address(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """The handler of IPAddresses."""
        if new is None:
            self._reserved.pop(key.name, None)
        else:
            self._reserved[key.name] = holder_of(new)

    def has(self, address: IPv4Address) -> bool:
        """Whether it is in a range that gives addresses."""
        return address in SERVICE_NETWORK or any(address in network for found in self._networks.values() for network in found)

    def address(self, key: ObjectKey) -> str:
        """A free cluster IP, of the first range that has one. Raises: InternalError when there is none."""
        size = SERVICE_NETWORK.num_addresses - 1
        for _ in range(size):
            address = str(SERVICE_NETWORK[self._next_offset])
            self._next_offset = self._next_offset + 1 if self._next_offset + 1 < size else _FIRST_OFFSET
            if self.take(address, key):
                return address
        for address in self._further():
            if self.take(address, key):
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    def port(self, key: ObjectKey) -> int:
        """A free node port. Raises: InternalError when there is none."""
        for _ in NODE_PORTS:
            port = NODE_PORTS[self._next_port]
            self._next_port = (self._next_port + 1) % len(NODE_PORTS)
            if self.take(str(port), key):
                return port
        raise InternalError("failed to allocate a nodePort: range is full")

    def _further(self) -> Iterator[str]:
        for name in sorted(self._networks):
            for network in self._networks[name]:
                yield from (str(address) for address in network.hosts())

    def take(self, value: str, key: ObjectKey) -> bool:
        """Hold a value for a Service; False where another one has it. Taking again what one has is possible."""
        now, service = self._clock.monotonic(), (key.namespace, key.name)
        if self._reserved.get(value, service) != service:
            return False
        until, holder = self._held.get(value, (now, service))
        if self._used.get(value, service) != service or (until > now and holder != service):
            return False
        if value not in self._used:
            self._held[value] = now + _HELD_FOR_S, service
        return True

    def statistics(self) -> dict[str, int]:
        return {"services": len(self._by_service), "in_use": len(self._used)}


def _taken_by(service: JSONObject) -> Iterable[str]:
    spec = service.get("spec") or {}
    if spec.get("clusterIP") not in (None, "", "None"):
        yield spec["clusterIP"]
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield str(port["nodePort"])


class ClusterAdmission:
    """What a physical cluster's API server fills in, then the chain behind it."""

    def __init__(self, inner: Admission, allocator: Allocator) -> None:
        self._inner = inner
        self._allocator = allocator

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        new, scope = attributes.new, attributes.scope
        if new is not None and not scope.subresource:
            match scope.resource.group_resource.resource:
                case "services" if scope.resource.gvr.group == "":
                    self._address(new, attributes.old, scope.key)
                    self._refuse_taken(new, attributes.old, scope.key)
                case "jobs" if attributes.verb == "CREATE":
                    select_own_pods(new)
        return await self._inner.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        await self._inner.validate(attributes)

    def _address(self, service: JSONObject, old: JSONObject | None, key: ObjectKey) -> None:
        """Allocate what is missing; an update that leaves an address out keeps it."""
        spec = meta.ensure(service, "spec")
        if old is not None:
            carry_over(spec, old.get("spec") or {})
        if kind_of(spec) == "ExternalName":
            return
        if not spec.get("clusterIP"):
            spec["clusterIP"] = next(iter(spec.get("clusterIPs") or ()), "") or self._allocator.address(key)
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if needs_ports(spec):
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = self._allocator.port(key)

    def _refuse_taken(self, service: JSONObject, old: JSONObject | None, key: ObjectKey) -> None:
        """Raises: Invalid for an address or port of another Service, or out of range. Of an address that changes, validation speaks."""
        spec = service["spec"]
        causes = []
        address = spec.get("clusterIP")
        is_first = not meta.nested(old or {}, "spec", "clusterIP")
        if is_first and address not in (None, "", "None") and (fault := self._address_fault(address, key)):
            causes.append(Cause.invalid("spec.clusterIPs", spec["clusterIPs"], f"failed to allocate IP {address}: {fault}"))
        for index, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort")
            if not number or not needs_ports(spec):
                continue
            if number not in NODE_PORTS:
                detail = f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
                causes.append(Cause.invalid(f"spec.ports[{index}].nodePort", number, detail))
            elif not self._allocator.take(str(number), key):
                causes.append(Cause.invalid(f"spec.ports[{index}].nodePort", number, "provided port is already allocated"))
        if causes:
            raise Invalid.of(SERVICES.group_resource, "Service", meta.name(service), causes)

    def _address_fault(self, address: str, key: ObjectKey) -> str:
        """Source: pkg/registry/core/service/ipallocator (ErrMismatchedNetwork, ErrAllocated)."""
        try:
            asked = ip_address(address)
        except ValueError:
            return ""  # no address at all: validation says so
        if not isinstance(asked, IPv4Address) or not self._allocator.has(asked):
            return "the provided network does not match the current range"
        return "" if self._allocator.take(address, key) else "provided IP is already allocated"


def select_own_pods(job: JSONObject) -> None:
    """Give a Job the labels and the selector by which it knows its pods."""
    spec = meta.ensure(job, "spec")
    if spec.get("manualSelector"):
        return
    labels = meta.ensure(spec, "template", "metadata", "labels")
    for prefix in ("batch.kubernetes.io/", ""):
        labels[f"{prefix}controller-uid"] = meta.uid(job)
        labels[f"{prefix}job-name"] = meta.name(job)
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta.uid(job)}}
