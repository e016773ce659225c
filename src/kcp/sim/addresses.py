"""Cluster IPs and node ports: handed out at the creation of a Service, so that the answer already carries them.

`ClusterAdmission` stands before the ordinary admission chain and fills in what a physical cluster's API server does: addresses and ports
of Services, the selector of Jobs, how long pods outlive their node.
Before: `cluster`. After: the Services informer, which says what is taken.
Source: pkg/registry/core/service/storage/alloc.go; pkg/registry/batch/job/strategy.go (generateSelector).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, InternalError, Invalid
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Admission, Attributes
from kcp.sim.workloads.endpoints import SERVICES
from kcp.sim.workloads.taints import tolerate_for_a_while

SERVICE_NETWORK = IPv4Network("10.96.0.0/16")
KUBERNETES_IP = "10.96.0.1"
_FIRST_OFFSET = 11
"""The first ten addresses are for services that want a fixed one, such as DNS."""

NODE_PORTS = range(30000, 32768)

_HELD_FOR_S = 10.0
"""How long an allocation counts before the watch brings its Service: the creation may still fail."""


class Allocator:
    """Addresses and ports in use, by Service; fed by the Services informer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used: dict[str, ObjectKey] = {}
        self._by_service: dict[ObjectKey, frozenset[str]] = {}
        self._held: dict[str, float] = {}
        self._next_offset = _FIRST_OFFSET
        self._next_port = 0

    def on_event(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """The informer's handler."""
        for value in self._by_service.pop(key, frozenset()):
            if self._used.get(value) == key:
                del self._used[value]
        if new is None:
            return
        values = frozenset(_taken_by(new))
        self._by_service[key] = values
        for value in values:
            self._used[value] = key
            self._held.pop(value, None)

    def owner(self, value: str) -> ObjectKey | None:
        return self._used.get(value)

    def address(self) -> str:
        """A free cluster IP. Raises: InternalError when there is none."""
        size = SERVICE_NETWORK.num_addresses - 1
        for _ in range(size):
            address = str(SERVICE_NETWORK[self._next_offset])
            self._next_offset = self._next_offset + 1 if self._next_offset + 1 < size else _FIRST_OFFSET
            if self._take(address):
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    def port(self) -> int:
        """A free node port. Raises: InternalError when there is none."""
        for _ in NODE_PORTS:
            port = NODE_PORTS[self._next_port]
            self._next_port = (self._next_port + 1) % len(NODE_PORTS)
            if self._take(str(port)):
                return port
        raise InternalError("failed to allocate a nodePort: range is full")

    def _take(self, value: str) -> bool:
        now = self._clock.monotonic()
        if value in self._used or self._held.get(value, now) > now:
            return False
        self._held[value] = now + _HELD_FOR_S
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
                    self._address(new, attributes.old)
                    self._refuse_taken(new, scope.key)
                case "pods" if attributes.verb == "CREATE":
                    tolerate_for_a_while(new)
                case "jobs" if attributes.verb == "CREATE":
                    select_own_pods(new)
        return await self._inner.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        await self._inner.validate(attributes)

    def _address(self, service: JSONObject, old: JSONObject | None) -> None:
        """Allocate what is missing; an update that leaves an address out keeps it."""
        spec = meta.ensure(service, "spec")
        kind = spec.get("type") or "ClusterIP"
        if kind == "ExternalName":
            for name in ("clusterIP", "clusterIPs"):
                spec.pop(name, None)
            return
        if not spec.get("clusterIP"):
            spec["clusterIP"] = meta.nested(old or {}, "spec", "clusterIP") or self._allocator.address()
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if kind not in ("NodePort", "LoadBalancer"):
            for port in spec.get("ports") or ():
                if old is not None:
                    port.pop("nodePort", None)
            return
        if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
            return
        before = {(p.get("name"), p.get("port")): p.get("nodePort") for p in meta.nested(old or {}, "spec", "ports", default=())}
        for port in spec.get("ports") or ():
            if not port.get("nodePort"):
                port["nodePort"] = before.get((port.get("name"), port.get("port"))) or self._allocator.port()

    def _refuse_taken(self, service: JSONObject, key: ObjectKey) -> None:
        """Raises: Invalid for an address or port of another Service."""
        spec = service["spec"]
        causes = []
        address = spec.get("clusterIP")
        if address not in (None, "", "None") and self._is_taken(address, key):
            causes.append(Cause.invalid("spec.clusterIPs", [address], f"failed to allocate IP {address}: provided IP is already allocated"))
        for index, port in enumerate(spec.get("ports") or ()):
            if port.get("nodePort") and self._is_taken(str(port["nodePort"]), key):
                causes.append(Cause.invalid(f"spec.ports[{index}].nodePort", port["nodePort"], "provided port is already allocated"))
        if causes:
            raise Invalid.of(SERVICES.group_resource, "Service", meta.name(service), causes)

    def _is_taken(self, value: str, key: ObjectKey) -> bool:
        owner = self._allocator.owner(value)
        return owner is not None and (owner.namespace, owner.name) != (key.namespace, key.name)


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
