"""Endpoints and EndpointSlices of Services with a selector: the addresses of their pods, ready and not.

`addresses` and the two builders are pure. Before: `sim.cluster`, which starts it. After: one Endpoints and one EndpointSlice per Service.
Source: pkg/controller/endpoint/endpoints_controller.go, pkg/controller/endpointslice/endpointslice_controller.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import merge_patch
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import owner_reference, safe_suffix
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.wiring import Wiring
from kcp.sim.workloads.writes import CONTROLLER_MANAGER

SERVICES = GVR("", "v1", "services")
ENDPOINTS = GVR("", "v1", "endpoints")
ENDPOINT_SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
_MANAGED_BY = "endpointslice-controller.k8s.io"

_GATHER_S = 0.08
"""Pods of a workload become ready together: waiting a little turns a write per pod into one."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod behind a Service, with the numbers of the Service's ports on it."""

    pod: PodView
    ports: tuple[tuple[str, int, str], ...]
    """(name, number, protocol)"""


def backends(service: Mapping[str, Any], pods: Sequence[PodView]) -> list[Backend]:
    """The pods that have an address and are not finished, in order of name. A named target port that a pod lacks is left out of it."""
    ports = meta.nested(service, "spec", "ports", default=())
    found = []
    for pod in sorted(pods, key=lambda p: p.key):
        if pod.ip and pod.phase not in ("Succeeded", "Failed"):
            numbers = ((p.get("name") or "", _target(p, pod), p.get("protocol") or "TCP") for p in ports)
            found.append(Backend(pod, tuple((name, number, protocol) for name, number, protocol in numbers if number)))
    return found


def _target(port: Mapping[str, Any], pod: PodView) -> int:
    """The number of a service port on a pod; 0 if the pod has no port of that name. Source: podutil.FindPort."""
    target = port.get("targetPort")
    if target is None or target == 0:
        return int(port.get("port") or 0)
    if isinstance(target, int):
        return target
    wanted = port.get("protocol") or "TCP"
    return next((number for name, number, protocol in pod.ports if name == target and protocol == wanted), 0)


def endpoints(service: Mapping[str, Any], pods: Sequence[PodView]) -> JSONObject:
    """The Endpoints object: pods with equal ports share a subset; terminating pods are not in it."""
    subsets: dict[tuple[tuple[str, int, str], ...], JSONObject] = {}
    publish_all = bool(meta.nested(service, "spec", "publishNotReadyAddresses"))
    for backend in backends(service, pods):
        if backend.pod.terminating:
            continue
        subset = subsets.setdefault(backend.ports, {})
        part = "addresses" if backend.pod.is_ready or publish_all else "notReadyAddresses"
        subset.setdefault(part, []).append(_endpoint_address(service, backend.pod))
    for ports, subset in subsets.items():
        if ports:
            subset["ports"] = [_port(*port) for port in ports]
    made: JSONObject = {"apiVersion": "v1", "kind": "Endpoints", "metadata": _metadata(service, meta.name(service))}
    if subsets:
        made["subsets"] = [subsets[ports] for ports in sorted(subsets)]
    return made


def _endpoint_address(service: Mapping[str, Any], pod: PodView) -> JSONObject:
    address: JSONObject = {"ip": pod.ip, "nodeName": pod.node, "targetRef": _target_ref(pod)}
    if pod.hostname and pod.subdomain == meta.name(service):
        address["hostname"] = pod.hostname
    return address


def _target_ref(pod: PodView) -> JSONObject:
    return {"kind": "Pod", "name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid}


def _port(name: str, number: int, protocol: str) -> JSONObject:
    return {**({"name": name} if name else {}), "port": number, "protocol": protocol}


def _metadata(service: Mapping[str, Any], name: str) -> JSONObject:
    return {"name": name, "namespace": meta.namespace(service), "labels": dict(meta.labels(service))}


def endpoint_slice(service: Mapping[str, Any], pods: Sequence[PodView]) -> JSONObject:
    """One EndpointSlice with all endpoints. Ports that differ between pods are those of the first; upstream makes a slice for each."""
    found = backends(service, pods)
    publish_all = bool(meta.nested(service, "spec", "publishNotReadyAddresses"))
    named = _metadata(service, f"{meta.name(service)}-{safe_suffix(meta.uid(service), 5)}")
    named["labels"] |= {SERVICE_NAME_LABEL: meta.name(service), MANAGED_BY_LABEL: _MANAGED_BY}
    if meta.nested(service, "spec", "clusterIP") == "None":
        named["labels"]["service.kubernetes.io/headless"] = ""
    named["ownerReferences"] = [owner_reference(service, api_version="v1", kind="Service")]
    ports = found[0].ports if found else ()
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": named,
        "addressType": "IPv4",
        "endpoints": [_endpoint(service, b.pod, ready=publish_all or (b.pod.is_ready and not b.pod.terminating)) for b in found],
        "ports": [{"name": name, "port": number, "protocol": protocol} for name, number, protocol in ports],
    }


