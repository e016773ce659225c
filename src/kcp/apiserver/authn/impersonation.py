"""Acting as somebody else: `Impersonate-*` headers, allowed by verb `impersonate`.

Repeated `Impersonate-Group` and `Impersonate-Extra-*` headers arrive joined by newlines (`asgi` joins them).
Before: `authn.chain`. After: `authz.filter`, which sees the impersonated user.
Source: k8s.io/apiserver/pkg/endpoints/filters/impersonation.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeAlias
from urllib.parse import unquote

from kcp.apimachinery.errors import BadRequest
from kcp.apiserver.authn.identity import (
    ANONYMOUS_NAME,
    AUTHENTICATED,
    UNAUTHENTICATED,
    service_account_groups,
    split_service_account,
    with_groups,
)
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Verdict, forbidden
from kcp.apiserver.request import Filter, Handler, Request, Response
from kcp.registry.backend import UserInfo

log = logging.getLogger(__name__)

_USER, _GROUP, _UID, _EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"

Guard: TypeAlias = Callable[[UserInfo, UserInfo, Request], UserInfo]
"""(who asks, as whom, request) → as whom really. Raises Forbidden. Tenancy adds scopes here and protects its groups."""


def with_impersonation(authorizer: Authorizer, guard: Guard | None = None) -> Filter:
    """Replaces req.user where the headers ask for it. Raises Forbidden, BadRequest."""

    def wrap(handler: Handler) -> Handler:
        async def impersonating(req: Request) -> Response:
            wanted = requested(req)
            if wanted is not None:
                asking, acting = req.user, completed(wanted)
                if guard is not None:
                    acting = guard(asking, acting, req)
                await _check(authorizer, req, wanted)
                req.impersonated_by, req.user = asking, acting
                if req.audit is not None:
                    req.audit.impersonated = acting
                log.debug("%s acts as %s", asking.name, acting.name)
            return await handler(req)

        return impersonating

    return wrap


def requested(req: Request) -> UserInfo | None:
    """The user that the headers name; None without any."""
    headers = req.headers
    name = headers.get(_USER, "")
    found = [header for header in headers if header.startswith("impersonate-")]
    if not found:
        return None
    if not name:
        raise BadRequest(f"requested {', '.join(sorted(found))} without impersonating a user")
    groups = tuple(group for group in headers.get(_GROUP, "").split("\n") if group)
    extra = {unquote(h[len(_EXTRA) :]): tuple(headers[h].split("\n")) for h in found if h.startswith(_EXTRA)}
    return UserInfo(name, groups, headers.get(_UID, ""), extra)


def completed(user: UserInfo) -> UserInfo:
    """The groups that such a user always has."""
    account = split_service_account(user.name)
    if account is not None and not user.groups:
        user = with_groups(user, *service_account_groups(account[0]))
    if user.name == ANONYMOUS_NAME:
        return with_groups(user, UNAUTHENTICATED)
    return user if UNAUTHENTICATED in user.groups else with_groups(user, AUTHENTICATED)


def _questions(req: Request, wanted: UserInfo) -> Iterator[AuthzAttributes]:
    """One question per thing to be impersonated."""
    user, cluster, verb = req.user, req.info.cluster, "impersonate"
    account = split_service_account(wanted.name)
    if account is not None:
        yield AuthzAttributes(user, verb, cluster, "", "serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield AuthzAttributes(user, verb, cluster, "", "users", name=wanted.name)
    for group in wanted.groups:
        yield AuthzAttributes(user, verb, cluster, "", "groups", name=group)
    for key, values in wanted.extra.items():
        for value in values:
            yield AuthzAttributes(user, verb, cluster, "authentication.k8s.io", "userextras", key, name=value)
    if wanted.uid:
        yield AuthzAttributes(user, verb, cluster, "authentication.k8s.io", "uids", name=wanted.uid)


async def _check(authorizer: Authorizer, req: Request, wanted: UserInfo) -> None:
    for question in _questions(req, wanted):
        decision = await authorizer.authorize(question)
        if decision.verdict is not Verdict.ALLOW:
            raise forbidden(question, decision.reason)
