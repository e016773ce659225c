"""Options of what a server begins with and under which names it is reached.

Before: `options`. After: `compose`, `tenancy.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kcp.apiserver.tls import CIPHER_SUITES, MIN_VERSIONS
from kcp.tenancy.bootstrap.content import COMPUTE_BATTERY, METRICS_BATTERY, WORKSPACE_TYPES_BATTERY

ADMIN, USER = "admin", "user"
BATTERIES = frozenset((WORKSPACE_TYPES_BATTERY, ADMIN, USER, METRICS_BATTERY, COMPUTE_BATTERY))
DEFAULT_BATTERIES = frozenset((WORKSPACE_TYPES_BATTERY, ADMIN, COMPUTE_BATTERY))


def chosen(said: Sequence[str]) -> frozenset[str]:
    """The batteries that are meant: those named, or the default ones with some added (`+x`) and left out (`-x`).

    >>> sorted(chosen(["+user", "-workspace-types"]))
    ['admin', 'root-compute-workspace', 'user']
    """
    if not any(_is_change(name) for name in said):
        return frozenset(said)
    added, removed = ({name[1:] for name in said if name.startswith(sign)} for sign in "+-")
    return (DEFAULT_BATTERIES | added) - removed


def battery_problems(said: Sequence[str]) -> Iterable[str]:
    if len({_is_change(name) for name in said}) > 1:
        yield "--batteries-included: must all be prefixed with + or - or none"
    for name in said:
        if name.lstrip("+-") not in BATTERIES:
            yield f"--batteries-included: unknown battery: {name}; there is {', '.join(sorted(BATTERIES))}"
    if USER in chosen(said) and ADMIN not in chosen(said):
        yield f"--batteries-included: battery {USER} enabled which requires {ADMIN} as well"


def _is_change(name: str) -> bool:
    return name.startswith(("+", "-"))


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardOptions:
    """How this server is called by others."""

    name: str = "root"
    """--shard-name: there is one shard, and this is its name."""
    base_url: str = ""
    """--shard-base-url: of this server; default by its address and port."""
    external_url: str = ""
    """--shard-external-url: of its workspaces; default the base URL."""
    virtual_workspace_url: str = ""
    """--shard-virtual-workspace-url: of its virtual workspaces; default the base URL."""

    def problems(self) -> Iterable[str]:
        if self.name != "root":
            yield f"--shard-name={self.name}: this server is the only shard, which is called root"
        urls = {"base": self.base_url, "external": self.external_url, "virtual-workspace": self.virtual_workspace_url}
        for flag, url in urls.items():
            parts = urlsplit(url)
            if url and (parts.scheme != "https" or not parts.netloc or url.endswith("/")):
                yield f"--shard-{flag}-url={url}: must be https://HOST[:PORT], with no slash at its end"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingCertificate:
    """--tls-cert-file and --tls-private-key-file, or what is in the one that the server makes itself."""

    certificate: Path | None = None
    key: Path | None = None
    min_version: str = "VersionTLS12"
    """--tls-min-version."""
    ciphers: tuple[str, ...] = ()
    """--tls-cipher-suites: of TLS 1.2, by IANA's names; default all that are sound."""
    names: tuple[str, ...] = ()
    """--tls-san: names and addresses in the server's own certificate, beside those it is bound to. k3s calls the flag so."""

    def problems(self) -> Iterable[str]:
        if (self.certificate is None) is not (self.key is None):
            yield "--tls-cert-file and --tls-private-key-file: give both or none"
        for flag, file in (("cert", self.certificate), ("private-key", self.key)):
            if file is not None and not file.is_file():
                yield f"--tls-{flag}-file={file}: no such file"
        if self.min_version not in MIN_VERSIONS:
            yield f"--tls-min-version={self.min_version}: must be one of {', '.join(MIN_VERSIONS)}"
        if unknown := [name for name in self.ciphers if name not in CIPHER_SUITES]:
            yield f"--tls-cipher-suites={','.join(unknown)}: not supported; choose of {', '.join(CIPHER_SUITES)}"
