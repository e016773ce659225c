"""Groups that an issuer does not write into a token but says where to fetch, because they are too many.

The claim then comes in a token of its own, signed by whatever issuer it names, for the same audience.
Before: `authenticator`. After: `keys`.
Source: k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/oidc.go (claimResolver); openid-connect-core-1_0, section 5.6.2.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.jwt.config import Issuer, JWTConfig
from kcp.apiserver.authn.jwt.keys import Fetch, IssuerKeys, Unreachable
from kcp.apiserver.authn.serviceaccounts import peek

_MOST_ISSUERS = 16
Check = Callable[[Mapping[str, Any]], object]
"""Of audience and times. Raises Unauthorized."""


class DistributedClaim:
    """The claim that holds the groups."""

    def __init__(self, config: JWTConfig, check: Check, *, clock: Clock, get: Fetch) -> None:
        self._claim, self._issuer, self._algorithms = config.groups.claim, config.issuer, config.algorithms
        self._check, self._clock, self._get = check, clock, get
        self._keys: OrderedDict[str, IssuerKeys] = OrderedDict()

    async def expand(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims with this one in them, if they say where it is. Raises Unauthorized."""
        source = self._source(claims)
        if source is None:
            return claims
        url, access_token = str(source["endpoint"]), str(source.get("access_token") or "")
        try:
            token = (await self._get(url, self._issuer.certificate_authority.encode(), access_token)).decode("ascii").strip()
        except (Unreachable, UnicodeDecodeError) as fault:
            raise Unauthorized(f"oidc: while getting distributed claim {self._claim!r}: {fault}") from fault
        found = await self._verified(token)
        if self._claim not in found:
            raise Unauthorized(f"oidc: jwt returned by distributed claim endpoint {url!r} did not contain claim: {self._claim}")
        return {**claims, self._claim: found[self._claim]}

    def _source(self, claims: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """None where the claim is there, is not said to be elsewhere, or is aggregated, which is not read."""
        names, sources = claims.get("_claim_names"), claims.get("_claim_sources")
        if self._claim in claims or names is None:
            return None
        if not isinstance(names, dict) or not isinstance(sources, dict):
            raise Unauthorized("oidc: error parsing distributed claim names and sources")
        if self._claim not in names:
            return None
        source = sources.get(str(names[self._claim]))
        if not isinstance(source, dict):
            raise Unauthorized(f"oidc: _claim_names contained a source {names[self._claim]} missing in _claim_sources")
        return source if source.get("endpoint") else None

    async def _verified(self, token: str) -> Mapping[str, Any]:
        claimed = peek(token)
        issuer = claimed.get("iss") if claimed is not None else None
        if not isinstance(issuer, str):
            raise Unauthorized("oidc: what the distributed claim endpoint returned is no token")
        found = await self._keys_of(issuer).verify(token)
        self._check(found)
        return found

    def _keys_of(self, url: str) -> IssuerKeys:
        held = self._keys.get(url)
        if held is None:
            issuer: Issuer = self._issuer if url == self._issuer.url else replace(self._issuer, url=url, discovery_url="")
            held = self._keys[url] = IssuerKeys(issuer, self._algorithms, clock=self._clock, get=self._get)
            if len(self._keys) > _MOST_ISSUERS:
                self._keys.popitem(last=False)
        self._keys.move_to_end(url)
        return held
