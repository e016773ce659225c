"""As whom somebody counts in a logical cluster: scopes, warrants, and service accounts of other clusters.

A *scope* (user extra `authentication.kcp.io/scopes`) says in which clusters credentials are good; elsewhere their owner is nobody in
particular, marked with the clusters of their scopes by groups `system:cluster:<name>`: so a workspace can let those in who come from
another one. A *warrant* (user extra `authorization.kcp.io/warrant`, JSON of a user) adds a second identity whose permissions count too. A
service account is one only in its own cluster; everywhere it is also the user `system:kcp:serviceaccount:<cluster>:<namespace>:<name>`.

Before: `authz.rbac`, `authz.union`, tenancy's and exports' authorizers. After: nothing.
Source: kcp's kubernetes fork, pkg/registry/rbac/validation/kcp.go; docs/content/concepts/authorization/authorizers.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authn.identity import ANONYMOUS_NAME, AUTHENTICATED, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED
from kcp.registry.backend import UserInfo

SCOPES = "authentication.kcp.io/scopes"
WARRANT = "authorization.kcp.io/warrant"
ACCOUNT_CLUSTER = ("authentication.kcp.io/cluster-name", "authentication.kubernetes.io/cluster-name")
"""User extras that say which cluster a service account is of: kcp main's and 0.11's."""

_SCOPE_PREFIX = "cluster:"
_GLOBAL_PREFIX = "system:kcp:serviceaccount:"
_MAX_DEPTH = 8
"""Of warrants inside warrants. Each level doubles the escaping, so that real ones end long before."""


def is_service_account(user: UserInfo) -> bool:
    return user.name.startswith(SERVICE_ACCOUNT_PREFIX)


def account_clusters(user: UserInfo) -> tuple[str, ...]:
    """Clusters that a service account says it is of; () for people, and for accounts that do not say so and count as local."""
    if not user.extra or not is_service_account(user):
        return ()
    return tuple(cluster for key in ACCOUNT_CLUSTER for cluster in user.extra.get(key, ()))


def is_local_account(user: UserInfo, cluster: ClusterName) -> bool:
    """Whether a service account proved to be of this cluster, and of no other."""
    return account_clusters(user) == (cluster,) and is_scoped_to(user, cluster)


def is_scoped_to(user: UserInfo, cluster: ClusterName) -> bool:
    """Whether the user's credentials are good in this cluster: every value of the scopes must name it."""
    return all(_names(value, cluster) for value in user.extra.get(SCOPES, ()))


def is_in_scope(user: UserInfo, cluster: ClusterName) -> bool:
    origins = account_clusters(user)
    return (not origins or origins == (cluster,)) and is_scoped_to(user, cluster)


def _names(value: str, cluster: ClusterName) -> bool:
    return any(part.strip() == f"{_SCOPE_PREFIX}{cluster}" for part in value.split(","))


def effective_users(user: UserInfo, cluster: ClusterName) -> tuple[UserInfo, ...]:
    """Everyone whose permissions count for this user in a cluster."""
    return (user,) if not user.extra else tuple(_effective(user, cluster, _origin_groups(user), 0))


def effective_groups(user: UserInfo, cluster: ClusterName) -> frozenset[str]:
    return frozenset(group for each in effective_users(user, cluster) for group in each.groups)


def _effective(user: UserInfo, cluster: ClusterName, origin_groups: tuple[str, ...], depth: int) -> Iterator[UserInfo]:
    """Of a user or a warrant; `origin_groups` are of the user who holds it. Source: kcp.go, EffectiveUsers."""
    if is_in_scope(user, cluster):
        yield replace(user, groups=(*user.groups, *_origin_groups(user))) if depth else user
    else:
        yield _nobody(user, origin_groups)
    origins = account_clusters(user)
    if len(origins) == 1 and is_scoped_to(user, cluster):
        yield UserInfo(
            global_name(user.name, origins[0]), tuple(group for group in user.groups if group == AUTHENTICATED), extra=user.extra
        )
    if depth < _MAX_DEPTH:
        for warrant in warrants(user):
            if not is_service_account(warrant) or account_clusters(warrant):
                yield from _effective(warrant, cluster, origin_groups, depth + 1)


