"""Bearer tokens: the static table, and the cache before the costly kinds.

A token is never compared as text: tables are keyed by its SHA-256, so that the time of a look-up says nothing about a token.
Before: `authn.chain`. After: `authn.serviceaccounts` behind `CachedTokens`.
Source: k8s.io/apiserver/pkg/authentication/token/{tokenfile,cache,union}.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.identity import TokenAuthenticator, TokenIdentity, as_authenticated
from kcp.registry.backend import UserInfo


class TokenFileError(Exception):
    """A `--token-auth-file` that cannot be used; the message names file and line."""


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class StaticTokens:
    """Tokens known in advance: from a file, and made by the server for its administrators."""

    def __init__(self, tokens: Mapping[str, UserInfo] | None = None) -> None:
        self._by_digest: dict[bytes, TokenIdentity] = {}
        for token, user in (tokens or {}).items():
            self.add(token, user)

    def add(self, token: str, user: UserInfo) -> None:
        self.add_digest(digest(token), user)

    def add_digest(self, sha256: bytes, user: UserInfo) -> None:
        """For token stores that keep only the hash."""
        self._by_digest[sha256] = TokenIdentity(as_authenticated(user))

    def remove(self, token: str) -> None:
        self._by_digest.pop(digest(token), None)

    def load_csv(self, path: Path) -> int:
        """Add the lines `token,user,uid[,"group1,group2"]` of a file. Returns how many.

        Raises: TokenFileError. Source: tokenfile.go (NewCSV).
        """
        count = 0
        try:
            with path.open(newline="", encoding="utf-8") as lines:
                for number, row in enumerate(csv.reader(lines), start=1):
                    if row and any(row):
                        self._add_row(path, number, row)
                        count += 1
        except (OSError, UnicodeDecodeError, csv.Error) as fault:
            raise TokenFileError(f"cannot read the token file {path}: {fault}") from fault
        return count

    def _add_row(self, path: Path, number: int, row: Sequence[str]) -> None:
        if len(row) < 3:
            raise TokenFileError(f"{path}, line {number}: expected at least 3 columns (token, user name, user uid), found {len(row)}")
        token, name, uid = (part.strip() for part in row[:3])
        if not token or not name:
            raise TokenFileError(f"{path}, line {number}: the token and the user name must not be empty")
        groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
        self.add(token, UserInfo(name, groups, uid))

    def get(self, token: str) -> TokenIdentity | None:
        return self._by_digest.get(digest(token))

    async def authenticate(self, token: str) -> TokenIdentity | None:
        return self.get(token)

    def __len__(self) -> int:
        return len(self._by_digest)


class CachedTokens:
    """Remembers for a short while what the authenticators behind it found, by the token's hash.

    Only successes are kept. A revoked token therefore works for at most `ttl_s` more.
    Source: k8s.io/apiserver/pkg/authentication/token/cache/cached_token_authenticator.go (10 s).
    """

    def __init__(
        self, authenticators: Sequence[TokenAuthenticator], *, clock: Clock, ttl_s: float = 10.0, max_entries: int = 4_096
    ) -> None:
        self._authenticators = tuple(authenticators)
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._entries: dict[bytes, tuple[float, TokenIdentity]] = {}

    async def authenticate(self, token: str) -> TokenIdentity | None:
        key = digest(token)
        held = self._entries.get(key)
        now = self._clock.monotonic()
        if held is not None:
            if now < held[0]:
                return held[1]
            del self._entries[key]
        identity = await first_of(self._authenticators, token)
        if identity is not None:
            self._remember(key, identity, now)
        return identity

    def _remember(self, key: bytes, identity: TokenIdentity, now: float) -> None:
        left_s = identity.expires_at - self._clock.now().timestamp()
        if len(self._entries) >= self._max_entries:
            for old in list(self._entries)[: self._max_entries // 2]:
                del self._entries[old]
        self._entries[key] = (now + min(self._ttl_s, left_s), identity)

    def statistics(self) -> dict[str, int]:
        return {"tokens": len(self._entries)}


async def first_of(authenticators: Sequence[TokenAuthenticator], token: str) -> TokenIdentity | None:
    """The first identity found; a refusal counts only if nobody else knows the token. Raises Unauthorized."""
    refusal: Unauthorized | None = None
    for authenticator in authenticators:
        try:
            identity = await authenticator.authenticate(token)
        except Unauthorized as fault:
            refusal = refusal or fault
            continue
        if identity is not None:
            return identity
    if refusal is not None:
        raise refusal
    return None
