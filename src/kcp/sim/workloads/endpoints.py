"""Endpoints and EndpointSlices of Services with a selector: the addresses of their pods, ready and not.

The builders are pure. Before: `sim.cluster`, which starts it. After: one Endpoints per Service, and its `slices`.
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
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.slices import (
    BY_SERVICE,
    ENDPOINT_SLICES,
    HEADLESS_LABEL,
    INDEX,
    Ports,
    SliceKeeper,
    by_service,
    of_service,
    target_ref,
    to_service,
)
from kcp.sim.workloads.wiring import Wiring
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, IDLE_S, delete_if_there

SERVICES = GVR("", "v1", "services")
ENDPOINTS = GVR("", "v1", "endpoints")

MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
_MANAGED_BY = "endpoint-controller"
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MOST_ADDRESSES = 1_000
"""Of one Endpoints object; further ones are in the slices only. Source: maxCapacity, truncateEndpoints."""

_GATHER_S = 0.08
"""Pods of a workload become ready together: waiting a little turns a write per pod into one."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod behind a Service, with the numbers of the Service's ports on it."""

    pod: PodView
    ports: Ports


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
    subsets: dict[Ports, JSONObject] = {}
    publish_all = bool(meta.nested(service, "spec", "publishNotReadyAddresses"))
    found = [backend for backend in backends(service, pods) if not backend.pod.terminating]
    is_cut = len(found) > _MOST_ADDRESSES
    for backend in sorted(found, key=lambda b: not b.pod.is_ready)[:_MOST_ADDRESSES] if is_cut else found:
        subset = subsets.setdefault(backend.ports, {})
        part = "addresses" if backend.pod.is_ready or publish_all else "notReadyAddresses"
        subset.setdefault(part, []).append(_endpoint_address(service, backend.pod))
    for ports, subset in subsets.items():
        if ports:
            subset["ports"] = [_port(*port) for port in ports]
    made: JSONObject = {"apiVersion": "v1", "kind": "Endpoints", "metadata": _metadata(service)}
    if is_cut:
        made["metadata"]["annotations"] = {_OVER_CAPACITY: "truncated"}
    if subsets:
        made["subsets"] = [subsets[ports] for ports in sorted(subsets)]
    return made


def _endpoint_address(service: Mapping[str, Any], pod: PodView) -> JSONObject:
    address: JSONObject = {"ip": pod.ip, "nodeName": pod.node, "targetRef": target_ref(pod)}
    if pod.hostname and pod.subdomain == meta.name(service):
        address["hostname"] = pod.hostname
    return address


def _port(name: str, number: int, protocol: str) -> JSONObject:
    return {**({"name": name} if name else {}), "port": number, "protocol": protocol}


def _metadata(service: Mapping[str, Any]) -> JSONObject:
    labels = {**meta.labels(service), MANAGED_BY_LABEL: _MANAGED_BY}
    if meta.nested(service, "spec", "clusterIP") == "None":
        labels[HEADLESS_LABEL] = ""
    return {"name": meta.name(service), "namespace": meta.namespace(service), "labels": labels}


def endpoint_slices(service: Mapping[str, Any], pods: Sequence[PodView]) -> list[JSONObject]:
    """The same as EndpointSlices, those that end included."""
    groups: dict[Ports, list[PodView]] = {}
    for backend in backends(service, pods):
        groups.setdefault(backend.ports, []).append(backend.pod)
    return of_service(service, groups)


@dataclass
class EndpointsReconciler:
    """Keeps both objects of one Service."""

    services: Informer
    endpoints: Informer
    slices: SliceKeeper
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
        await self._bring(endpoints(service, pods))
        await self.slices.bring(key.namespace, key.name, endpoint_slices(service, pods))
        return Result()

    async def _bring(self, wanted: JSONObject) -> None:
        """Create the Endpoints, or change what differs."""
        resource = self.client.resource(ENDPOINTS)
        held = self.endpoints.get(ObjectKey(meta.cluster(wanted), meta.namespace(wanted), meta.name(wanted)))
        if held is None:
            try:
                await resource.create(wanted, field_manager=CONTROLLER_MANAGER)
                return
            except AlreadyExists:
                held = await resource.get(meta.name(wanted), namespace=meta.namespace(wanted))
        patch = merge_patch.diff(_compared(held), _compared(wanted))
        if patch:
            patch.setdefault("metadata", {})["uid"] = meta.uid(held)
            await resource.patch(meta.name(held), patch, namespace=meta.namespace(held), field_manager=CONTROLLER_MANAGER)

    async def _remove_endpoints(self, key: ObjectKey) -> None:
        """Endpoints have no owner reference: the controller deletes them itself, as upstream; not on the word of a mirror alone."""
        held = self.endpoints.get(key)
        if held is None:
            return
        try:
            await self.client.resource(SERVICES).get(key.name, namespace=key.namespace)
        except NotFound:
            await delete_if_there(self.client.resource(ENDPOINTS), key.name, key.namespace, meta.uid(held))


def _compared(obj: Mapping[str, Any]) -> JSONObject:
    metadata: JSONObject = {"labels": dict(meta.labels(obj))}
    if (over := meta.annotations(obj).get(_OVER_CAPACITY)) is not None:
        metadata["annotations"] = {_OVER_CAPACITY: over}
    return {"metadata": metadata, **({"subsets": obj["subsets"]} if obj.get("subsets") else {})}


def controller(wiring: Wiring) -> Controller:
    services, held = wiring.informers.informer(SERVICES), wiring.informers.informer(ENDPOINTS)
    slices = wiring.informers.informer(ENDPOINT_SLICES, indexers={INDEX: by_service})
    keeper = SliceKeeper(slices, wiring.client, BY_SERVICE)
    reconciler = EndpointsReconciler(services, held, keeper, wiring.pods, wiring.client)
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

    def missed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        """What somebody else deletes or changes is put right."""
        if old is not None and key in services:
            made.enqueue_after(key, IDLE_S)

    def missed_slice(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        for service in to_service(key, old):
            missed(service, old, new)

    services.add_handler(know)
    held.add_handler(missed)
    slices.add_handler(missed_slice)
    wiring.pods.listen(listen)
    return made
