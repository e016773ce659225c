"""What `kcp start` can be told about who its users are and what they may do; parts of `options.Options`.

Names, defaults and what excludes what are kube-apiserver's and kcp's.
Before: `cli.accessflags`. After: `server.authentication`, `server.security`.
Source: k8s.io/kubernetes/pkg/kubeapiserver/options/authentication.go, kcp pkg/server/options/{authentication,authorization}.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kcp.apiserver.authz.union import ALWAYS_ALLOWED_PATHS

AUTHORIZERS = ("AlwaysAllowGroups", "AlwaysAllowPaths", "RBAC", "Webhook")
WEBHOOK_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, kw_only=True, slots=True)
class OIDCOptions:
    """One issuer, said by flags."""

    issuer_url: str = ""
    """--oidc-issuer-url."""
    client_id: str = ""
    """--oidc-client-id: the audience tokens must be for."""
    ca_file: Path | None = None
    """--oidc-ca-file."""
    username_claim: str = "sub"
    """--oidc-username-claim."""
    username_prefix: str = ""
    """--oidc-username-prefix: "": the issuer's URL and #, but for claim email; "-": none."""
    groups_claim: str = ""
    """--oidc-groups-claim."""
    groups_prefix: str = ""
    """--oidc-groups-prefix."""
    signing_algs: tuple[str, ...] = ("RS256",)
    """--oidc-signing-algs."""
    required_claims: tuple[str, ...] = ()
    """--oidc-required-claim: `key=value`."""

    def problems(self) -> list[str]:
        found: list[str] = []
        if bool(self.issuer_url) != bool(self.client_id):
            found.append("--oidc-issuer-url and --oidc-client-id must be specified together when any --oidc-* flags are set")
        elif not self.issuer_url and self != OIDCOptions():
            found.append("--oidc-* flags are set without --oidc-issuer-url and --oidc-client-id")
        if self.ca_file is not None and not self.ca_file.is_file():
            found.append(f"--oidc-ca-file={self.ca_file}: no such file")
        found += [f"--oidc-required-claim={claim}: must be of the form key=value" for claim in self.required_claims if "=" not in claim]
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestHeaderOptions:
    """Proxies that name users in headers."""

    client_ca_file: Path | None = None
    """--requestheader-client-ca-file: who signs proxies' certificates; None: there are no such proxies."""
    allowed_names: tuple[str, ...] = ()
    """--requestheader-allowed-names: common names of those certificates; none: all."""
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    """--requestheader-username-headers."""
    uid_headers: tuple[str, ...] = ()
    """--requestheader-uid-headers."""
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    """--requestheader-group-headers."""
    extra_headers_prefix: tuple[str, ...] = ("X-Remote-Extra-",)
    """--requestheader-extra-headers-prefix."""

    def problems(self) -> list[str]:
        if self.client_ca_file is None or self.client_ca_file.is_file():
            return []
        return [f"--requestheader-client-ca-file={self.client_ca_file}: no such file"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceAccountOptions:
    """Tokens that this server makes."""

    issuers: tuple[str, ...] = ("https://kcp.default.svc",)
    """--service-account-issuer: the first makes tokens, those of all are accepted."""
    api_audiences: tuple[str, ...] = ()
    """--api-audiences: names of this server in tokens; none: the issuers."""
    signing_key_file: Path | None = None
    """--service-account-signing-key-file: PEM; None: the server's own, in `<root directory>/pki`."""
    key_files: tuple[Path, ...] = ()
    """--service-account-key-file: PEM of keys, public or private, that verify tokens; none: that which signs."""
    jwks_uri: str = ""
    """--service-account-jwks-uri: where others find the public keys; "": at this server."""
    max_expiration_s: float = 0.0
    """--service-account-max-token-expiration: seconds; 0: no limit but that of the API."""

    def problems(self) -> list[str]:
        files = {"--service-account-signing-key-file": (self.signing_key_file,), "--service-account-key-file": self.key_files}
        found = [
            f"{flag}={file}: no such file" for flag, given in files.items() for file in given if file is not None and not file.is_file()
        ]
        if self.signing_key_file is not None and not self.key_files:
            found.append("--service-account-key-file must be specified when --service-account-signing-key-file is")
        if not self.issuers or not all(self.issuers):
            found.append("--service-account-issuer: must not be empty")
        if self.jwks_uri and not self.jwks_uri.startswith("https://"):
            found.append(f"--service-account-jwks-uri={self.jwks_uri}: requires https scheme")
        if self.max_expiration_s and not 3_600 <= self.max_expiration_s <= 1 << 32:
            found.append("--service-account-max-token-expiration: must be between 1h and 2^32 seconds")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthenticationOptions:
    """How users prove who they are."""

    anonymous: bool | None = None
    """--anonymous-auth: requests without credentials are user system:anonymous; None: not said, which is yes."""
    config_file: Path | None = None
    """--authentication-config: AuthenticationConfiguration of apiserver.config.k8s.io; read again when it changes."""
    client_ca_file: Path | None = None
    """--client-ca-file: who signs users' certificates, beside the server's own authority."""
    oidc: OIDCOptions = field(default_factory=OIDCOptions)
    workspace_issuers: bool = False
    """--feature-gates=WorkspaceAuthentication=true: workspaces may trust issuers of their own, which this server asks for their keys."""
    request_header: RequestHeaderOptions = field(default_factory=RequestHeaderOptions)
    service_accounts: ServiceAccountOptions = field(default_factory=ServiceAccountOptions)

    def problems(self) -> list[str]:
        found = [*self.oidc.problems(), *self.request_header.problems(), *self.service_accounts.problems()]
        if self.client_ca_file is not None and not self.client_ca_file.is_file():
            found.append(f"--client-ca-file={self.client_ca_file}: no such file")
        if self.config_file is not None and not self.config_file.is_file():
            found.append(f"--authentication-config={self.config_file}: no such file")
        if self.config_file is not None and self.oidc != OIDCOptions():
            found.append("--authentication-config and --oidc-* flags are mutually exclusive")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthorizationOptions:
    """Who says what users may do, in which order."""

    order: tuple[str, ...] = AUTHORIZERS
    """--authorization-order: the first that allows or denies counts; a webhook counts only where there is one."""
    always_allow_paths: tuple[str, ...] = ALWAYS_ALLOWED_PATHS
    """--authorization-always-allow-paths: open to everybody; `*` at the end matches any rest."""
    webhook_config_file: Path | None = None
    """--authorization-webhook-config-file: kubeconfig that leads to an authorizer outside."""
    webhook_version: str = "v1beta1"
    """--authorization-webhook-version: of the SubjectAccessReview it speaks."""
    webhook_authorized_ttl_s: float = 300.0
    """--authorization-webhook-cache-authorized-ttl: seconds."""
    webhook_unauthorized_ttl_s: float = 30.0
    """--authorization-webhook-cache-unauthorized-ttl: seconds."""

    def problems(self) -> list[str]:
        found = [
            f"--authorization-order: unknown {word}; choose of {', '.join(AUTHORIZERS)}" for word in self.order if word not in AUTHORIZERS
        ]
        if len(set(self.order)) != len(self.order):
            found.append(f"--authorization-order={','.join(self.order)}: each at most once")
        if not self.order:
            found.append("--authorization-order: at least one authorizer is needed")
        if self.webhook_config_file is not None and not self.webhook_config_file.is_file():
            found.append(f"--authorization-webhook-config-file={self.webhook_config_file}: no such file")
        if self.webhook_version not in WEBHOOK_VERSIONS:
            found.append(f"--authorization-webhook-version={self.webhook_version}: choose of {', '.join(WEBHOOK_VERSIONS)}")
        return found
