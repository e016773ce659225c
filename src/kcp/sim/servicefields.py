"""What an update of a Service need not say, and what goes with a change of its type. Pure.

Before: `addresses`. Source: k8s.io/kubernetes/pkg/registry/core/service/{strategy.go (dropTypeDependentFields),storage/storage.go
(patchAllocatedValues, normalizeClusterIPs)}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery.meta import JSONObject

_ADDRESSED = ("ClusterIP", "LoadBalancer", "NodePort")


def kind_of(spec: Mapping[str, Any]) -> str:
    return str(spec.get("type") or "ClusterIP")


def needs_ports(spec: Mapping[str, Any]) -> bool:
    kind = kind_of(spec)
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False)


def carry_over(spec: JSONObject, held: Mapping[str, Any]) -> None:
    """Keep what was allocated where the update leaves it out, and let go of what the new type has no use for and the client left as is."""
    _normalize(spec, held)
    both = kind_of(spec) in _ADDRESSED and kind_of(held) in _ADDRESSED
    if both:
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and held.get(field):
                spec[field] = held[field]
    if needs_ports(spec) and needs_ports(held):
        _keep_ports(spec, held)
    _drop(spec, held)


def _normalize(spec: JSONObject, held: Mapping[str, Any]) -> None:
    """The list follows the single address where the client changed only that."""
    if spec.get("clusterIP") != held.get("clusterIP") and spec.get("clusterIPs") == held.get("clusterIPs"):
        if spec.get("clusterIP"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        else:
            spec.pop("clusterIPs", None)


def _keep_ports(spec: JSONObject, held: Mapping[str, Any]) -> None:
    """By name, else by protocol and port; never one that another port of the update has taken."""
    used = {port.get("nodePort") for port in spec.get("ports") or ()}
    before = {port.get("name") or "": port.get("nodePort") for port in held.get("ports") or ()}
    by_port = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in held.get("ports") or ()}
    for port in spec.get("ports") or ():
        if not port.get("nodePort"):
            kept = before.get(port.get("name") or "") or by_port.get((port.get("protocol"), port.get("port")))
            if kept and kept not in used:
                port["nodePort"] = kept
                used.add(kept)


def _drop(spec: JSONObject, held: Mapping[str, Any]) -> None:
    kind = kind_of(spec)
    gone: list[str] = []
    if kind not in _ADDRESSED and kind_of(held) in _ADDRESSED:
        gone += ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
    if kind not in ("LoadBalancer", "NodePort") and not (kind == "ClusterIP" and spec.get("externalIPs")):
        gone.append("externalTrafficPolicy")
    if kind != "LoadBalancer":
        gone += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    if not (kind == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"):
        gone.append("healthCheckNodePort")
    for field in gone:
        if field in spec and spec[field] == held.get(field):
            del spec[field]
    if not needs_ports(spec) and needs_ports(held):
        before = [port.get("nodePort") for port in held.get("ports") or ()]
        ports = spec.get("ports") or ()
        if [port.get("nodePort") for port in ports] == before:
            for port in ports:
                port.pop("nodePort", None)
