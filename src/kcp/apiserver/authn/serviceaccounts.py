"""Service-account tokens: JWTs signed by this server, bound to objects that must still exist.

The claims are upstream's plus kcp's `kubernetes.io.clusterName`. `jwt` and `cryptography` are imported when the first such token is made or
read, the keys are read then too: a server that sees none pays nothing.
Before: `authn.tokens.CachedTokens`, `authn.reviews` (TokenRequest), the token controller. After: an `ObjectLookup` over the watch cache.
Source: k8s.io/kubernetes/pkg/serviceaccount/{jwt,claims,legacy}.go; kcp's clusterName claim.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Unauthorized
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import LOCAL, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authn.identity import (
    CLUSTER_EXTRA,
    ObjectLookup,
    TokenIdentity,
    as_authenticated,
    found,
    service_account_groups,
    service_account_name,
)
from kcp.registry.backend import UserInfo

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey: TypeAlias = EllipticCurvePrivateKey | RSAPrivateKey
    PublicKey: TypeAlias = EllipticCurvePublicKey | RSAPublicKey

SERVICE_ACCOUNTS = GroupResource("", "serviceaccounts")
_BOUND_RESOURCES = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
"""Kinds a token can be bound to."""
LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"
_LEEWAY_S = 10.0
_PEM_BLOCK = re.compile(rb"-----BEGIN [A-Z ]*KEY-----.+?-----END [A-Z ]*KEY-----", re.DOTALL)
_DOMAIN = "kubernetes.io"


class SigningKeys:
    """The key that signs and those that verify, from PEM files, read on first use."""

    def __init__(self, private_key: Path | None, public_keys: Sequence[Path]) -> None:
        """`private_key`: None for a server that only verifies. `public_keys`: private ones will do, and several in a file."""
        self._private_path = private_key
        self._public_paths = tuple(public_keys)
        self._private: PrivateKey | None = None
        self._public: dict[str, PublicKey] = {}

    def sign(self, claims: Mapping[str, Any]) -> str:
        import jwt

        key, key_id = self._signing()
        return jwt.encode(dict(claims), key, algorithm=_algorithm(key), headers={"kid": key_id})

    def verify(self, token: str) -> Mapping[str, Any]:
        """The claims of a token with a good signature; times are not looked at. Raises Unauthorized."""
        import jwt

        options: Any = {
            "verify_signature": True,
            **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False),
        }
        try:
            wanted = str(jwt.get_unverified_header(token).get("kid"))
            keys = self._verifying()
            for key in [keys[wanted]] if wanted in keys else keys.values():
                try:
                    claims: Mapping[str, Any] = jwt.decode(token, key, algorithms=[_algorithm(key)], options=options)
                except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                    continue
                return claims
        except jwt.PyJWTError as fault:
            raise Unauthorized(f"the token cannot be read: {fault}") from fault
        raise Unauthorized("no key of this server verifies the token's signature")

    def published(self) -> list[dict[str, Any]]:
        """The keys that verify, as others may have them (RFC 7517). Source: serviceaccount/openidmetadata.go (publicJWKSFromKeys)."""
        import jwt

        made = []
        for key_id, key in self._verifying().items():
            algorithm = _algorithm(key)
            parts = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
            made.append({"use": "sig", "kid": key_id, "alg": algorithm} | {k: v for k, v in parts.items() if k != "key_ops"})
        return made

    def _signing(self) -> tuple[PrivateKey, str]:
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if self._private is None:
            if self._private_path is None:
                raise ValueError("this server has no key to sign service-account tokens with")
            key = load_pem_private_key(self._private_path.read_bytes(), None)
            if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
                raise ValueError(f"{self._private_path} holds neither an EC nor an RSA key")
            self._private = key
        return self._private, _key_id(self._private.public_key())

    def _verifying(self) -> Mapping[str, PublicKey]:
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

        if not self._public:
            blocks = [(path, block) for path in self._public_paths for block in _PEM_BLOCK.findall(path.read_bytes())]
            for path, block in blocks:
                key = load_pem_private_key(block, None).public_key() if b"PRIVATE" in block else load_pem_public_key(block)
                if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
                    raise ValueError(f"{path} holds something else than EC and RSA keys")
                self._public[_key_id(key)] = key
        return self._public


def _algorithm(key: PrivateKey | PublicKey) -> str:
    """JWS algorithm of a key. Source: serviceaccount/jwt.go (signerFromPrivateKey)."""
    curve = getattr(key, "curve", None)
    return "RS256" if curve is None else {256: "ES256", 384: "ES384", 521: "ES512"}[curve.key_size]


def _key_id(key: PublicKey) -> str:
    """Source: serviceaccount/jwt.go (keyIDFromPublicKey)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(spki).digest()).rstrip(b"=").decode()


