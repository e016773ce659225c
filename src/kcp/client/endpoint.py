"""`Endpoint`: where a server is and how to be trusted by it; a value, with no connection behind it.

Before: `kubeconfig` makes one. After: `http.HttpTransport` connects to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One server and one set of credentials. Certificates and keys are PEM; secrets stay out of `repr`."""

    server: str
    """`https://host:port`, optionally with a path that is put before every request's."""
    ca_pem: bytes = b""
    """Who may sign the server's certificate; empty: the system's authorities."""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    """Name to expect in the server's certificate; empty: the host of `server`."""
    cert_pem: bytes = b""
    key_pem: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    """Read again every minute: such tokens expire and are renewed in place."""
    username: str = ""
    password: str = field(default="", repr=False)
    exec_plugin: ExecPlugin | None = None
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers that ask the server to act for somebody else, sent with every request."""
    proxy_url: str = ""
    origin: str = ""
    """Where this comes from, for messages: `user "admin" in /home/me/.kube/config`."""

    @property
    def base_path(self) -> str:
        return urlsplit(self.server).path.rstrip("/")

    @property
    def host(self) -> str:
        """Name and port of the server."""
        return urlsplit(self.server).netloc

    @property
    def root_url(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.server)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecPlugin:
    """A program that prints credentials, as managed clusters use. Source: client.authentication.k8s.io/v1 ExecCredential."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    connect_s: float = 10.0
    """TCP and TLS handshake."""
    request_s: float = 60.0
    """A whole request and its answer; streams have no limit of their own. Source: kube-apiserver --request-timeout."""
    keepalive_idle_s: int = 15
    """Silence after which the kernel probes the peer; three probes, 5 s apart, unanswered: the connection is broken."""
