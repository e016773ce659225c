"""The keys an issuer signs with: found by discovery when its first token comes, fetched again when a token names a key not yet known.

Before: `authenticator`. After: `client.http`, whose connections live no longer than a fetch: fetches are rare.
Source: github.com/coreos/go-oidc (oidc.go NewProvider, jwks.go remoteKeySet).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.jwt.config import Issuer
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.http import HttpTransport
from kcp.client.transport import RawRequest, TransportError

log = logging.getLogger(__name__)

Fetch: TypeAlias = Callable[[str, bytes, str], Awaitable[bytes]]
"""(https URL, PEM of authorities or b"", bearer token or "") → the document. Raises Unreachable."""

WELL_KNOWN = "/.well-known/openid-configuration"
_LONGEST_DOCUMENT = 1 << 20
_TIMEOUT_S = 10.0
_RETRY_AFTER_S = 10.0
"""After a failed discovery. Source: oidc.go, which polls as often."""
_MOST_FETCHES, _FETCH_EVERY_S = 10, 1.0
"""Fetches for unknown keys at once, and how soon there may be another: anybody can send tokens that name none of them."""


class Unreachable(Exception):
    """An issuer's document cannot be had; the message says which and why."""


async def fetch(url: str, ca_pem: bytes, token: str) -> bytes:
    """GET over HTTPS, without redirects."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise Unreachable(f"{url}: not an https URL")
    endpoint = Endpoint(server=f"https://{parts.netloc}", ca_pem=ca_pem, token=token, origin=url)
    transport = HttpTransport(endpoint, timeouts=Timeouts(connect_s=_TIMEOUT_S))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        async with asyncio.timeout(_TIMEOUT_S), transport.stream(RawRequest("GET", path, headers={"accept": "application/json"})) as opened:
            answer, chunks = opened
            if answer.status != 200:
                raise Unreachable(f"{url}: answered {answer.status}")
            body = b""
            async for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_DOCUMENT:
                    raise Unreachable(f"{url}: the answer is longer than {_LONGEST_DOCUMENT} bytes")
            return body
    except TimeoutError:
        raise Unreachable(f"{url}: no answer within {_TIMEOUT_S:g} s") from None
    except TransportError as fault:
        raise Unreachable(str(fault)) from fault
    finally:
        await transport.close()


class IssuerKeys:
    """Checks signatures of one issuer's tokens."""

    def __init__(self, issuer: Issuer, algorithms: Sequence[str], *, clock: Clock, get: Fetch = fetch) -> None:
        self._issuer = issuer
        self._algorithms = tuple(algorithms)
        self._clock = clock
        self._get = get
        self._authority = issuer.certificate_authority.encode()
        self._lock = asyncio.Lock()
        self._jwks_uri = ""
        self._failed_at = float("-inf")
        self._fault = ""
        self._keys: tuple[Mapping[str, Any], ...] = ()
        self._generation = 0
        self._fetches = float(_MOST_FETCHES)
        self._counted_at = clock.monotonic()

    async def verify(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that one of the issuer's keys has signed; their meaning is not looked at. Raises Unauthorized."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as fault:
            raise Unauthorized(f"oidc: malformed jwt: {fault}") from fault
        algorithm, key_id = str(header.get("alg")), header.get("kid")
        if algorithm not in self._algorithms:
            raise Unauthorized(f"oidc: id token signed with unsupported algorithm, expected {list(self._algorithms)} got {algorithm!r}")
        generation = self._generation
        if (claims := self._try(token, algorithm, key_id)) is None:
            await self._refresh(generation)
            claims = self._try(token, algorithm, key_id)
        if claims is None:
            raise Unauthorized("oidc: failed to verify signature: no key of the issuer fits")
        return claims

    def _try(self, token: str, algorithm: str, key_id: object) -> Mapping[str, Any] | None:
        import jwt

        options: Any = {
            "verify_signature": True,
            **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"), False),
        }
        for key in self._candidates(algorithm, key_id):
            try:
                claims: Mapping[str, Any] = jwt.decode(token, jwt.PyJWK(dict(key), algorithm), algorithms=[algorithm], options=options)
            except jwt.PyJWTError:
                continue
            return claims
        return None

    def _candidates(self, algorithm: str, key_id: object) -> Iterator[Mapping[str, Any]]:
        kind = "EC" if algorithm.startswith("ES") else "RSA"
        for key in self._keys:
            if key.get("kty") == kind and key.get("use") in (None, "", "sig") and key_id in (None, "", key.get("kid")):
                yield key

    async def _refresh(self, seen: int) -> None:
        """Fetch the keys, unless somebody did since `seen`. Raises Unauthorized where there are none to be had."""
        async with self._lock:
            if self._generation != seen:
                return
            if not self._may_fetch():
                return
            try:
                self._keys = await self._fetched()
            except Unreachable as fault:
                self._failed_at, self._fault = self._clock.monotonic(), str(fault)
                log.warning("the keys of issuer %s cannot be fetched: %s", self._issuer.url, fault)
                if not self._keys:
                    raise self._uninitialized() from fault
                return
            self._generation += 1
            log.info("issuer %s: %d keys fetched", self._issuer.url, len(self._keys))

    def _may_fetch(self) -> bool:
        now = self._clock.monotonic()
        if not self._keys and now < self._failed_at + _RETRY_AFTER_S:
            raise self._uninitialized()
        self._fetches = min(self._fetches + (now - self._counted_at) / _FETCH_EVERY_S, float(_MOST_FETCHES))
        self._counted_at = now
        if self._fetches < 1.0:
            return False
        self._fetches -= 1.0
        return True

    def _uninitialized(self) -> Unauthorized:
        return Unauthorized(f"oidc: authenticator for issuer {self._issuer.url} not initialized: {self._fault}")

    async def _fetched(self) -> tuple[Mapping[str, Any], ...]:
        if not self._jwks_uri:
            self._jwks_uri = await self._discovered()
        keys = _document(await self._get(self._jwks_uri, self._authority, ""), self._jwks_uri).get("keys")
        if not isinstance(keys, list):
            raise Unreachable(f"{self._jwks_uri}: not a JSON Web Key Set")
        return tuple(key for key in keys if isinstance(key, dict))

    async def _discovered(self) -> str:
        url = self._issuer.discovery_url or self._issuer.url.rstrip("/") + WELL_KNOWN
        document = _document(await self._get(url, self._authority, ""), url)
        if document.get("issuer") != self._issuer.url:
            raise Unreachable(f"{url}: issuer did not match, expected {self._issuer.url!r} got {document.get('issuer')!r}")
        found = document.get("jwks_uri")
        if not isinstance(found, str) or not found:
            raise Unreachable(f"{url}: names no jwks_uri")
        return found


def _document(body: bytes, url: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise Unreachable(f"{url}: not JSON: {fault}") from fault
    if not isinstance(found, dict):
        raise Unreachable(f"{url}: not a JSON object")
    return found