def peek(token: str) -> Mapping[str, Any] | None:
    """The claims of something that looks like a JWT, unverified: to tell whose token it is without loading any library."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


@dataclass(frozen=True, slots=True)
class BoundObject:
    """The object whose end also ends a token."""

    kind: str
    name: str
    uid: str


class ServiceAccountTokens:
    """Makes and checks the tokens of one issuer."""

    def __init__(
        self,
        keys: SigningKeys,
        lookup: ObjectLookup,
        *,
        clock: Clock,
        issuer: str = "https://kcp.default.svc",
        also_accepted: Sequence[str] = (),
        audiences: Sequence[str] = (),
        cluster_claim: bool = True,
        jwks_uri: str = "",
    ) -> None:
        """`audiences`: of this server, default the issuer. `cluster_claim`: whether tokens name their logical cluster (kcp).

        `also_accepted`: issuers that this server once was. `jwks_uri`: where others find the keys, if not at this server.
        """
        self.keys = keys
        self._lookup = lookup
        self._clock = clock
        self.issuer = issuer
        self.issuers = (issuer, *also_accepted)
        """Whose tokens are accepted."""
        self.jwks_uri = jwks_uri
        self.audiences = tuple(audiences) or (issuer,)
        self._cluster_claim = cluster_claim

    def issue(
        self,
        account: JSONObject,
        cluster: ClusterName,
        *,
        audiences: Sequence[str] = (),
        lifetime_s: int = 3600,
        bound: BoundObject | None = None,
    ) -> tuple[str, float]:
        """A token for a service account, and the Unix time it expires at. Source: serviceaccount/claims.go (Claims)."""
        now = int(self._clock.now().timestamp())
        namespace, name = meta.namespace(account), meta.name(account)
        private: JSONObject = {"namespace": namespace, "serviceaccount": {"name": name, "uid": meta.uid(account)}}
        if self._cluster_claim:
            private["clusterName"] = cluster
        if bound is not None:
            private[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
        claims = {
            "aud": list(audiences) or list(self.audiences), "exp": now + lifetime_s, "iat": now, "iss": self.issuer,
            "jti": str(uuid.uuid4()), _DOMAIN: private, "nbf": now, "sub": service_account_name(namespace, name),
        }  # fmt: skip
        return self.keys.sign(claims), float(now + lifetime_s)

    def issue_legacy(self, account: JSONObject, cluster: ClusterName, secret_name: str) -> str:
        """The token of a Secret of type kubernetes.io/service-account-token; valid as long as the Secret holds it."""
        namespace, name = meta.namespace(account), meta.name(account)
        claims = {
            "iss": LEGACY_ISSUER, "sub": service_account_name(namespace, name), f"{_LEGACY}namespace": namespace,
            f"{_LEGACY}secret.name": secret_name, f"{_LEGACY}service-account.name": name,
            f"{_LEGACY}service-account.uid": meta.uid(account),
        }  # fmt: skip
        if self._cluster_claim:
            claims[f"{_LEGACY}clusterName"] = cluster
        return self.keys.sign(claims)

    async def authenticate(self, token: str) -> TokenIdentity | None:
        claimed = peek(token)
        if claimed is None or claimed.get("iss") not in (*self.issuers, LEGACY_ISSUER):
            return None
        claims = self.keys.verify(token)
        if claims["iss"] == LEGACY_ISSUER:
            return await self._legacy(token, claims)
        return await self._bound(claims)

    async def _bound(self, claims: Mapping[str, Any]) -> TokenIdentity:
        """Source: serviceaccount/claims.go (validator.Validate)."""
        now = self._clock.now().timestamp()
        expires_at = float(claims.get("exp") or 0)
        if now > expires_at + _LEEWAY_S:
            raise Unauthorized("service account token has expired")
        if now < float(claims.get("nbf") or 0) - _LEEWAY_S:
            raise Unauthorized("service account token is not valid yet")
        private = claims.get(_DOMAIN) or {}
        cluster = self._cluster(private.get("clusterName"))
        namespace, account = private.get("namespace") or "", private.get("serviceaccount") or {}
        await self._exists(SERVICE_ACCOUNTS, cluster, namespace, account)
        extra: dict[str, tuple[str, ...]] = {}
        for kind, resource in _BOUND_RESOURCES.items():
            ref = private.get(kind.lower())
            if ref:
                await self._exists(GroupResource("", resource), cluster, "" if kind == "Node" else namespace, ref)
                if kind != "Secret":
                    extra[f"authentication.kubernetes.io/{kind.lower()}-name"] = (ref.get("name", ""),)
                    extra[f"authentication.kubernetes.io/{kind.lower()}-uid"] = (ref.get("uid", ""),)
        if claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        audience = claims.get("aud") or ()
        audiences = (audience,) if isinstance(audience, str) else tuple(audience)
        return TokenIdentity(self._user(cluster, namespace, account, extra), audiences, expires_at)

    async def _legacy(self, token: str, claims: Mapping[str, Any]) -> TokenIdentity:
        """Source: serviceaccount/legacy.go (legacyValidator.Validate)."""
        namespace = str(claims.get(f"{_LEGACY}namespace") or "")
        account = {"name": claims.get(f"{_LEGACY}service-account.name"), "uid": claims.get(f"{_LEGACY}service-account.uid")}
        cluster = self._cluster(claims.get(f"{_LEGACY}clusterName"))
        await self._exists(SERVICE_ACCOUNTS, cluster, namespace, account)
        secret_name = str(claims.get(f"{_LEGACY}secret.name") or "")
        secret = await self._exists(GroupResource("", "secrets"), cluster, namespace, {"name": secret_name})
        held = meta.nested(secret, "data", "token", default="")
        if not hmac.compare_digest(str(held), base64.b64encode(token.encode()).decode()):
            raise Unauthorized("token does not match the one its secret holds")
        return TokenIdentity(self._user(cluster, namespace, account, {}), self.audiences)

    def _cluster(self, claimed: object) -> ClusterName:
        if not self._cluster_claim:
            return LOCAL
        if not claimed or not isinstance(claimed, str):
            raise Unauthorized("the token names no logical cluster")
        return ClusterName(claimed)

    async def _exists(self, resource: GroupResource, cluster: ClusterName, namespace: str, ref: Mapping[str, Any]) -> JSONObject:
        """The object a token is bound to. Raises Unauthorized if it is gone, replaced, or past its deletion."""
        name = str(ref.get("name") or "")
        obj = await found(self._lookup, resource, cluster, namespace, name)
        if obj is None:
            raise Unauthorized(f'{resource} "{name}" of the token does not exist')
        uid = ref.get("uid")
        if uid and uid != meta.uid(obj):
            raise Unauthorized(f'the token was made for another {resource} "{name}": its uid is not {uid} any more')
        if meta.deletion_timestamp(obj):
            raise Unauthorized(f'{resource} "{name}" of the token is being deleted')
        return obj

    def _user(self, cluster: ClusterName, namespace: str, account: Mapping[str, Any], extra: dict[str, tuple[str, ...]]) -> UserInfo:
        if self._cluster_claim:
            extra[CLUSTER_EXTRA] = (str(cluster),)
        name = service_account_name(namespace, str(account.get("name")))
        return as_authenticated(UserInfo(name, service_account_groups(namespace), str(account.get("uid") or ""), extra))
