"""The server's own certificate authority, certificates and keys, in `<root>/pki/`.

    ca.crt ca.key                  signs the serving certificate; clients trust it
    apiserver.crt apiserver.key    the serving certificate
    client-ca.crt client-ca.key    signs client certificates; the server trusts it
    sa.key sa.pub                  sign and verify service-account tokens
    <user>.crt <user>.key          client certificates made by `ensure_client`

What is there and valid is kept: whether it is, is tried out with a TLS handshake in memory, which needs the standard library only and
checks everything a client would (dates, names, chain, key). `cryptography` is imported only when something must be made.

Before: the composition root, at start. After: `serving.TLSFiles`, `authn.serviceaccounts.SigningKeys`.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kcp.aio.clock import Clock
from kcp.apiserver.pki_handshake import PeerCertificate, Refused, handshake

if TYPE_CHECKING:
    from kcp.apiserver.pki_issue import Issued

log = logging.getLogger(__name__)

DEFAULT_HOSTS = (
    "localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)  # fmt: skip
"""Names the serving certificate always carries."""

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
"""A certificate with less left than this is renewed at start."""


class PKIError(Exception):
    """Files that can neither be used nor replaced; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate (or public key) and its private key, as files."""

    certificate: Path
    key: Path

    @property
    def exists(self) -> bool:
        return self.certificate.is_file() and self.key.is_file()


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate as PEM text, for a kubeconfig."""

    certificate: str
    key: str


