"""Rules of Services. Before: `rules`. Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (ValidateService and below)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
_LONGEST_AFFINITY_S = 86400
_HEADLESS = "None"


def service(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    kind = spec.get("type")
    causes = [
        *checks.labels(obj_at(spec, "selector"), "spec.selector"),
        *checks.one_of(spec, "spec", "type", _TYPES),
        *_affinity(spec),
        *checks.one_of(spec, "spec", "externalTrafficPolicy", ("Cluster", "Local")),
        *checks.one_of(spec, "spec", "internalTrafficPolicy", ("Cluster", "Local")),
        *_ports(spec),
        *_by_type(spec, kind),
        *_addresses(spec),
        *_external(spec, kind),
        *_balancer(spec, kind),
    ]
    return [*causes, *_update(spec, obj_at(old, "spec"))] if old is not None else causes


def _affinity(spec: Mapping[str, Any]) -> Iterator[Cause]:
    yield from checks.one_of(spec, "spec", "sessionAffinity", ("ClientIP", "None"))
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") == _HEADLESS and config:
        yield Cause.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")
    seconds = obj_at(config, "clientIP").get("timeoutSeconds")
    if checks.is_int(seconds) and not 0 < seconds <= _LONGEST_AFFINITY_S:
        at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield Cause.invalid(at, seconds, f"must be greater than 0 and less than {_LONGEST_AFFINITY_S}")


def _by_type(spec: Mapping[str, Any], kind: Any) -> Iterator[Cause]:
    is_headless = spec.get("clusterIP") == _HEADLESS
    if not list_at(spec, "ports") and kind != "ExternalName" and not is_headless:
        yield Cause.required("spec.ports")
    if kind in ("LoadBalancer", "NodePort") and is_headless:
        yield Cause.invalid("spec.clusterIPs[0]", _HEADLESS, f"may not be set to 'None' for {kind} services")
    if kind != "ExternalName":
        return
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if held := spec.get(field):
            yield Cause.invalid(f"spec.{field}", held, "may not be set for ExternalName services")
    if not spec.get("externalName"):
        yield Cause.required("spec.externalName")
    yield from checks.named(str(spec.get("externalName") or "").removesuffix("."), "spec.externalName", names.dns1123_subdomain)


def _ports(spec: Mapping[str, Any]) -> Iterator[Cause]:
    seen_names: set[str] = set()
    seen: dict[str, set[tuple[Any, Any]]] = {"port": set(), "nodePort": set()}
    several = len(list_at(spec, "ports")) > 1
    for path, port in numbered(spec, "ports", "spec.ports"):
        name = str(port.get("name") or "")
        if several and not name:
            yield Cause.required(f"{path}.name")
        yield from checks.named(name, f"{path}.name", names.dns1123_label)
        if name and name in seen_names:
            yield Cause.duplicate(f"{path}.name", name)
        seen_names.add(name)
        yield from checks.port(port.get("port"), f"{path}.port")
        yield from checks.one_of(port, path, "protocol", ("SCTP", "TCP", "UDP"))
        yield from checks.port_or_name(port.get("targetPort"), f"{path}.targetPort")
        yield from checks.named(port.get("appProtocol"), f"{path}.appProtocol", names.qualified_name)
        if port.get("nodePort") and spec.get("type") == "ClusterIP":
            yield Cause.forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'")
        yield from _repeated(path, port, seen)


def _repeated(path: str, port: Mapping[str, Any], seen: Mapping[str, set[tuple[Any, Any]]]) -> Iterator[Cause]:
    protocol = port.get("protocol")
    where = (protocol, port.get("port"))
    if where in seen["port"]:
        yield Cause.duplicate(path, {"port": where[1], "protocol": where[0]})
    seen["port"].add(where)
    if port.get("nodePort"):
        outside = (protocol, port["nodePort"])
        if outside in seen["nodePort"]:
            yield Cause.duplicate(f"{path}.nodePort", port["nodePort"])
        seen["nodePort"].add(outside)


def _addresses(spec: Mapping[str, Any]) -> Iterator[Cause]:
    held = list_at(spec, "clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    for index, address in enumerate(held):
        if address == _HEADLESS and index:
            yield Cause.invalid(f"spec.clusterIPs[{index}]", address, "'None' must be the first and only value")
        elif address != _HEADLESS:
            yield from checks.ip(address, f"spec.clusterIPs[{index}]")
    if held and spec.get("clusterIP") is not None and held[0] != spec["clusterIP"]:
        yield Cause.invalid("spec.clusterIPs", held, "first value must match `clusterIP`")
    if len(held) > 2:
        yield Cause.invalid("spec.clusterIPs", held, "may only hold up to 2 values")
    families = list_at(spec, "ipFamilies")
    for index, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            yield Cause.not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        elif family in families[:index]:
            yield Cause.duplicate(f"spec.ipFamilies[{index}]", family)
    policies = ("SingleStack", "PreferDualStack", "RequireDualStack")
    yield from checks.one_of(spec, "spec", "ipFamilyPolicy", policies)


def _external(spec: Mapping[str, Any], kind: Any) -> Iterator[Cause]:
    for index, address in enumerate(list_at(spec, "externalIPs")):
        yield from checks.ip(address, f"spec.externalIPs[{index}]")
    policy = spec.get("externalTrafficPolicy")
    is_reachable = kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and list_at(spec, "externalIPs"))
    if not is_reachable and policy:
        yield Cause.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    if (port := spec.get("healthCheckNodePort")) and not (kind == "LoadBalancer" and policy == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield Cause.invalid("spec.healthCheckNodePort", port, detail)


def _balancer(spec: Mapping[str, Any], kind: Any) -> Iterator[Cause]:
    ranges, is_balanced = list_at(spec, "loadBalancerSourceRanges"), kind == "LoadBalancer"
    if ranges and not is_balanced:
        yield Cause.forbidden("spec.loadBalancerSourceRanges", _ONLY_BALANCED)
    for index, text in enumerate(ranges):
        try:
            ipaddress.ip_network(str(text).strip(), strict=False)
        except ValueError:
            detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield Cause.invalid(f"spec.loadBalancerSourceRanges[{index}]", text, detail)
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balanced:
        yield Cause.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCED)
    if name := spec.get("loadBalancerClass"):
        if not is_balanced:
            yield Cause.forbidden("spec.loadBalancerClass", _ONLY_BALANCED)
        yield from checks.named(name, "spec.loadBalancerClass", names.qualified_name)


def _update(spec: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Cause]:
    """Source: ValidateServiceUpdate, validateServiceClusterIPsUpdate, validateLoadBalancerClassField."""
    addressed = ("ClusterIP", "LoadBalancer", "NodePort")
    if spec.get("type") in addressed and held.get("type") in addressed and held.get("clusterIP"):
        if spec.get("clusterIP") != held["clusterIP"]:
            yield Cause.invalid("spec.clusterIPs[0]", [spec.get("clusterIP") or ""], "may not change once set")
    if spec.get("type") == held.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") != held.get("loadBalancerClass"):
        yield Cause.invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), "may not change once set")
