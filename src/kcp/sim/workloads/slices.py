"""EndpointSlices: of Services with a selector, from their pods; of others, as mirrors of Endpoints that somebody wrote by hand.

The builders are pure. Before: `endpoints`, `mirroring`. After: EndpointSlices, each by its own manager.
Source: pkg/controller/endpointslice, pkg/controller/endpointslicemirroring, staging endpointslice/reconciler.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import merge_patch
from kcp.client.rest import Client
from kcp.controller.informer import Informer
from kcp.sim.workloads.podtemplate import owner_reference, safe_suffix
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, delete_if_there

ENDPOINT_SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
HEADLESS_LABEL = "service.kubernetes.io/headless"
BY_SERVICE = "endpointslice-controller.k8s.io"
BY_MIRRORING = "endpointslicemirroring-controller.k8s.io"
_MOST_ENDPOINTS = 100
"""Per slice. Source: --max-endpoints-per-slice."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Ports = tuple[tuple[str, int, str], ...]
"""(name, number, protocol)"""


def of_service(service: Mapping[str, Any], groups: Mapping[Ports, Sequence[PodView]]) -> list[JSONObject]:
    """Slices of a Service: one per hundred pods with equal ports; one without endpoints where there are no pods.

    Args: groups: pods by the Service's ports on them, each group in order of name.
    """
    found: list[JSONObject] = []
    for ports in sorted(groups):
        pods = groups[ports]
        for start in range(0, len(pods), _MOST_ENDPOINTS):
            number = start // _MOST_ENDPOINTS
            suffix = meta.uid(service) if not found else f"{meta.uid(service)}/{ports}/{number}"
            found.append(_of_pods(service, suffix, ports, pods[start : start + _MOST_ENDPOINTS]))
    return found or [_of_pods(service, meta.uid(service), (), ())]


def _of_pods(service: Mapping[str, Any], suffix: str, ports: Ports, pods: Sequence[PodView]) -> JSONObject:
    labels = {**meta.labels(service), SERVICE_NAME_LABEL: meta.name(service), MANAGED_BY_LABEL: BY_SERVICE}
    if meta.nested(service, "spec", "clusterIP") == "None":
        labels[HEADLESS_LABEL] = ""
    publish_all = bool(meta.nested(service, "spec", "publishNotReadyAddresses"))
    endpoints = [_endpoint(service, pod, ready=publish_all or (pod.is_ready and not pod.terminating)) for pod in pods]
    reference = owner_reference(service, api_version="v1", kind="Service")
    return _slice(service, suffix, labels, reference, ("IPv4", endpoints, ports))


def _endpoint(service: Mapping[str, Any], pod: PodView, *, ready: bool) -> JSONObject:
    made: JSONObject = {
        "addresses": [pod.ip],
        "conditions": {"ready": ready, "serving": pod.is_ready, "terminating": pod.terminating},
        "nodeName": pod.node,
        "targetRef": target_ref(pod),
    }
    if pod.hostname and pod.subdomain == meta.name(service):
        made["hostname"] = pod.hostname
    return made


