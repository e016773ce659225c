"""Which foreign issuers are trusted, and whether anonymous requests are: from flags, or from a file that is read again when it changes.

Before: `security` puts it into the chain, `compose` runs it. After: `apiserver.authn.jwt`, imported only if an issuer may come.
Source: k8s.io/kubernetes/pkg/kubeapiserver/options/authentication.go (ToAuthenticationConfig), pkg/controlplane/apiserver/config.go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kcp.aio.clock import Clock
from kcp.apiserver.authn.anonymous import AnonymousAccess
from kcp.server.accessoptions import AuthenticationOptions, OIDCOptions

if TYPE_CHECKING:
    from kcp.apiserver.authn.jwt.authenticator import JWTAuthenticators
    from kcp.apiserver.authn.jwt.config import AuthenticationConfiguration, JWTConfig

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 5.0


class ForeignIssuers:
    """The configuration in force. `run` follows its file."""

    def __init__(self, options: AuthenticationOptions, own_issuers: Sequence[str], *, clock: Clock) -> None:
        """Args: own_issuers: of this server's tokens; nobody else may sign for them. Raises ConfigurationError."""
        self._options, self._own_issuers, self._clock = options, tuple(own_issuers), clock
        self._content = b""
        self.anonymous = AnonymousAccess(is_enabled=options.anonymous is not False)
        self.tokens: JWTAuthenticators | None = None
        """None where no issuer is configured, nor can be while the server runs."""
        if options.config_file is not None or options.oidc.issuer_url:
            from kcp.apiserver.authn.jwt.authenticator import JWTAuthenticators

            self.tokens = JWTAuthenticators(clock=clock)
            self._use(self._read())

    async def run(self) -> None:
        """Follow the file; a new content that has faults changes nothing."""
        path = self._options.config_file
        if path is None:
            return
        from kcp.apiserver.authn.jwt.config import ConfigurationError

        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            try:
                if path.read_bytes() != self._content:
                    self._use(self._read())
                    log.info("the authentication configuration %s changed and is in force", path)
            except (OSError, ConfigurationError) as fault:
                log.error("the authentication configuration is kept as it was: %s", fault)

    def _read(self) -> AuthenticationConfiguration:
        from kcp.apiserver.authn.jwt import config, validation

        path = self._options.config_file
        if path is None:
            found, where = config.AuthenticationConfiguration((_from_flags(self._options.oidc),)), "the --oidc-* flags"
        else:
            found, self._content = config.read(path)
            where = str(path)
        faults = [str(fault) for fault in validation.faults(found, self._own_issuers)]
        if found.anonymous is not None and self._options.anonymous is not None:
            faults.append("anonymous: --anonymous-auth says it too: leave out one of them")
        if faults:
            raise config.ConfigurationError(f"{where} cannot be used: {'; '.join(faults)}")
        return found

    def _use(self, configuration: AuthenticationConfiguration) -> None:
        assert self.tokens is not None, "made before anything is read"
        self.tokens.use(configuration.jwt)
        anonymous = configuration.anonymous
        if anonymous is not None:
            self.anonymous.use(is_enabled=anonymous.enabled, paths=anonymous.paths)
        else:
            self.anonymous.use(is_enabled=self._options.anonymous is not False)


def _from_flags(options: OIDCOptions) -> JWTConfig:
    """What the flags mean. Raises ConfigurationError."""
    from kcp.apiserver.authn.jwt.config import SIGNING_ALGORITHMS, ClaimOrExpression, ClaimRule, ConfigurationError, Issuer, JWTConfig

    if unknown := [algorithm for algorithm in options.signing_algs if algorithm not in SIGNING_ALGORITHMS]:
        raise ConfigurationError(f"--oidc-signing-algs: unsupported: {', '.join(unknown)}; choose of {', '.join(SIGNING_ALGORITHMS)}")
    prefix = options.username_prefix
    if prefix == "-":
        prefix = ""
    elif not prefix and options.username_claim != "email":
        prefix = f"{options.issuer_url}#"
    try:
        authority = options.ca_file.read_text() if options.ca_file is not None else ""
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationError(f"--oidc-ca-file={options.ca_file}: {fault}") from fault
    pairs = [claim.partition("=") for claim in options.required_claims]
    return JWTConfig(
        issuer=Issuer(options.issuer_url, certificate_authority=authority, audiences=(options.client_id,)),
        username=ClaimOrExpression(options.username_claim, prefix=prefix),
        groups=ClaimOrExpression(options.groups_claim, prefix=options.groups_prefix) if options.groups_claim else ClaimOrExpression(),
        claim_rules=tuple(ClaimRule(name, value) for name, _, value in pairs),
        algorithms=options.signing_algs,
    )
