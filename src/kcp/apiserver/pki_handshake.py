"""A TLS handshake in memory: would a client trusting this CA accept that certificate, and what does it say?

The standard library cannot read a certificate file, but it tells everything about a peer it has verified.
Before: `pki`; `protocol`, for the certificates of clients. After: nothing.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from kcp.aio.clock import rfc3339

Files: TypeAlias = tuple[Path, Path]
"""Certificate and key."""

_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}


NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL 1.1 and newer, which the ssl module has no name for."""


class Refused(Exception):
    """One of the two sides refuses; the message says why."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    subject: Mapping[str, tuple[str, ...]]
    """{"CN": (…,), "O": (…, …)}."""
    not_before: datetime
    not_after: datetime
    hosts: frozenset[str]
    """DNS names and IP addresses it is valid for."""

    @classmethod
    def of(cls, decoded: Mapping[str, Any]) -> PeerCertificate:
        """From what `SSLObject.getpeercert()` answers."""
        hosts = frozenset(
            str(ipaddress.ip_address(v.strip())) if k == "IP Address" else v.lower() for k, v in decoded.get("subjectAltName", ())
        )
        return cls(subject_of(decoded), _instant(decoded["notBefore"]), _instant(decoded["notAfter"]), hosts)

    def time_fault(self, now: datetime) -> str:
        """ "" while the certificate is valid in time."""
        if now > self.not_after:
            return f"it expired at {rfc3339(self.not_after)}"
        return f"it is not valid before {rfc3339(self.not_before)}" if now < self.not_before else ""


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


@dataclass(frozen=True, slots=True)
class Handshake:
    server: PeerCertificate
    client: PeerCertificate | None


def subject_of(decoded: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names of a certificate's subject, each in the order of the certificate.

    >>> subject_of({"subject": ((("organizationName", "devs"),), (("commonName", "ann"),))})
    {'O': ('devs',), 'CN': ('ann',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for relative_name in decoded.get("subject", ()):
        for key, value in relative_name:
            short = _SHORT.get(key, key)
            found[short] = (*found.get(short, ()), value)
    return found


def read_pair(certificate: Path, key: Path) -> PeerCertificate:
    """What a certificate file says, expired or not, whoever signed it. Raises Refused where the key is not its own."""
    any_signer = NO_CHECK_TIME | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return handshake(server=(certificate, key), trusted_by_client=certificate, flags=any_signer).server


def authorities_expire(bundle: Path) -> datetime:
    """When the first of some certificate authorities expires. Raises Refused."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(bundle)
        return min(_instant(str(held["notAfter"])) for held in context.get_ca_certs())
    except (OSError, ValueError) as fault:
        raise Refused(f"it cannot be loaded: {fault}") from fault


def handshake(
    *, server: Files, trusted_by_client: Path, client: Files | None = None, trusted_by_server: Path | None = None,
    flags: ssl.VerifyFlags = ssl.VerifyFlags.VERIFY_DEFAULT,
) -> Handshake:  # fmt: skip
    """Let both sides meet; host names are not compared. Raises Refused."""
    try:
        return _handshake(server, trusted_by_client, client, trusted_by_server, flags)
    except ssl.SSLCertVerificationError as fault:
        raise Refused(fault.verify_message) from fault
    except (ssl.SSLError, OSError, ValueError) as fault:
        raise Refused(f"it cannot be loaded: {fault}") from fault


def _handshake(
    server: Files, trusted_by_client: Path, client: Files | None, trusted_by_server: Path | None, flags: ssl.VerifyFlags
) -> Handshake:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*server)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= flags
    client_context.load_verify_locations(trusted_by_client)
    if client is not None and trusted_by_server is not None:
        client_context.load_cert_chain(*client)
        server_context.load_verify_locations(trusted_by_server)
        server_context.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client_context.wrap_bio(to_client, to_server), server_context.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(10):
        if all([_step(side) for side in sides]):
            break
    at_client, at_server = (side.getpeercert() for side in sides)
    if not at_client:
        raise Refused("the handshake did not end")
    return Handshake(PeerCertificate.of(at_client), PeerCertificate.of(at_server) if at_server else None)


def _step(side: ssl.SSLObject) -> bool:
    """Go on as far as what has arrived allows; True when done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