def target_ref(pod: PodView) -> JSONObject:
    return {"kind": "Pod", "name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid}


def _slice(
    owner: Mapping[str, Any], suffix: str, labels: Mapping[str, str], reference: JSONObject, content: tuple[str, list[JSONObject], Ports]
) -> JSONObject:
    family, endpoints, ports = content
    name = f"{meta.name(owner)}-{safe_suffix(suffix, 5)}"
    metadata = {"name": name, "namespace": meta.namespace(owner), "labels": dict(labels), "ownerReferences": [reference]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": name, "port": number, "protocol": protocol} for name, number, protocol in ports],
    }


def mirrored(endpoints: Mapping[str, Any]) -> list[JSONObject]:
    """Slices that say the same as an Endpoints object: one per subset, family and hundred addresses."""
    labels = {k: v for k, v in meta.labels(endpoints).items() if k != HEADLESS_LABEL}
    labels |= {SERVICE_NAME_LABEL: meta.name(endpoints), MANAGED_BY_LABEL: BY_MIRRORING}
    reference = owner_reference(endpoints, api_version="v1", kind="Endpoints")
    annotations = {k: v for k, v in meta.annotations(endpoints).items() if k != _LAST_APPLIED}
    found: list[JSONObject] = []
    for ports, family, addresses in _subsets(endpoints):
        for start in range(0, len(addresses), _MOST_ENDPOINTS):
            suffix = f"{meta.uid(endpoints)}/{family}/{ports}/{start // _MOST_ENDPOINTS}"
            made = _slice(endpoints, suffix, labels, reference, (family, addresses[start : start + _MOST_ENDPOINTS], ports))
            if annotations:
                made["metadata"]["annotations"] = dict(annotations)
            found.append(made)
    return found


def _subsets(endpoints: Mapping[str, Any]) -> Iterable[tuple[Ports, str, list[JSONObject]]]:
    """Equal ports and families together, in order."""
    groups: dict[tuple[Ports, str], list[JSONObject]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = tuple((p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP") for p in subset.get("ports") or ())
        for part, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(part) or ():
                family = f"IPv{ip_address(address['ip']).version}"
                groups.setdefault((ports, family), []).append(_mirrored_endpoint(address, ready=ready))
    for (ports, family), found in sorted(groups.items(), key=lambda group: group[0]):
        yield ports, family, found


def _mirrored_endpoint(address: Mapping[str, Any], *, ready: bool) -> JSONObject:
    made: JSONObject = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for field in ("hostname", "nodeName", "targetRef"):
        if address.get(field):
            made[field] = address[field]
    return made


@dataclass(frozen=True, slots=True)
class SliceKeeper:
    """Brings the slices of one manager to what they ought to be; those of others are not touched."""

    slices: Informer
    """Indexed by `by_service`, under `INDEX`."""
    client: Client
    manager: str

    async def bring(self, namespace: str, service: str, wanted: Sequence[JSONObject]) -> None:
        """Create, change and delete slices, each only where it differs."""
        held = {meta.name(s): s for s in self.slices.by_index(INDEX, f"{namespace}/{service}") if self._is_ours(s)}
        for made in wanted:
            await self._one(held.pop(meta.name(made), None), made)
        for gone in held.values():
            await delete_if_there(self.client.resource(ENDPOINT_SLICES), meta.name(gone), namespace, meta.uid(gone))

    def _is_ours(self, held: Mapping[str, Any]) -> bool:
        return meta.labels(held).get(MANAGED_BY_LABEL) == self.manager

    async def _one(self, held: JSONObject | None, made: JSONObject) -> None:
        resource = self.client.resource(ENDPOINT_SLICES)
        if held is None:
            try:
                await resource.create(made, field_manager=CONTROLLER_MANAGER)
                return
            except AlreadyExists:
                held = await resource.get(meta.name(made), namespace=meta.namespace(made))
        patch = merge_patch.diff(_compared(held), _compared(made))
        if patch:
            patch.setdefault("metadata", {})["uid"] = meta.uid(held)
            try:
                await resource.patch(meta.name(held), patch, namespace=meta.namespace(held), field_manager=CONTROLLER_MANAGER)
            except NotFound:
                return  # deleted meanwhile: its event brings it back


INDEX = "service"
"""Informer index of slices by namespace and Service."""


def by_service(held: Mapping[str, Any]) -> Iterable[str]:
    service = meta.labels(held).get(SERVICE_NAME_LABEL)
    return (f"{meta.namespace(held)}/{service}",) if service else ()


def to_service(key: ObjectKey, held: Mapping[str, Any] | None) -> Iterable[ObjectKey]:
    """The Service, or the Endpoints, that a slice is of."""
    service = meta.labels(held or {}).get(SERVICE_NAME_LABEL)
    return (ObjectKey(ClusterName(""), key.namespace, service),) if service else ()


def _compared(obj: Mapping[str, Any]) -> JSONObject:
    metadata: JSONObject = {"labels": dict(meta.labels(obj))}
    if meta.annotations(obj):
        metadata["annotations"] = dict(meta.annotations(obj))
    return {"metadata": metadata, **{part: obj[part] for part in ("endpoints", "ports") if obj.get(part)}}
