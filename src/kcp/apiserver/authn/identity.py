"""Words that all ways of proving an identity share.

Before: every module of `authn`. Source: k8s.io/apiserver/pkg/authentication/{authenticator,user,serviceaccount}.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import UserInfo

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS_NAME = "system:anonymous"
SERVICE_ACCOUNT_PREFIX = "system:serviceaccount:"
CLUSTER_EXTRA = "authentication.kcp.io/cluster-name"
"""User extra of a service account: the logical cluster it lives in."""

ObjectLookup: TypeAlias = Callable[[GroupResource, ClusterName, str, str], JSONObject | None | Awaitable[JSONObject | None]]
"""The object of (resource, cluster, namespace, name) as it is now, from the watch cache; None if there is none."""


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """What a valid bearer token proves."""

    user: UserInfo
    audiences: tuple[str, ...] = ()
    """Whom the token was made for; empty: no audience is known, it is for this server."""
    expires_at: float = float("inf")
    """Unix time in seconds."""


class TokenAuthenticator(Protocol):
    async def authenticate(self, token: str) -> TokenIdentity | None:
        """The identity; None if this is not a token of this kind. Raises Unauthorized if it is one, but not valid (any more)."""


LocalTokens: TypeAlias = Callable[[ClusterName, str], Awaitable[TokenIdentity | None]]
"""Whom a token proves in one workspace and nowhere else; None if nobody there knows it. Raises Unauthorized."""


async def found(lookup: ObjectLookup, resource: GroupResource, cluster: ClusterName, namespace: str, name: str) -> JSONObject | None:
    """Ask a lookup that may answer at once or later."""
    result = lookup(resource, cluster, namespace, name)
    return await result if inspect.isawaitable(result) else result


def with_groups(user: UserInfo, *groups: str) -> UserInfo:
    """The user with these groups too, each once."""
    missing = tuple(group for group in groups if group not in user.groups)
    return replace(user, groups=user.groups + missing) if missing else user


def as_authenticated(user: UserInfo) -> UserInfo:
    """Everyone who proved an identity is in `system:authenticated`. Source: authentication/group/authenticated_group_adder.go."""
    return user if UNAUTHENTICATED in user.groups or user.name == ANONYMOUS_NAME else with_groups(user, AUTHENTICATED)


def service_account_name(namespace: str, name: str) -> str:
    """
    >>> service_account_name("default", "web")
    'system:serviceaccount:default:web'
    """
    return f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"


def service_account_groups(namespace: str) -> tuple[str, str]:
    return "system:serviceaccounts", f"system:serviceaccounts:{namespace}"


def split_service_account(username: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name; None for other users."""
    if not username.startswith(SERVICE_ACCOUNT_PREFIX):
        return None
    namespace, _, name = username[len(SERVICE_ACCOUNT_PREFIX) :].partition(":")
    return (namespace, name) if namespace and name and ":" not in name else None