def _origin_groups(user: UserInfo) -> tuple[str, ...]:
    """A group for each cluster that all of the user's scopes name: none where they contradict each other."""
    values = user.extra.get(SCOPES, ())
    if not values:
        return ()
    named = [[part.strip() for part in value.split(",")] for value in values]
    return tuple(f"system:{part}" for part in named[0] if part.startswith(_SCOPE_PREFIX) and all(part in other for other in named[1:]))


def _nobody(user: UserInfo, origin_groups: tuple[str, ...]) -> UserInfo:
    """What is left of a user out of scope, marked with where credentials are good, and with the cluster a service account is of."""
    accounts = (f"system:cluster:{origin}" for origin in account_clusters(user))
    if AUTHENTICATED not in user.groups:
        return UserInfo(ANONYMOUS_NAME, (UNAUTHENTICATED, *accounts))
    return UserInfo(ANONYMOUS_NAME, (AUTHENTICATED, *dict.fromkeys((*origin_groups, *accounts))))


def global_name(name: str, cluster: str) -> str:
    """A service account's user name that means the same in every cluster.

    >>> global_name("system:serviceaccount:default:robot", "2lpvmbh5xyj8ljfs")
    'system:kcp:serviceaccount:2lpvmbh5xyj8ljfs:default:robot'
    """
    return f"{_GLOBAL_PREFIX}{cluster}:{name.removeprefix(SERVICE_ACCOUNT_PREFIX)}"


def warrants(user: UserInfo) -> Iterator[UserInfo]:
    """The users of a user's warrants; what is no warrant is skipped."""
    for text in user.extra.get(WARRANT, ()):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict):
            yield UserInfo(str(found.get("user") or ""), _texts(found.get("groups")), str(found.get("uid") or ""), _extra(found))


def _texts(value: object) -> tuple[str, ...]:
    """A list of strings; one string stands for a list of it."""
    if isinstance(value, str):
        return (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _extra(found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    extra = found.get("extra")
    return {key: _texts(values) for key, values in extra.items()} if isinstance(extra, dict) else {}


def warrant_of(user: UserInfo) -> str:
    """The value of the extra that makes a user a warrant."""
    written: dict[str, object] = {"user": user.name}
    if user.uid:
        written["uid"] = user.uid
    if user.groups:
        written["groups"] = list(user.groups)
    if user.extra:
        written["extra"] = {key: list(values) for key, values in user.extra.items()}
    return orjson.dumps(written).decode()


def with_warrants(user: UserInfo, held: Iterator[UserInfo]) -> UserInfo:
    """The user with these warrants in place of its own."""
    others = {key: values for key, values in user.extra.items() if key != WARRANT}
    texts = tuple(warrant_of(warrant) for warrant in held)
    return replace(user, extra={**others, WARRANT: texts} if texts else others)


def scoped(user: UserInfo, cluster: ClusterName) -> UserInfo:
    """The user with credentials that are good in this cluster only, its warrants too."""
    limited = replace(user, extra={**user.extra, SCOPES: (*user.extra.get(SCOPES, ()), f"{_SCOPE_PREFIX}{cluster}")})
    return with_warrants(limited, (scoped(warrant, cluster) for warrant in warrants(user))) if WARRANT in user.extra else limited


def prefixed(user: UserInfo, prefix: str) -> UserInfo:
    """The user with name and groups prefixed, its warrants too; a service account by its global name.

    Source: pkg/registry/rbac/validation/kcp.go (PrefixUser).
    """
    name, groups = user.name, user.groups
    if is_service_account(user):
        origins = account_clusters(user)
        if len(origins) != 1:
            return UserInfo(prefix + ANONYMOUS_NAME, (prefix + (AUTHENTICATED if AUTHENTICATED in groups else UNAUTHENTICATED),))
        name = global_name(name, origins[0])
    made = replace(user, name=prefix + name, groups=tuple(prefix + group for group in groups))
    return with_warrants(made, (prefixed(warrant, prefix) for warrant in warrants(user))) if WARRANT in user.extra else made
