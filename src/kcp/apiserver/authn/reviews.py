"""TokenReview, SelfSubjectReview (`kubectl auth whoami`), and TokenRequest (`kubectl create token`).

Before: the resource dispatcher (`apiserver.reviews`). After: `authn.chain`, `authn.serviceaccounts`.
Source: k8s.io/kubernetes/pkg/registry/authentication/{tokenreview,selfsubjectreview}/rest.go,
pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kcp.aio.clock import rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Cause, Conflict, NotFound, Unauthorized
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authn.chain import Authentication
from kcp.apiserver.authn.identity import ObjectLookup, found
from kcp.apiserver.authn.serviceaccounts import SERVICE_ACCOUNTS, BoundObject, ServiceAccountTokens
from kcp.apiserver.request import Request, Response
from kcp.apiserver.reviews import ReviewHandlers, answer, invalid, read_review
from kcp.registry.backend import UserInfo

GROUP = "authentication.k8s.io"
_VERSION = f"{GROUP}/v1"
_MIN_LIFETIME_S, _MAX_LIFETIME_S, _DEFAULT_LIFETIME_S = 600, 1 << 32, 3600


def token_reviews(
    authentication: Authentication, tokens: ServiceAccountTokens, lookup: ObjectLookup, *, longest_s: int = 0
) -> ReviewHandlers:
    """The handlers by (group, resource, subresource). Args: longest_s: how long a token lives at most; 0: as long as it is asked for."""
    reviews = TokenReviews(authentication, tokens, lookup, longest_s)
    return {
        (GROUP, "tokenreviews", ""): reviews.review,
        (GROUP, "selfsubjectreviews", ""): reviews.self_subject,
        ("", "serviceaccounts", "token"): reviews.request,
    }


def user_object(user: UserInfo) -> JSONObject:
    """A UserInfo as authentication.k8s.io/v1 writes it."""
    obj: JSONObject = {"username": user.name}
    if user.uid:
        obj["uid"] = user.uid
    if user.groups:
        obj["groups"] = list(user.groups)
    if user.extra:
        obj["extra"] = {key: list(values) for key, values in user.extra.items()}
    return obj


@dataclass(frozen=True, slots=True)
class TokenReviews:
    authentication: Authentication
    tokens: ServiceAccountTokens
    lookup: ObjectLookup
    longest_s: int = 0

    async def review(self, req: Request) -> Response:
        obj = await read_review(req, "TokenReview")
        token = meta.nested(obj, "spec", "token", default="")
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        wanted = frozenset(meta.nested(obj, "spec", "audiences", default=())) or self.authentication.audiences
        return answer(obj, _VERSION, "TokenReview", await self._review_status(req, token, wanted))

    async def _review_status(self, req: Request, token: str, wanted: frozenset[str]) -> JSONObject:
        try:
            identity = await self.authentication.identify(token, req.info.cluster)
        except Unauthorized as refusal:
            return {"user": {}, "error": refusal.message}
        if identity is None:
            return {"user": {}}
        common = sorted(wanted.intersection(identity.audiences)) if identity.audiences else sorted(wanted & self.authentication.audiences)
        if wanted and not common and (identity.audiences or self.authentication.audiences):
            return {"user": {}, "error": "the token is not valid for any of the audiences asked for"}
        status: JSONObject = {"authenticated": True, "user": user_object(identity.user)}
        if common:
            status["audiences"] = common
        return status

    async def self_subject(self, req: Request) -> Response:
        obj = await read_review(req, "SelfSubjectReview")
        return answer(obj, _VERSION, "SelfSubjectReview", {"userInfo": user_object(req.user)})

    async def request(self, req: Request) -> Response:
        """POST serviceaccounts/<name>/token. Raises NotFound, Invalid, Conflict."""
        obj = await read_review(req, "TokenRequest")
        info = req.info
        account = await found(self.lookup, SERVICE_ACCOUNTS, info.cluster, info.namespace, info.name)
        if account is None:
            raise NotFound.of(SERVICE_ACCOUNTS, info.name)
        spec: dict[str, Any] = dict(obj.get("spec") or {})
        lifetime_s = min(_lifetime_s(spec), self.longest_s or _MAX_LIFETIME_S)
        audiences = tuple(spec.get("audiences") or self.tokens.audiences)
        bound = await self._bound(req, spec.get("boundObjectRef"))
        token, expires_at = self.tokens.issue(account, info.cluster, audiences=audiences, lifetime_s=lifetime_s, bound=bound)
        obj["spec"] = {**spec, "audiences": list(audiences), "expirationSeconds": lifetime_s}
        obj["metadata"] = {**(obj.get("metadata") or {}), "name": info.name, "namespace": info.namespace}
        expires = rfc3339(datetime.fromtimestamp(expires_at, UTC))
        return answer(obj, _VERSION, "TokenRequest", {"token": token, "expirationTimestamp": expires})

    async def _bound(self, req: Request, ref: Mapping[str, Any] | None) -> BoundObject | None:
        if not ref:
            return None
        kind, name = ref.get("kind") or "", ref.get("name") or ""
        resource = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
        if resource is None or ref.get("apiVersion") != "v1":
            raise BadRequest(f'cannot bind token for serviceaccount "{req.info.name}" to object of type {ref.get("apiVersion")}/{kind}')
        gr = GroupResource("", resource)
        obj = await found(self.lookup, gr, req.info.cluster, "" if kind == "Node" else req.info.namespace, name)
        if obj is None:
            raise NotFound.of(gr, name)
        uid = ref.get("uid") or meta.uid(obj)
        if uid != meta.uid(obj):
            text = f'Operation cannot be fulfilled on {gr} "{name}": the UID in the bound object reference ({uid})'
            raise Conflict(f"{text} does not match the UID in record. The object might have been deleted and then recreated")
        return BoundObject(kind, name, uid)


def _lifetime_s(spec: Mapping[str, Any]) -> int:
    """Source: pkg/apis/authentication/validation (ValidateTokenRequest)."""
    asked = spec.get("expirationSeconds")
    lifetime_s = _DEFAULT_LIFETIME_S if asked is None else asked
    if not isinstance(lifetime_s, int) or isinstance(lifetime_s, bool):
        detail = "must be a whole number of seconds"
    elif lifetime_s < _MIN_LIFETIME_S:
        detail = "may not specify a duration less than 10 minutes"
    elif lifetime_s > _MAX_LIFETIME_S:
        detail = "may not specify a duration larger than 2^32 seconds"
    else:
        return lifetime_s
    raise invalid(GROUP, "tokenrequests", "TokenRequest", Cause.invalid("spec.expirationSeconds", asked, detail))
