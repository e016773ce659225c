"""An OpenID Connect issuer for tests: real keys, real tokens, its documents over HTTPS on loopback or straight from memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kcp.aio.clock import SystemClock
from kcp.apiserver.authn.jwt.keys import Unreachable
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServingConfig, TLSFiles, serve

AUDIENCE = "kcp-tests"
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Issuer:
    """Signs for its URL; `rotate` gives it another key, `forget` withdraws all but the last."""

    def __init__(self, url: str = "https://issuer.test", *, algorithm: str = "ES256") -> None:
        self.url = url
        self.ca_pem = ""
        self.fetched: list[str] = []
        """Paths asked for, in order."""
        self.shown: list[str] = []
        """Bearer tokens that came with questions."""
        self.answers: dict[str, bytes] = {}
        """Further documents, by path."""
        self.is_down = False
        self.discovery_path = "/.well-known/openid-configuration"
        self.claimed_url = ""
        """What its discovery document says it is, if something else than it is."""
        self._keys: list[tuple[str, str, Any]] = []
        self.rotate(algorithm)

    def rotate(self, algorithm: str = "ES256") -> None:
        made: Any = ec.generate_private_key(_CURVES[algorithm]) if algorithm in _CURVES else rsa.generate_private_key(65537, 2048)
        self._keys.append((f"key-{len(self._keys)}", algorithm, made))

    def forget(self) -> None:
        del self._keys[:-1]

    def token(self, *, key: int = -1, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Signed by its last key, good for an hour, with these claims too; a claim that is None is left out."""
        key_id, algorithm, private = self._keys[key]
        now = int(time.time())
        every = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600, **claims}
        every = {name: value for name, value in every.items() if value is not None}
        return jwt.encode(every, private, algorithm=algorithm, headers={"kid": key_id} if headers is None else headers)

    def config(self, /, **changes: Any) -> dict[str, Any]:
        """An entry of `jwt` in an AuthenticationConfiguration, with some of its fields replaced."""
        issuer: dict[str, Any] = {"url": self.url, "audiences": [AUDIENCE]}
        if self.ca_pem:
            issuer["certificateAuthority"] = self.ca_pem
        mappings = {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "groups", "prefix": "oidc:"}}
        return {"issuer": issuer, "claimMappings": mappings, **changes}

    def document(self, path: str) -> bytes | None:
        self.fetched.append(path)
        if self.is_down:
            return None
        if path in self.answers:
            return self.answers[path]
        if path == self.discovery_path:
            return orjson.dumps({"issuer": self.claimed_url or self.url, "jwks_uri": f"{self.url}/keys"})
        return orjson.dumps({"keys": [self._public(*key) for key in self._keys]}) if path == "/keys" else None

    @staticmethod
    def _public(key_id: str, algorithm: str, private: Any) -> dict[str, Any]:
        kind = jwt.algorithms.ECAlgorithm if algorithm in _CURVES else jwt.algorithms.RSAAlgorithm
        return {**kind.to_jwk(private.public_key(), as_dict=True), "kid": key_id, "alg": algorithm, "use": "sig"}

    async def get(self, url: str, _ca_pem: bytes, token: str) -> bytes:
        """In place of the network."""
        if token:
            self.shown.append(token)
        found = self.document("/" + url.split("/", 3)[3])
        if found is None:
            raise Unreachable(f"{url}: answered 404")
        return found

    async def app(self, scope: Any, _receive: Any, send: Any) -> None:
        """As an ASGI application."""
        body = self.document(scope["path"])
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body or b""))]
        await send({"type": "http.response.start", "status": 404 if body is None else 200, "headers": head})
        await send({"type": "http.response.body", "body": body or b""})


@asynccontextmanager
async def https_issuer(directory: Path, *, algorithm: str = "ES256") -> AsyncIterator[Issuer]:
    """One that is reached over HTTPS. Args: directory: for its certificates."""
    clock = SystemClock()
    pki = PKI.ensure(directory, clock=clock)
    issuer = Issuer(algorithm=algorithm)
    tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key)
    async with await serve(issuer.app, ServingConfig(host="127.0.0.1", port=0, tls=tls), clock=clock) as handle:
        issuer.url, issuer.ca_pem = handle.url, pki.ca_pem()
        yield issuer
