"""IP addresses and CIDR blocks.

Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/library/{ip,cidr}.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Any, TypeAlias

from kcp.apimachinery.cel.costs import network, walk
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.types import Type, opaque

IP_TYPE = opaque("net.IP")
CIDR_TYPE = opaque("net.CIDR")
_Address: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class IP:
    address: _Address

    @property
    def cel_type(self) -> Type:
        return IP_TYPE

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class CIDR:
    address: _Address
    prefix: int

    @property
    def cel_type(self) -> Type:
        return CIDR_TYPE

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"

    def holds(self, address: _Address) -> bool:
        network_of = ip_network((self.address, self.prefix), strict=False)
        return address.version == network_of.version and address in network_of


def _address(text: str) -> _Address:
    """Raises ValueError with upstream's text."""
    if "%" in text:
        raise ValueError(f'IP Address "{text}" with zone value is not allowed')
    found = ip_address(text)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return found


def parse_ip(text: str) -> IP:
    try:
        return IP(_address(text))
    except ValueError as error:
        if "not allowed" in str(error):
            raise EvaluationError(str(error)) from None
        raise EvaluationError(f'IP Address "{text}" parse error during conversion from string: unable to parse IP') from None


def is_ip(text: str) -> bool:
    try:
        _address(text)
    except ValueError:
        return False
    return True


def is_canonical(text: str) -> bool:
    return str(parse_ip(text)) == text


def _cidr(text: str) -> CIDR:
    address, slash, length = text.partition("/")
    if not slash or not length.isdigit() or (len(length) > 1 and length[0] == "0"):
        raise ValueError(text)
    found = ip_interface(f"{_address(address)}/{length}")
    return CIDR(found.ip, found.network.prefixlen)


def parse_cidr(text: str) -> CIDR:
    try:
        return _cidr(text)
    except ValueError:
        raise EvaluationError(f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): invalid') from None


def is_cidr(text: str) -> bool:
    try:
        _cidr(text)
    except ValueError:
        return False
    return True


def masked(block: CIDR) -> CIDR:
    return CIDR(ip_network((block.address, block.prefix), strict=False).network_address, block.prefix)


def contains_ip(block: CIDR, address: Any) -> bool:
    held: IP = parse_ip(address) if isinstance(address, str) else address
    return block.holds(held.address)


def contains_cidr(block: CIDR, other: Any) -> bool:
    held: CIDR = parse_cidr(other) if isinstance(other, str) else other
    return block.prefix <= held.prefix and block.holds(masked(held).address)


def _is_global_unicast(address: _Address) -> bool:
    broadcast = isinstance(address, IPv4Address) and int(address) == 0xFFFFFFFF
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or broadcast)


OVERLOADS: tuple[Overload, ...] = (
    declare("ip(string) -> net.IP", parse_ip, walk()),
    declare("isIP(string) -> bool", is_ip, walk()),
    declare("ip:isCanonical(string) -> bool", is_canonical, walk(times=2)),
    declare("string(net.IP) -> string", str),
    declare("net.IP.family() -> int", lambda ip: ip.address.version),
    declare("net.IP.isUnspecified() -> bool", lambda ip: ip.address.is_unspecified),
    declare("net.IP.isLoopback() -> bool", lambda ip: ip.address.is_loopback),
    declare("net.IP.isLinkLocalMulticast() -> bool", lambda ip: _is_link_local_multicast(ip.address)),
    declare("net.IP.isLinkLocalUnicast() -> bool", lambda ip: ip.address.is_link_local),
    declare("net.IP.isGlobalUnicast() -> bool", lambda ip: _is_global_unicast(ip.address)),
    declare("cidr(string) -> net.CIDR", parse_cidr, walk()),
    declare("isCIDR(string) -> bool", is_cidr, walk()),
    declare("string(net.CIDR) -> string", str),
    declare("net.CIDR.containsIP(net.IP) -> bool", contains_ip, network(2, 0, parses=False)),
    declare("net.CIDR.containsIP(string) -> bool", contains_ip, network(2, 0, parses=True)),
    declare("net.CIDR.containsCIDR(net.CIDR) -> bool", contains_cidr, network(3, 1, parses=False)),
    declare("net.CIDR.containsCIDR(string) -> bool", contains_cidr, network(3, 1, parses=True)),
    declare("net.CIDR.ip() -> net.IP", lambda block: IP(block.address)),
    declare("net.CIDR.masked() -> net.CIDR", masked),
    declare("net.CIDR.prefixLength() -> int", lambda block: block.prefix),
)


def _is_link_local_multicast(address: _Address) -> bool:
    return address in (ip_network("224.0.0.0/24") if address.version == 4 else ip_network("ff02::/16"))
