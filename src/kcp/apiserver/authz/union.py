"""Small authorizers that need no objects, and their chain.

Before: the composition root lists them in order. After: `authz.rbac` as the last of the chain, usually.
Source: k8s.io/apiserver/pkg/authorization/union/union.go, authorizerfactory/builtin.go, path/path.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kcp.apiserver.authz.attributes import NO_OPINION, Authorizer, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.effective import effective_groups

ALWAYS_ALLOWED_PATHS = ("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version", "/version/")
"""Answered to everyone, with or without credentials, so that load balancers and `kubectl version` work."""


class Union:
    """Asks in order; the first ALLOW or DENY counts. All reasons of those without an opinion are kept for the 403 text."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        reasons: list[str] = []
        for authorizer in self._authorizers:
            decision = await authorizer.authorize(attributes)
            if decision.verdict is not Verdict.NO_OPINION:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(Verdict.NO_OPINION, ", ".join(reasons)) if reasons else NO_OPINION


class PrivilegedGroups:
    """Members of these groups may do everything, where their credentials are good."""

    def __init__(self, groups: Iterable[str] = ("system:masters",)) -> None:
        self._groups = frozenset(groups)
        self._allow = Decision(Verdict.ALLOW, "privileged group")

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        user = attributes.user
        if user.extra:
            return NO_OPINION if self._groups.isdisjoint(effective_groups(user, attributes.cluster)) else self._allow
        return NO_OPINION if self._groups.isdisjoint(user.groups) else self._allow


class AllowedPaths:
    """Anyone may use these non-resource paths; a trailing `*` matches any rest."""

    def __init__(self, paths: Iterable[str] = ALWAYS_ALLOWED_PATHS) -> None:
        listed = tuple(f"/{path.removeprefix('/')}" for path in paths)
        self._exact = frozenset(p for p in listed if not p.endswith("*"))
        self._prefixes = tuple(p[:-1] for p in listed if p.endswith("*"))
        self._allow = Decision(Verdict.ALLOW, "path is always allowed")

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        if attributes.is_resource:
            return NO_OPINION
        path = attributes.path
        return self._allow if path in self._exact or path.startswith(self._prefixes) else NO_OPINION
