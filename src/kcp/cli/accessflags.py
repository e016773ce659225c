"""Flags of `kcp start` about who its users are and what they may do, and the options they make.

Before: `cli.kcp`. After: `server.accessoptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kcp.apiserver.authz.union import ALWAYS_ALLOWED_PATHS
from kcp.cli.flags import Duration

if TYPE_CHECKING:
    from kcp.server.accessoptions import AuthenticationOptions, AuthorizationOptions

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)


class Words(click.ParamType[tuple[str, ...]]):
    """Words separated by commas."""

    name = "list"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(word for part in str(value).split(",") if (word := part.strip()))


_FLAGS: tuple[Callable[[Any], Any], ...] = (
    click.option("--anonymous-auth", type=bool, is_flag=False, flag_value=True, default=None, metavar="[=true|false]",
                 help="Requests without credentials are user system:anonymous. [default: true]"),
    click.option("--client-ca-file", type=_FILE, default=None,
                 help="Who signs users' certificates, beside the server's own authority in ROOT_DIRECTORY/pki."),
    click.option("--authentication-config", type=_FILE, default=None,
                 help="AuthenticationConfiguration (apiserver.config.k8s.io): issuers of JWTs, anonymous access. Read again on change."),
    click.option("--oidc-issuer-url", default="", help="OpenID Connect issuer whose tokens are trusted; https only."),
    click.option("--oidc-client-id", default="", help="Audience that its tokens must be for."),
    click.option("--oidc-ca-file", type=_FILE, default=None, help="Who may sign the issuer's certificate. [default: the system's]"),
    click.option("--oidc-username-claim", default="sub", show_default=True, help="Claim that names the user."),
    click.option("--oidc-username-prefix", default="", help="Put before it; - for nothing. [default: ISSUER_URL#, but nothing for email]"),
    click.option("--oidc-groups-claim", default="", help="Claim that names the user's groups."),
    click.option("--oidc-groups-prefix", default="", help="Put before each of them."),
    click.option("--oidc-signing-algs", type=Words(), default="RS256", show_default=True, help="Algorithms that sign its tokens."),
    click.option("--oidc-required-claim", type=Words(), multiple=True, help="KEY=VALUE that tokens must have; repeatable."),
    click.option("--requestheader-client-ca-file", type=_FILE, default=None,
                 help="Who signs the certificates of proxies that name users in headers. [default: there are none]"),
    click.option("--requestheader-allowed-names", type=Words(), default="", help="Common names of their certificates. [default: all]"),
    click.option("--requestheader-username-headers", type=Words(), default="X-Remote-User", show_default=True, help="Name the user."),
    click.option("--requestheader-uid-headers", type=Words(), default="", help="Name the user's uid."),
    click.option("--requestheader-group-headers", type=Words(), default="X-Remote-Group", show_default=True, help="Name the groups."),
    click.option("--requestheader-extra-headers-prefix", type=Words(), default="X-Remote-Extra-", show_default=True,
                 help="Begin headers of extra information."),
    click.option("--service-account-issuer", "sa_issuers", multiple=True, default=("https://kcp.default.svc",), show_default=True,
                 help="Issuer of service-account tokens; repeatable: the first makes them, those of all are accepted."),
    click.option("--api-audiences", "sa_api_audiences", type=Words(), default="",
                 help="Names of this server in tokens. [default: the issuers]"),
    click.option("--service-account-signing-key-file", "sa_signing_key_file", type=_FILE, default=None,
                 help="Signs tokens. [default: a key of the server's own]"),
    click.option("--service-account-key-file", "sa_key_files", type=_FILE, multiple=True,
                 help="Keys, public or private, that verify tokens; repeatable. [default: that which signs]"),
    click.option("--service-account-jwks-uri", "sa_jwks_uri", default="", help="Where others find these keys. [default: at this server]"),
    click.option("--service-account-max-token-expiration", "sa_max_expiration_s", type=Duration(), default="0s",
                 help="Longest life of a token that is asked for. [default: 2^32 s]"),
    click.option("--authorization-order", "authz_order", type=Words(), default="AlwaysAllowGroups,AlwaysAllowPaths,RBAC,Webhook",
                 show_default=True, help="Who says what is allowed; the first that allows or denies counts."),
    click.option("--authorization-always-allow-paths", "authz_always_allow_paths", type=Words(), default=",".join(ALWAYS_ALLOWED_PATHS),
                 show_default=True, help="Paths that are open to everybody; * at the end matches any rest."),
    click.option("--authorization-webhook-config-file", "authz_webhook_config_file", type=_FILE, default=None,
                 help="kubeconfig that leads to an authorizer outside; its cluster's server is the URL to ask."),
    click.option("--authorization-webhook-version", "authz_webhook_version", default="v1beta1", show_default=True,
                 help="Version of the SubjectAccessReview it speaks: v1 or v1beta1."),
    click.option("--authorization-webhook-cache-authorized-ttl", "authz_webhook_authorized_ttl_s", type=Duration(), default="5m",
                 show_default=True, help="How long what it allowed is remembered."),
    click.option("--authorization-webhook-cache-unauthorized-ttl", "authz_webhook_unauthorized_ttl_s", type=Duration(), default="30s",
                 show_default=True, help="How long what it did not allow is remembered."),
)  # fmt: skip


_REQUEST_HEADER = ("client_ca_file", "allowed_names", "username_headers", "uid_headers", "group_headers", "extra_headers_prefix")


_SERVICE_ACCOUNTS = ("issuers", "api_audiences", "signing_key_file", "key_files", "jwks_uri", "max_expiration_s")


_AUTHORIZATION = (
    "order", "always_allow_paths", "webhook_config_file", "webhook_version", "webhook_authorized_ttl_s", "webhook_unauthorized_ttl_s",
)  # fmt: skip


def access_flags(command: F) -> F:
    """Adds the flags, in this order."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def authentication_options(flags: dict[str, Any], *, workspace_issuers: bool) -> AuthenticationOptions:
    """Takes its flags out of those given."""
    from kcp.server.accessoptions import AuthenticationOptions, OIDCOptions, RequestHeaderOptions, ServiceAccountOptions

    names = ("issuer_url", "client_id", "ca_file", "username_claim", "username_prefix", "groups_claim", "groups_prefix", "signing_algs")
    oidc = {name: flags.pop(f"oidc_{name}") for name in names}
    required = tuple(claim for claims in flags.pop("oidc_required_claim") for claim in claims)
    return AuthenticationOptions(
        anonymous=flags.pop("anonymous_auth"),
        client_ca_file=flags.pop("client_ca_file"),
        config_file=flags.pop("authentication_config"),
        oidc=OIDCOptions(**oidc, required_claims=required),
        workspace_issuers=workspace_issuers,
        service_accounts=ServiceAccountOptions(**{name: flags.pop(f"sa_{name}") for name in _SERVICE_ACCOUNTS}),
        request_header=RequestHeaderOptions(**{name: flags.pop(f"requestheader_{name}") for name in _REQUEST_HEADER}),
    )


def authorization_options(flags: dict[str, Any]) -> AuthorizationOptions:
    """Takes its flags out of those given."""
    from kcp.server.accessoptions import AuthorizationOptions

    return AuthorizationOptions(**{name: flags.pop(f"authz_{name}") for name in _AUTHORIZATION})
