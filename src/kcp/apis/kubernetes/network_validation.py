"""Rules of network policies, ingress classes, endpoints, and address ranges. Before: `rules`.

Source: k8s.io/kubernetes/pkg/apis/{networking,discovery,core}/validation/validation.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_NO_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_NO_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ENDPOINTS, _MOST_ADDRESSES, _MOST_PORTS = 1000, 100, 20000
_LONGEST_CONTROLLER = 250


def network_policy(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = list(checks.selector(spec.get("podSelector"), "spec.podSelector"))
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for path, rule in numbered(spec, way, f"spec.{way}"):
            for at, port in numbered(rule, "ports", f"{path}.ports"):
                causes += _policy_port(port, at)
            for at, peer in numbered(rule, peers, f"{path}.{peers}"):
                causes += _peer(peer, at)
    types = list_at(spec, "policyTypes")
    if len(types) > 2:
        causes.append(Cause.invalid("spec.policyTypes", types, "may not specify more than two policyTypes"))
        return causes
    causes += [
        Cause.not_supported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
        for index, kind in enumerate(types)
        if kind not in ("Egress", "Ingress")
    ]
    return causes


def _policy_port(port: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.one_of(port, at, "protocol", _PROTOCOLS)
    first, last = port.get("port"), port.get("endPort")
    yield from checks.port_or_name(first, f"{at}.port")
    if last is None:
        return
    if first is None:
        yield Cause.invalid(f"{at}.endPort", last, "may not be specified when `port` is not specified")
    elif isinstance(first, str):
        yield Cause.invalid(f"{at}.endPort", last, "may not be specified when `port` is non-numeric")
    elif checks.is_int(first) and checks.is_int(last) and last < first:
        yield Cause.invalid(f"{at}.endPort", last, "must be greater than or equal to `port`")
    yield from checks.port(last, f"{at}.endPort")


def _peer(peer: Mapping[str, Any], at: str) -> Iterator[Cause]:
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None]
    if not given:
        yield Cause.required(at, "must specify a peer")
    elif len(given) > 1 and "ipBlock" in given:
        yield Cause.forbidden(at, "may not specify both ipBlock and another peer")
    for field in ("podSelector", "namespaceSelector"):
        yield from checks.selector(peer.get(field), f"{at}.{field}")
    if block := obj_at(peer, "ipBlock"):
        yield from _ip_block(block, f"{at}.ipBlock")


def _ip_block(block: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if not block.get("cidr"):
        yield Cause.required(f"{at}.cidr")
        return
    whole = _network(block["cidr"])
    if whole is None:
        yield Cause.invalid(f"{at}.cidr", block["cidr"], _NO_CIDR)
        return
    for index, text in enumerate(list_at(block, "except")):
        part = _network(text)
        if part is None:
            yield Cause.invalid(f"{at}.except[{index}]", text, _NO_CIDR)
        elif part.version != whole.version or part == whole or not part.subnet_of(whole):  # type: ignore[arg-type]
            yield Cause.invalid(f"{at}.except[{index}]", text, "must be a strict subset of `cidr`")


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if isinstance(text, str) and "/" in text else None
    except ValueError:
        return None


def ingress_class(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    controller = str(spec.get("controller") or "")
    causes: list[Cause] = []
    if len(controller) > _LONGEST_CONTROLLER:
        causes.append(Cause.too_long("spec.controller", _LONGEST_CONTROLLER))
    causes += _domain_path(controller, "spec.controller")
    parameters = spec.get("parameters")
    if isinstance(parameters, Mapping):
        causes += _class_parameters(parameters, "spec.parameters")
    if old is not None:
        causes += checks.unchanged(controller, obj_at(old, "spec").get("controller") or "", "spec.controller")
    return causes


def _domain_path(text: str, at: str) -> Iterator[Cause]:
    """Source: k8s.io/apimachinery/pkg/util/validation.IsDomainPrefixedPath."""
    host, slash, path = text.partition("/")
    if not text:
        yield Cause.required(at)
    elif not slash or not host or not path:
        yield Cause.invalid(at, text, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        yield from checks.named(host, at, names.dns1123_subdomain)


def _class_parameters(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.named(held.get("apiGroup"), f"{at}.apiGroup", names.dns1123_subdomain)
    yield from checks.required(held, at, "kind", "name")
    scope, namespace = held.get("scope"), held.get("namespace")
    if scope is None:
        yield Cause.required(f"{at}.scope")
        return
    yield from checks.one_of(held, at, "scope", ("Cluster", "Namespace"))
    if scope == "Namespace" and not namespace:
        yield Cause.required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster" and namespace is not None:
        yield Cause.forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")


def endpoints(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    causes: list[Cause] = []
    for path, subset in numbered(new, "subsets", "subsets"):
        if not list_at(subset, "addresses") and not list_at(subset, "notReadyAddresses"):
            causes.append(Cause.required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for at, address in numbered(subset, field, f"{path}.{field}"):
                causes += _address(address.get("ip"), f"{at}.ip")
                causes += checks.named(address.get("hostname"), f"{at}.hostname", names.dns1123_label)
                causes += checks.named(address.get("nodeName"), f"{at}.nodeName", names.dns1123_subdomain)
        several = len(list_at(subset, "ports")) > 1
        for at, port in numbered(subset, "ports", f"{path}.ports"):
            if several and not port.get("name"):
                causes.append(Cause.required(f"{at}.name"))
            causes += checks.named(port.get("name"), f"{at}.name", names.dns1123_label)
            causes += checks.port(port.get("port"), f"{at}.port")
            causes += checks.one_of(port, at, "protocol", _PROTOCOLS)
    return causes


def _address(text: Any, at: str) -> Iterator[Cause]:
    try:
        found = ipaddress.ip_address(str(text))
    except ValueError:
        yield Cause.invalid(at, text, _NO_ADDRESS)
        return
    for is_bad, what in (
        (found.is_unspecified, "may not be unspecified"),
        (found.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (found.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
    ):
        if is_bad:
            yield Cause.invalid(at, text, f"{what} ({text})" if found.is_unspecified else what)


def endpoint_slice(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    kind = new.get("addressType")
    causes: list[Cause] = []
    if not kind:
        causes.append(Cause.required("addressType"))
    causes += checks.one_of(new, "", "addressType", _ADDRESS_TYPES) if kind else ()
    if len(list_at(new, "endpoints")) > _MOST_ENDPOINTS:
        causes.append(checks.too_many("endpoints", len(list_at(new, "endpoints")), _MOST_ENDPOINTS))
    for path, endpoint in numbered(new, "endpoints", "endpoints"):
        causes += _endpoint(endpoint, path, kind)
    seen: set[str] = set()
    for path, port in numbered(new, "ports", "ports"):
        name = str(port.get("name") or "")
        causes += checks.named(name, f"{path}.name", names.dns1123_label)
        if name in seen:
            causes.append(Cause.duplicate(f"{path}.name", name))
        seen.add(name)
        causes += checks.one_of(port, path, "protocol", _PROTOCOLS)
        causes += checks.port(port.get("port"), f"{path}.port")
        causes += checks.named(port.get("appProtocol"), f"{path}.appProtocol", names.qualified_name)
    if old is not None:
        causes += checks.unchanged(kind, old.get("addressType"), "addressType")
    return causes


def _endpoint(endpoint: Mapping[str, Any], at: str, kind: Any) -> Iterator[Cause]:
    addresses = list_at(endpoint, "addresses")
    if not addresses:
        yield Cause.required(f"{at}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MOST_ADDRESSES:
        yield checks.too_many(f"{at}.addresses", len(addresses), _MOST_ADDRESSES)
    for index, text in enumerate(addresses):
        where = f"{at}.addresses[{index}]"
        if kind == "FQDN":
            yield from checks.named(text, where, names.dns1123_subdomain)
        elif kind in ("IPv4", "IPv6"):
            yield from _of_family(text, where, kind)
    yield from checks.named(endpoint.get("nodeName"), f"{at}.nodeName", names.dns1123_subdomain)
    yield from checks.named(endpoint.get("hostname"), f"{at}.hostname", names.dns1123_label)


def _of_family(text: Any, at: str, kind: str) -> Iterator[Cause]:
    try:
        found = ipaddress.ip_address(str(text))
    except ValueError:
        yield Cause.invalid(at, text, _NO_ADDRESS)
        return
    if f"IPv{found.version}" != kind:
        yield Cause.invalid(at, text, f"must be an {kind} address")
        return
    yield from _address(text, at)


def service_cidr(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    cidrs = list_at(new, "spec", "cidrs")
    causes: list[Cause] = []
    if not cidrs:
        causes.append(Cause.required("spec.cidrs", "at least one CIDR required"))
    if len(cidrs) > 2:
        causes.append(Cause.invalid("spec", obj_at(new, "spec"), "must only specify up to two values, one of each IP family"))
    families = []
    for index, text in enumerate(cidrs):
        network = _network(text)
        if network is None:
            causes.append(Cause.invalid(f"spec.cidrs[{index}]", text, _NO_CIDR))
        else:
            families.append(network.version)
    if len(families) == 2 and families[0] == families[1]:
        causes.append(
            Cause.invalid(
                "spec", obj_at(new, "spec"), "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            )
        )
    if old is not None:
        causes += checks.unchanged(cidrs, list_at(old, "spec", "cidrs"), "spec.cidrs")
    return causes


def ip_address(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    parent = obj_at(new, "spec", "parentRef")
    causes: list[Cause] = []
    if not parent:
        return [Cause.required("spec.parentRef")]
    causes += checks.required(parent, "spec.parentRef", "resource", "name")
    if old is not None:
        causes += checks.unchanged(parent, obj_at(old, "spec", "parentRef"), "spec.parentRef")
    return causes


def ip_name(name: str) -> list[str]:
    """Source: k8s.io/kubernetes/pkg/apis/networking/validation.ValidateIPAddressName."""
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return [_NO_ADDRESS]
    return [] if str(found) == name else [f'must be in canonical form ("{found}")']
