"""Certificates in a directory, by an authority in it: made as a plan says, looked at, renewed. For installations whose certificates are not
made by the server itself or by cert-manager.

Before: `cli.certs`. After: `pki_issue`. Source of names and usages: the production plan's table of certificates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from kcp.apiserver import pki_issue
from kcp.apiserver.pki import CA_LIFETIME, PKIError, write_private
from kcp.apiserver.pki_issue import Described, Issued

CA = "ca"
_END = b"-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Plan:
    """One certificate that is wanted."""

    stem: str
    common_name: str
    hosts: tuple[str, ...]
    usages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """One certificate that is there."""

    path: Path
    described: Described
    authority: Path | None
    """Of those beside it; None: it is signed by another."""
    has_key: bool

    @property
    def key(self) -> Path:
        return self.path.with_suffix(".key")

    def fault(self, now: datetime, margin: timedelta) -> str:
        """ "" if it can be used, for as long as `margin`."""
        left = self.described.not_after - now
        if left <= timedelta():
            return "expired"
        if left < margin:
            return "expires soon"
        if self.authority is None and not self.described.is_authority:
            return "signed by none of the authorities here"
        return "" if self.has_key or self.described.is_authority else "its key is not there, or another"


def plans(domain: str, namespace: str, cluster_domain: str, extra_hosts: Sequence[str]) -> Sequence[Plan]:
    """Those of an installation: what the server shows, what syncers and the server show to others, and what members of etcd show."""
    services = f"{namespace}.svc.{cluster_domain}"
    etcd = f"etcd.{services}"
    local = ("localhost", "127.0.0.1", "::1")
    return (
        Plan("kcp-server", domain, tuple(dict.fromkeys((domain, f"kcp-internal.{services}", *extra_hosts))), ("server auth",)),
        Plan("syncer-client", "syncer-client", (), ("client auth",)),
        Plan("etcd", "etcd-server", (etcd, f"*.{etcd}", *local), ("server auth", "client auth")),
        Plan("etcd-client", "kcp", (), ("client auth",)),
    )


def init(directory: Path, wanted: Sequence[Plan], *, now: datetime, lifetime: timedelta) -> list[Path]:
    """Make what is not there yet. Returns what was made. Raises PKIError where an authority has no key."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[Path] = []
    ca = directory / f"{CA}.crt"
    if not ca.exists():
        _write(ca, pki_issue.authority("kcp", now=now, lifetime=CA_LIFETIME))
        made.append(ca)
    signer = _authority(ca)
    for plan in wanted:
        path = directory / f"{plan.stem}.crt"
        if not path.exists():
            issued = pki_issue.leaf(signer, plan.common_name, plan.hosts, plan.usages, now=now, lifetime=lifetime)
            _write(path, issued, chain=signer[0] if "server auth" in plan.usages else b"")
            made.append(path)
    return made


def held(directory: Path) -> list[Held]:
    """Every certificate of a directory, authorities first. Raises PKIError for a file that is none."""
    found = {path: _described(path) for path in sorted(directory.glob("*.crt"))}
    authorities = [path for path, described in found.items() if described.is_authority]
    order = sorted(found, key=lambda path: (not found[path].is_authority, path))
    return [Held(path, found[path], _signer(path, authorities), _fits(path)) for path in order]


def renew(directory: Path, *, now: datetime, lifetime: timedelta, margin: timedelta) -> Iterator[Path]:
    """Make anew what expires within `margin` or has lost its key, with the same names, by the same authority.

    Authorities are left: who trusts them would have to be told. Raises PKIError.
    """
    for one in held(directory):
        lasts = one.has_key and one.described.not_after - now >= margin
        if one.described.is_authority or one.authority is None or lasts:
            continue
        old = one.path.read_bytes()
        chain = old.partition(_END)[2].lstrip()
        _write(one.path, pki_issue.renewed(_authority(one.authority), old, now=now, lifetime=lifetime), chain=chain)
        yield one.path


def _described(path: Path) -> Described:
    try:
        return pki_issue.describe(path.read_bytes())
    except ValueError as fault:
        raise PKIError(f"{path}: it is no certificate: {fault}") from fault


def _signer(path: Path, authorities: Sequence[Path]) -> Path | None:
    content = path.read_bytes()
    return next((ca for ca in authorities if ca != path and pki_issue.is_signed_by(content, ca.read_bytes())), None)


def _fits(path: Path) -> bool:
    key = path.with_suffix(".key")
    return key.is_file() and pki_issue.is_key_of(path.read_bytes(), key.read_bytes())


def _authority(path: Path) -> pki_issue.Authority:
    key = path.with_suffix(".key")
    if not key.is_file():
        raise PKIError(f"{key} is not there: put the key of the authority beside {path.name}")
    return path.read_bytes(), key.read_bytes()


def _write(path: Path, issued: Issued, *, chain: bytes = b"") -> None:
    """Key first: after a crash between the two they do not fit, which `check` says, and who serves with them keeps the old ones."""
    write_private(path.with_suffix(".key"), issued.key)
    write_private(path, issued.certificate + chain, mode=0o644)
