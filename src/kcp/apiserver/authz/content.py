"""The workspace content rule: inside a workspace nothing is allowed to those who may not enter it.

A user needs verb `access` on the non-resource URL `/` of the workspace before its RBAC counts. What a workspace's phase allows is tenancy's
business and asked through `ContentRules`; as whom somebody counts in a cluster, `authz.effective` says.

Before: `authz.union`. After: the delegate, normally `authz.rbac`.
Source: kcp pkg/authorization/workspace_content_authorizer.go.
"""

from __future__ import annotations

from typing import Protocol

from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict
from kcp.registry.backend import UserInfo

ACCESS_VERB = "access"
_NO_ACCESS = Decision(Verdict.NO_OPINION, "no verb=access permission on /")
_NO_WORKSPACE = Decision(Verdict.NO_OPINION, "empty or system workspace")


class ContentRules(Protocol):
    """What tenancy knows of a workspace."""

    def admits(self, user: UserInfo, cluster: ClusterName) -> Decision:
        """ALLOW: enters without the access check (a local service account). DENY: nobody like this enters now (the phase forbids it).

        NO_OPINION: the access check decides.
        """


class WorkspaceContent:
    """Lets the delegate decide for those who may enter; what is in no workspace, or in a system cluster, is for privileged groups only."""

    def __init__(self, delegate: Authorizer, rules: ContentRules) -> None:
        self._delegate = delegate
        self._rules = rules

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        cluster = attributes.cluster
        if not cluster or cluster == WILDCARD or cluster.startswith("system:"):
            return _NO_WORKSPACE
        if not attributes.is_deep:
            user = attributes.user
            admitted = self._rules.admits(user, cluster)
            if admitted.verdict is Verdict.DENY:
                return admitted
            if admitted.verdict is Verdict.NO_OPINION:
                entry = AuthzAttributes(user, ACCESS_VERB, cluster, path="/", is_resource=False)
                if not (await self._delegate.authorize(entry)).is_allowed:
                    return _NO_ACCESS
        return await self._delegate.authorize(attributes)
