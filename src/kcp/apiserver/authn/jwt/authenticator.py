"""Tokens of foreign issuers: whose they are, whether they are good, and whom they prove.

Before: `authn.chain`. After: `keys`, `mapping`.
Source: k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/oidc.go, k8s.io/kubernetes/pkg/kubeapiserver/authenticator/config.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.identity import TokenIdentity, as_authenticated
from kcp.apiserver.authn.jwt.config import JWTConfig
from kcp.apiserver.authn.jwt.distributed import DistributedClaim
from kcp.apiserver.authn.jwt.keys import Fetch, IssuerKeys, fetch
from kcp.apiserver.authn.jwt.mapping import ClaimMapper
from kcp.apiserver.authn.serviceaccounts import peek
from kcp.apiserver.authn.tokens import CachedTokens

_EARLY_S = 60.0
"""How long before its time a token is taken, for clocks that differ. Source: go-oidc verify.go."""
_GOOGLE = {"accounts.google.com": "https://accounts.google.com"}
"""Source: openid-connect-core-1_0, GoogleIss."""


class JWTAuthenticator:
    """One issuer."""

    def __init__(self, config: JWTConfig, *, clock: Clock, get: Fetch = fetch) -> None:
        """Args: config: without faults (`validation.issuer_faults`)."""
        self._issuer = config.issuer
        self._clock = clock
        self._keys = IssuerKeys(config.issuer, config.algorithms, clock=clock, get=get)
        self._mapper = ClaimMapper(config)
        self._groups = DistributedClaim(config, self._check, clock=clock, get=get) if config.groups.claim else None

    async def authenticate(self, token: str) -> TokenIdentity | None:
        """Tokens for whatever audience of the configuration count; this server's own audiences are another matter.

        Source: authenticator.WrapAudienceAgnosticToken.
        """
        claimed = peek(token)
        if claimed is None or _issuer_of(claimed) != self._issuer.url:
            return None
        claims = await self._keys.verify(token)
        expires_at = self._check(claims)
        if self._groups is not None:
            claims = await self._groups.expand(claims)
        return TokenIdentity(as_authenticated(self._mapper.user(claims)), (), expires_at)

    def _check(self, claims: Mapping[str, Any]) -> float:
        """The instant the token expires. Raises Unauthorized."""
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(each in self._issuer.audiences for each in audiences):
            raise Unauthorized(f"oidc: expected audience in {list(self._issuer.audiences)} got {audiences}")
        now = self._clock.now().timestamp()
        expires_at, not_before = _instant(claims.get("exp")), _instant(claims.get("nbf"))
        if now > expires_at:
            raise Unauthorized("oidc: token is expired")
        if now + _EARLY_S < not_before:
            raise Unauthorized("oidc: current time before the nbf (not before) time")
        return expires_at


def _issuer_of(claims: Mapping[str, Any]) -> object:
    issuer = claims.get("iss")
    return _GOOGLE.get(issuer, issuer) if isinstance(issuer, str) else None


def _instant(value: object) -> float:
    """Unix time of a NumericDate; 0 where there is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


class JWTAuthenticators:
    """All issuers of a configuration, which may change. What was verified is remembered for some seconds."""

    def __init__(self, configs: Iterable[JWTConfig] = (), *, clock: Clock, get: Fetch = fetch, max_entries: int = 4_096) -> None:
        self._clock, self._get, self._max_entries = clock, get, max_entries
        self._held: dict[JWTConfig, JWTAuthenticator] = {}
        self.use(configs)

    def use(self, configs: Iterable[JWTConfig]) -> None:
        """From now on these. Issuers that stay as they were keep the keys they have; nothing else is remembered."""
        self._held = {config: self._held.get(config) or JWTAuthenticator(config, clock=self._clock, get=self._get) for config in configs}
        self._cached = CachedTokens(tuple(self._held.values()), clock=self._clock, max_entries=self._max_entries)

    async def authenticate(self, token: str) -> TokenIdentity | None:
        return await self._cached.authenticate(token)
