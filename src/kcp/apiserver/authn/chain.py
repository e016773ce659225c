"""Who asks: a trusted proxy's headers, client certificate, then bearer token, then anonymous; wrong credentials are always a 401.

Before: the request-info filter. After: `authn.impersonation`, `authz.filter`.
Source: k8s.io/apiserver/pkg/endpoints/filters/authentication.go, pkg/authentication/request/{x509,bearertoken,anonymous,union}.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from kcp.apimachinery.errors import Unauthorized
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authn.anonymous import AnonymousAccess
from kcp.apiserver.authn.identity import LocalTokens, TokenAuthenticator, TokenIdentity, as_authenticated
from kcp.apiserver.authn.requestheader import RequestHeaders
from kcp.apiserver.authn.subprotocol import subprotocol_token
from kcp.apiserver.authn.tokens import StaticTokens, first_of
from kcp.apiserver.request import ANONYMOUS, Filter, Handler, Request, Response
from kcp.registry.backend import UserInfo

log = logging.getLogger(__name__)

_MAX_SUBJECTS = 1_024
NO_CLUSTER = ClusterName("")


class Authentication:
    """The ways to prove an identity, in order."""

    def __init__(
        self,
        *,
        static: StaticTokens | None = None,
        tokens: Sequence[TokenAuthenticator] = (),
        anonymous: AnonymousAccess | None = None,
        audiences: Sequence[str] = (),
        local: LocalTokens | None = None,
        headers: RequestHeaders | None = None,
    ) -> None:
        """`audiences`: names of this server; a token made for others only is refused. Empty: audiences are not looked at.

        `local`: asked last, for tokens of a single workspace. `headers`: by which trusted proxies name users.
        """
        self.static = static or StaticTokens()
        self._tokens = tuple(tokens)
        self._anonymous = anonymous or AnonymousAccess()
        self.audiences = frozenset(audiences)
        self._local = local
        self._headers = headers
        self._by_subject: dict[tuple[tuple[str, ...], tuple[str, ...]], UserInfo] = {}

    async def authenticate(self, req: Request) -> UserInfo:
        """The user behind a request. Raises Unauthorized."""
        if self._headers is not None and req.peer_proxy is not None and (user := self._named_by_proxy(req, self._headers)) is not None:
            return user
        if req.peer_subject is not None:
            user = self.certificate_user(req.peer_subject)
            if user is not None:
                return user
        header = req.headers.get("authorization")
        if header is not None and (token := bearer_token(header)):
            return (await self._authenticate_token(token, req.info.cluster)).user
        if "sec-websocket-protocol" in req.headers and (token := subprotocol_token(req)):
            return (await self._authenticate_token(token, req.info.cluster)).user
        if req.peer_fault:
            log.info("a client certificate was refused: %s; the client needs a new one from this server's client CA", req.peer_fault)
            raise Unauthorized(f"Unauthorized: the client certificate is refused: {req.peer_fault}")
        if header or not self._anonymous.admits(req.info.path or req.path):
            raise Unauthorized("Unauthorized")
        return ANONYMOUS

    @staticmethod
    def _named_by_proxy(req: Request, headers: RequestHeaders) -> UserInfo | None:
        """A proxy that is not allowed to name users may still have another way to prove who it is."""
        try:
            return headers.user(req)
        except Unauthorized as refusal:
            req.peer_fault = refusal.message
            return None

    async def identify(self, token: str, cluster: ClusterName = NO_CLUSTER) -> TokenIdentity | None:
        """The identity of any token this server knows, for whatever audience. Raises Unauthorized.

        `cluster`: where it is shown, for tokens that are good in one workspace only.
        """
        refusal: Unauthorized | None = None
        try:
            identity = self.static.get(token) or await first_of(self._tokens, token)
        except Unauthorized as fault:
            identity, refusal = None, fault
        if identity is None and cluster and self._local is not None:
            identity = await self._local(cluster, token)
        if identity is None and refusal is not None:
            raise refusal
        return identity

    async def _authenticate_token(self, token: str, cluster: ClusterName) -> TokenIdentity:
        try:
            identity = await self.identify(token, cluster)
        except Unauthorized as refusal:
            log.info("a bearer token was refused: %s", refusal.message)
            raise Unauthorized("Unauthorized") from refusal
        if identity is None:
            raise Unauthorized("Unauthorized")
        if identity.audiences and self.audiences and self.audiences.isdisjoint(identity.audiences):
            log.info("a bearer token of %s was refused: it is for %s", identity.user.name, ", ".join(identity.audiences))
            raise Unauthorized("Unauthorized")
        return identity

    def certificate_user(self, subject: Mapping[str, tuple[str, ...]]) -> UserInfo | None:
        """Common name and organizations as user and groups; None without a common name. Source: request/x509/x509.go."""
        names, organizations = subject.get("CN", ()), subject.get("O", ())
        user = self._by_subject.get((names, organizations))
        if user is None and names and names[-1]:
            user = as_authenticated(UserInfo(names[-1], organizations))
            if len(self._by_subject) >= _MAX_SUBJECTS:
                self._by_subject.clear()
            self._by_subject[names, organizations] = user
        return user


def bearer_token(header: str) -> str:
    """The token of an `Authorization` header; "" if it is of another scheme or empty.

    >>> bearer_token("Bearer abc"), bearer_token("Basic abc")
    ('abc', '')
    """
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


Refused: TypeAlias = Callable[[Request, Unauthorized], Awaitable[None]]
"""Told of a request whose credentials are no good."""


def with_authentication(authentication: Authentication, refused: Refused | None = None) -> Filter:
    """Sets req.user. Raises Unauthorized."""

    def wrap(handler: Handler) -> Handler:
        async def authenticated(req: Request) -> Response:
            try:
                req.user = await authentication.authenticate(req)
            except Unauthorized as refusal:
                if refused is not None:
                    await refused(req, refusal)
                raise
            return await handler(req)

        return authenticated

    return wrap