def _endpoint(service: Mapping[str, Any], pod: PodView, *, ready: bool) -> JSONObject:
    made: JSONObject = {
        "addresses": [pod.ip],
        "conditions": {"ready": ready, "serving": pod.is_ready, "terminating": pod.terminating},
        "nodeName": pod.node,
        "targetRef": _target_ref(pod),
    }
    if pod.hostname and pod.subdomain == meta.name(service):
        made["hostname"] = pod.hostname
    return made


@dataclass
class EndpointsReconciler:
    """Keeps both objects of one Service."""

    services: Informer
    endpoints: Informer
    slices: Informer
    pods: PodBook
    client: Client

    async def reconcile(self, key: ObjectKey) -> Result:
        service = self.services.get(key)
        if service is None:
            await self._remove_endpoints(key)  # the slice goes with its owner reference
            return Result()
        labels = meta.nested(service, "spec", "selector")
        if not labels or meta.deletion_timestamp(service):
            return Result()  # somebody else's endpoints
        pods = self.pods.selected(key.namespace, LabelSelector.from_labels(labels))
        await self._bring(ENDPOINTS, self.endpoints, endpoints(service, pods), ("subsets",))
        await self._bring(ENDPOINT_SLICES, self.slices, endpoint_slice(service, pods), ("endpoints", "ports"))
        return Result()

    async def _bring(self, gvr: GVR, informer: Informer, wanted: JSONObject, parts: Sequence[str]) -> None:
        """Create the object, or change its labels and `parts` where they differ."""
        resource = self.client.resource(gvr)
        held = informer.get(ObjectKey(meta.cluster(wanted), meta.namespace(wanted), meta.name(wanted)))
        if held is None:
            try:
                await resource.create(wanted, field_manager=CONTROLLER_MANAGER)
                return
            except AlreadyExists:
                held = await resource.get(meta.name(wanted), namespace=meta.namespace(wanted))
        patch = merge_patch.diff(_compared(held, parts), _compared(wanted, parts))
        if patch:
            patch.setdefault("metadata", {})["uid"] = meta.uid(held)
            await resource.patch(meta.name(held), patch, namespace=meta.namespace(held), field_manager=CONTROLLER_MANAGER)

    async def _remove_endpoints(self, key: ObjectKey) -> None:
        """Endpoints have no owner reference: the controller deletes them itself, as upstream."""
        if key not in self.endpoints:
            return
        try:
            await self.client.resource(ENDPOINTS).delete(key.name, namespace=key.namespace)
        except NotFound:
            return  # gone already


def _compared(obj: Mapping[str, Any], parts: Sequence[str]) -> JSONObject:
    return {"metadata": {"labels": dict(meta.labels(obj))}, **{part: obj[part] for part in parts if obj.get(part)}}


def controller(wiring: Wiring) -> Controller:
    services, held = wiring.informers.informer(SERVICES), wiring.informers.informer(ENDPOINTS)
    slices = wiring.informers.informer(ENDPOINT_SLICES)
    reconciler = EndpointsReconciler(services, held, slices, wiring.pods, wiring.client)
    made = Controller("endpoints", reconciler.reconcile, clock=wiring.clock, workers=2)
    selectors: dict[str, dict[ObjectKey, LabelSelector]] = {}

    def know(key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """Keep the selectors, per namespace, at hand for pod events."""
        there = selectors.setdefault(key.namespace, {})
        there.pop(key, None)
        labels = meta.nested(new or {}, "spec", "selector")
        if labels:
            there[key] = LabelSelector.from_labels(labels)
        if not there:
            del selectors[key.namespace]
        made.enqueue_after(key, _GATHER_S)

    def listen(before: PodView | None, after: PodView | None) -> None:
        """Wake the Services that select the pod, or did; a pod without an address is of no interest yet."""
        seen = [p for p in (before, after) if p is not None and p.ip]
        for pod in seen:
            for key, selector in selectors.get(pod.key.namespace, {}).items():
                if selector.matches(pod.labels):
                    made.enqueue_after(key, _GATHER_S)

    services.add_handler(know)
    wiring.pods.listen(listen)
    return made
