"""Where an etcd cluster is and who we are to it. Apart from the connection, so that nobody loads gRPC who does not use etcd.

Before: `server.options`. After: `storage.etcd.connection`. Source: k8s.io/apiserver/pkg/server/options/etcd.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PREFIX = "/registry"


@dataclass(frozen=True, kw_only=True, slots=True)
class EtcdConfig:
    """Of no endpoints: the server keeps its objects itself."""

    endpoints: Sequence[str] = ()
    """--etcd-servers: URLs, `https://10.0.0.1:2379`; all of them https or all http."""
    prefix: str = DEFAULT_PREFIX
    """--etcd-prefix: another than the default stands before `/registry/` in every key, so that servers that are none of each other's
    business share a cluster."""
    ca_file: Path | None = None
    """--etcd-cafile: whom to trust; the system's authorities if it is not given."""
    cert_file: Path | None = None
    """--etcd-certfile."""
    key_file: Path | None = None
    """--etcd-keyfile."""
    username: str = ""
    """--etcd-username."""
    password_file: Path | None = None
    """--etcd-password-file: its first line."""
    attempt_s: float = 3.0
    """--etcd-attempt-timeout: how long one endpoint may take to answer."""
    patience_s: float = 10.0
    """--etcd-request-timeout: how long a request is tried, over all endpoints."""

    @property
    def namespace(self) -> str:
        """What stands before each of our keys."""
        return "" if self.prefix == DEFAULT_PREFIX else self.prefix.rstrip("/")

    @property
    def is_secure(self) -> bool:
        return self.endpoints[0].startswith("https:") if self.endpoints else False

    def problems(self) -> list[str]:
        """Every fault, each with what to do."""
        return list(self._problems()) if self.endpoints else []

    def _problems(self) -> Iterator[str]:
        parsed = [urlsplit(endpoint) for endpoint in self.endpoints]
        for url, endpoint in zip(parsed, self.endpoints, strict=True):
            if url.scheme not in ("http", "https") or not url.hostname or not _port(endpoint) or url.path.strip("/"):
                yield f"--etcd-servers={endpoint}: must be a URL such as https://10.0.0.1:2379"
        if len({url.scheme for url in parsed}) > 1:
            yield f"--etcd-servers={','.join(self.endpoints)}: all must be https, or all http"
        if not self.prefix.startswith("/"):
            yield f"--etcd-prefix={self.prefix}: must begin with /"
        files = {"cafile": self.ca_file, "certfile": self.cert_file, "keyfile": self.key_file}
        for name, file in {**files, "password-file": self.password_file}.items():
            if file is not None and not file.is_file():
                yield f"--etcd-{name}={file}: no such file"
        if (self.cert_file is None) is not (self.key_file is None):
            yield "--etcd-certfile and --etcd-keyfile: give both or none"
        if any(files.values()) and not self.is_secure:
            yield "--etcd-cafile, --etcd-certfile and --etcd-keyfile need https:// URLs in --etcd-servers"
        if bool(self.username) is not (self.password_file is not None):
            yield "--etcd-username and --etcd-password-file: give both or none"
        if min(self.attempt_s, self.patience_s) <= 0:
            yield "--etcd-attempt-timeout and --etcd-request-timeout: must be longer than 0s"


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint).port
    except ValueError:
        return None
