"""The workspace content rule: inside a workspace nothing is allowed to those who may not enter it.

A user needs verb `access` on the non-resource URL `/` of the workspace before its RBAC counts. What a workspace's phase allows, and as
whom a foreign or scoped user counts there, is tenancy's business and asked through `ContentRules`.

Before: `authz.union`. After: the delegate, normally `authz.rbac`.
Source: kcp pkg/authorization/workspace_content_authorizer.go.
"""

from __future__ import annotations

from typing import Protocol

from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict
from kcp.registry.backend import UserInfo

ACCESS_VERB = "access"
_NO_ACCESS = Decision(Verdict.NO_OPINION, "access denied")


class ContentRules(Protocol):
    """What tenancy knows of a workspace."""

    def effective_user(self, user: UserInfo, cluster: ClusterName) -> UserInfo:
        """As whom the user counts in this cluster: itself, or an anonymous stand-in for a foreign service account or a scoped user."""

    def admits(self, user: UserInfo, cluster: ClusterName) -> Decision:
        """ALLOW: enters without the access check (a local service account). DENY: nobody like this enters now (the phase forbids it).

        NO_OPINION: the access check decides.
        """


class WorkspaceContent:
    """Lets the delegate decide for those who may enter."""

    def __init__(self, delegate: Authorizer, rules: ContentRules) -> None:
        self._delegate = delegate
        self._rules = rules

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        cluster = attributes.cluster
        if not cluster or cluster == WILDCARD:
            return await self._delegate.authorize(attributes)
        user = self._rules.effective_user(attributes.user, cluster)
        if user is not attributes.user:
            attributes = attributes._replace(user=user)
        admitted = self._rules.admits(user, cluster)
        if admitted.verdict is Verdict.DENY:
            return admitted
        if admitted.verdict is Verdict.NO_OPINION:
            entry = AuthzAttributes(user, ACCESS_VERB, cluster, path="/", is_resource=False)
            if not (await self._delegate.authorize(entry)).is_allowed:
                return _NO_ACCESS
        return await self._delegate.authorize(attributes)