class PKI:
    """The files, and what can be made with them."""

    def __init__(self, directory: Path, *, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock
        self.ca = self._pair("ca")
        self.client_ca = self._pair("client-ca")
        self.serving = self._pair("apiserver")
        self.service_accounts = Pair(directory / "sa.pub", directory / "sa.key")

    @classmethod
    def ensure(cls, root: Path, *, hosts: Iterable[str] = (), clock: Clock) -> PKI:
        """All files under `<root>/pki`, made or renewed where needed. `hosts`: names and addresses beside `DEFAULT_HOSTS`.

        Raises: PKIError.
        """
        pki = cls(root / "pki", clock=clock)
        try:
            pki.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            pki._ensure_ca(pki.ca, "kcp-ca")
            pki._ensure_ca(pki.client_ca, "kcp-client-ca")
            pki._ensure_serving(hosts)
            pki._ensure_service_accounts()
        except (OSError, ValueError) as fault:
            raise PKIError(f"cannot use the certificates in {pki.directory}: {fault}") from fault
        return pki

    def ca_pem(self) -> str:
        """What a client must trust: `certificate-authority-data` of a kubeconfig."""
        return self.ca.certificate.read_text()

    def client_ca_pem(self) -> str:
        """Who signs the certificates of clients."""
        return self.client_ca.certificate.read_text()

    def renew(self, hosts: Iterable[str]) -> None:
        """The serving certificate once more, where it expires soon. Raises: PKIError."""
        try:
            self._ensure_serving(hosts)
        except (OSError, ValueError) as fault:
            raise PKIError(f"cannot renew {self.serving.certificate}: {fault}") from fault

    def issue_client(self, name: str, groups: Sequence[str] = (), *, lifetime: timedelta = LEAF_LIFETIME) -> ClientCertificate:
        """A new client certificate: common name and organizations are user and groups."""
        from kcp.apiserver import pki_issue

        issued = pki_issue.client(_read(self.client_ca), name, groups, now=self._clock.now(), lifetime=lifetime)
        return ClientCertificate(issued.certificate.decode(), issued.key.decode())

    def sign_client(self, request: bytes, lifetime: timedelta) -> str:
        """The certificate for a PEM request. Raises ValueError for a request that is none, or not signed by its own key."""
        from kcp.apiserver import pki_issue

        return pki_issue.sign_request(_read(self.client_ca), request, now=self._clock.now(), lifetime=lifetime).decode()

    def ensure_client(self, stem: str, name: str, groups: Sequence[str] = ()) -> Pair:
        """The client certificate in `<stem>.crt`, kept if it still says the same and is valid."""
        pair = self._pair(stem)
        if not self._is_good_client(pair, name, groups):
            issued = self.issue_client(name, groups)
            _write(pair, issued.certificate.encode(), issued.key.encode())
        return pair

    def ensure_proxy_client(self, name: str) -> tuple[Pair, str]:
        """By what this server proves to others that it may name users, and the authority, of its own, that vouches for it.

        Raises: PKIError.
        """
        authority, pair = self._pair("front-proxy-ca"), self._pair(name)
        try:
            self._ensure_ca(authority, "front-proxy-ca")
            if not self._is_good_client(pair, name, (), signed_by=authority):
                from kcp.apiserver import pki_issue

                _write_issued(pair, pki_issue.client(_read(authority), name, (), now=self._clock.now(), lifetime=LEAF_LIFETIME))
            return pair, authority.certificate.read_text()
        except (OSError, ValueError) as fault:
            raise PKIError(f"cannot use the certificates in {self.directory}: {fault}") from fault

    def _pair(self, stem: str) -> Pair:
        return Pair(self.directory / f"{stem}.crt", self.directory / f"{stem}.key")

    def _ensure_ca(self, pair: Pair, name: str) -> None:
        """A CA is trusted by files handed out before, so it is replaced only if it is unusable, and that is said."""
        if pair.exists:
            fault = self._ca_fault(pair)
            if not fault:
                return
            log.warning("replacing %s (%s): kubeconfigs made with it stop working", pair.certificate, fault)
        elif pair.certificate.is_file():
            raise PKIError(
                f"{pair.certificate} is there, but its key {pair.key.name} is not: put it back, or remove {pair.certificate.name} too"
            )
        from kcp.apiserver import pki_issue

        _write_issued(pair, pki_issue.authority(name, now=self._clock.now(), lifetime=CA_LIFETIME))

    def _ca_fault(self, pair: Pair) -> str:
        """ "" if the CA can be used. A CA proves itself as a server of its own chain would."""
        try:
            peer = handshake(server=(pair.certificate, pair.key), trusted_by_client=pair.certificate).server
        except Refused as refused:
            return str(refused)
        return "it expires soon" if self._expires_soon(peer) else ""

    def _ensure_serving(self, hosts: Iterable[str]) -> None:
        wanted = tuple(dict.fromkeys((*DEFAULT_HOSTS, *(h for h in hosts if h))))
        fault = self._serving_fault(wanted)
        if not fault:
            return
        if self.serving.exists:
            log.info("renewing %s: %s", self.serving.certificate, fault)
        from kcp.apiserver import pki_issue

        issued = pki_issue.serving(_read(self.ca), wanted, now=self._clock.now(), lifetime=LEAF_LIFETIME)
        _write_issued(self.serving, issued)

    def _serving_fault(self, wanted: Sequence[str]) -> str:
        if not self.serving.exists:
            return "it does not exist"
        try:
            peer = handshake(server=(self.serving.certificate, self.serving.key), trusted_by_client=self.ca.certificate).server
        except Refused as refused:
            return str(refused)
        if self._expires_soon(peer):
            return "it expires soon"
        missing = [host for host in wanted if canonical_host(host) not in peer.hosts]
        return f"it does not carry {', '.join(missing)}" if missing else ""

    def _is_good_client(self, pair: Pair, name: str, groups: Sequence[str], *, signed_by: Pair | None = None) -> bool:
        if not pair.exists:
            return False
        try:
            peer = handshake(
                server=(self.serving.certificate, self.serving.key), trusted_by_client=self.ca.certificate,
                client=(pair.certificate, pair.key), trusted_by_server=(signed_by or self.client_ca).certificate,
            ).client  # fmt: skip
        except Refused as refused:
            log.info("renewing %s: %s", pair.certificate, refused)
            return False
        if peer is None or self._expires_soon(peer):
            return False
        return peer.subject.get("CN") == (name,) and sorted(peer.subject.get("O", ())) == sorted(groups)

    def _ensure_service_accounts(self) -> None:
        pair = self.service_accounts
        if pair.key.is_file() and pair.certificate.is_file():
            return
        from kcp.apiserver import pki_issue

        if pair.key.is_file():
            write_private(pair.certificate, pki_issue.public_key(pair.key.read_bytes()), mode=0o644)
            return
        _write_issued(pair, pki_issue.key_pair())

    def _expires_soon(self, peer: PeerCertificate) -> bool:
        return peer.not_after - self._clock.now() < RENEW_BEFORE


def canonical_host(host: str) -> str:
    """A name in lower case, an address in its short form: as certificates are compared.

    >>> canonical_host("0:0:0:0:0:0:0:1"), canonical_host("Example.ORG")
    ('::1', 'example.org')
    """
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return host.lower()


def _read(pair: Pair) -> tuple[bytes, bytes]:
    return pair.certificate.read_bytes(), pair.key.read_bytes()


def _write_issued(pair: Pair, issued: Issued) -> None:
    _write(pair, issued.certificate, issued.key)


def _write(pair: Pair, certificate: bytes, key: bytes) -> None:
    """Key first: after a crash between the two the pair does not fit, which the next start notices and mends."""
    write_private(pair.key, key)
    write_private(pair.certificate, certificate, mode=0o644)


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file as a whole, durably; it never exists with wider permissions or half of its content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
