"""Texts for the `Warning` headers that a create or update of Kubernetes' own kinds is answered with.

Loaded with the first such write. Before: `registry.builtin`. After: `pod_warnings`.
Source: WarningsOnCreate and WarningsOnUpdate of the strategies under k8s.io/kubernetes/pkg/registry, pkg/api/service/warnings.go,
pkg/api/persistentvolume/util.go, k8s.io/apimachinery/pkg/util/validation/ip.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import meta, names
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject, name
from kcp.apis.kubernetes import pod_warnings
from kcp.apis.kubernetes.checks import is_int, list_at, numbered, obj_at

_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "PodTemplate": ("template",),
}
_IN_POD_NAMES = frozenset(("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "Job", "CronJob"))
_SURPRISING = "which can result in surprising behavior; a DNS label is recommended"


def warnings_of(gvk: GVK, new: JSONObject, old: JSONObject | None) -> Sequence[str]:
    """Args: old: None for a creation."""
    if gvk.kind == "Pod":
        return list(_pod(new)) if old is None else ()  # upstream spares the many updates of pods
    if gvk.kind in _TEMPLATES:
        return list(_owner(gvk.kind, new, old))
    if gvk.kind == "Service":
        return list(_service(new))
    if gvk.kind == "PersistentVolumeClaim":
        return list(pod_warnings.of_claim(obj_at(new, "spec"), "spec"))
    if gvk.kind == "PersistentVolume":
        return list(_volume(new))
    return list(_ingress(new)) if old is None else ()


def _pod(new: JSONObject) -> Iterator[str]:
    if faults := names.dns1123_label(name(new)):
        yield f"metadata.name: this is used in the Pod's hostname, {_SURPRISING}: [{' '.join(faults)}]"
    yield from pod_warnings.of_pods(new, "")


def _owner(kind: str, new: JSONObject, old: JSONObject | None) -> Iterator[str]:
    if old is not None and new.get("spec") == old.get("spec") and new.get("template") == old.get("template"):
        return
    if old is None and kind in _IN_POD_NAMES and (faults := names.dns1123_label(name(new))):
        yield f"metadata.name: this is used in Pod names and hostnames, {_SURPRISING}: [{' '.join(faults)}]"
    path = _TEMPLATES[kind]
    yield from pod_warnings.of_pods(obj_at(new, *path), ".".join(path) + ".")
    if kind == "StatefulSet":
        yield from _stateful_set(obj_at(new, "spec"))


def _stateful_set(spec: Mapping[str, Any]) -> Iterator[str]:
    for path, claim in numbered(spec, "volumeClaimTemplates", "spec.volumeClaimTemplates"):
        yield from pod_warnings.of_claim(obj_at(claim, "spec"), f"{path}.spec")
    limit = spec.get("revisionHistoryLimit")
    if is_int(limit) and limit < 0:
        yield "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"


def _service(service: JSONObject) -> Iterator[str]:
    spec = obj_at(service, "spec")
    external, kind = list_at(spec, "externalIPs"), spec.get("type")
    is_headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if "service.kubernetes.io/topology-aware-hints" in meta.annotations(service):
        hints, mode = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
        yield f"annotation {hints} is deprecated, please use {mode} instead"
    if spec.get("clusterIP") not in (None, "", "None"):
        yield from _all_of_addresses(spec, "clusterIPs")
    if is_headless:
        ignored = {
            "loadBalancerIP": bool(spec.get("loadBalancerIP")),
            "externalIPs": bool(external),
            "SessionAffinity": spec.get("sessionAffinity") != "None",
        }
        yield from (f"spec.{field} is ignored for headless services" for field, is_set in ignored.items() if is_set)
    yield from _all_of_addresses(spec, "externalIPs")
    if external and not is_headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.get("loadBalancerIP"):
        yield from _of_address("spec.loadBalancerIP", spec["loadBalancerIP"])
    for index, network in enumerate(list_at(spec, "loadBalancerSourceRanges")):
        yield from _of_network(f"spec.loadBalancerSourceRanges[{index}]", str(network).strip())
    if kind == "ExternalName" and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _all_of_addresses(spec: Mapping[str, Any], field: str) -> Iterator[str]:
    for index, address in enumerate(list_at(spec, field)):
        yield from _of_address(f"spec.{field}[{index}]", str(address))


def _of_address(at: str, text: str) -> Iterator[str]:
    """Source: GetWarningsForIP."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return
    if found.version == 6 and (inner := ipaddress.IPv6Address(text).ipv4_mapped) is not None:
        yield f'{at}: non-standard IP address "{text}" will be considered invalid in a future Kubernetes release: use "{inner}"'
    elif str(found) != text:
        yield f'{at}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{found}")'


def _of_network(at: str, text: str) -> Iterator[str]:
    """Source: GetWarningsForCIDR."""
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        return
    network = found.network
    if found.ip != network.network_address:
        yield f'{at}: CIDR value "{text}" is ambiguous in this context (should be "{network}" or "{found.ip}/{found.max_prefixlen}"?)'
    elif found.version == 6 and str(network) != text:
        yield f'{at}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{network}")'


def _volume(volume: JSONObject) -> Iterator[str]:
    spec, marks = obj_at(volume, "spec"), meta.annotations(volume)
    for key, field, since in (
        ("volume.beta.kubernetes.io/storage-class", "storageClassName", "v1.8"),
        ("volume.beta.kubernetes.io/mount-options", "mountOptions", "v1.31"),
    ):
        if key in marks:
            yield f'metadata.annotations[{key}]: deprecated since {since}; use "{field}" attribute instead'
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        advice = "Instead, the recommended approach is to use dynamic provisioning."
        yield f"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. {advice}"
    at = "spec.nodeAffinity.required.nodeSelectorTerms"
    yield from pod_warnings.of_terms(numbered(obj_at(spec, "nodeAffinity", "required"), "nodeSelectorTerms", at))


def _ingress(ingress: JSONObject) -> Iterator[str]:
    key = "kubernetes.io/ingress.class"
    if key in meta.annotations(ingress) and obj_at(ingress, "spec").get("ingressClassName") is None:
        yield f"annotation \"{key}\" is deprecated, please use 'spec.ingressClassName' instead"
