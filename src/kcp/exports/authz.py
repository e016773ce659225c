"""The maximal permission policy: what consumers of an export may do with its objects at most, as RBAC of the provider's workspace says.

A request for a bound resource must be allowed in the workspace as any other and, for the user with name and groups prefixed, in the
workspace of the export. Once the export is gone, so is its policy: what consumers have stays theirs. Before: the chain of authorizers,
and the virtual workspace `apiexport` for claimed resources.
Source: kcp pkg/authorization/maximal_permission_policy_authorizer.go.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apiserver.authz.attributes import NO_OPINION, Authorizer, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.effective import effective_users, prefixed
from kcp.exports.exportindex import ExportIndex
from kcp.exports.names import APIS_GROUP
from kcp.registry.backend import UserInfo

READS = frozenset(("get", "list", "watch"))
PREFIX = "apis.kcp.io:binding:"


class MaximalPermissionPolicy:
    """Lets the delegate decide about what every policy allows."""

    def __init__(
        self, delegate: Authorizer, *, policies: Authorizer, exports: ExportIndex, identity_of: Callable[[ClusterName, GroupResource], str]
    ) -> None:
        """Args:
        policies: decides by the RBAC of one workspace alone, that of the export.
        identity_of: (workspace, resource) → the identity it is bound under, "" if it is not bound.
        """
        self._delegate = delegate
        self._policies = policies
        self._exports = exports
        self._identity_of = identity_of

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        if attributes.is_resource and attributes.cluster and attributes.cluster != WILDCARD:
            identity = self._identity_of(attributes.cluster, GroupResource(attributes.group, attributes.resource))
            if identity and self._exports.of_identity(identity):
                refusal = await self.refusal(attributes, identity)
                if refusal:
                    return Decision(Verdict.NO_OPINION, refusal)
        return await self._delegate.authorize(attributes)

    async def refusal(self, attributes: AuthzAttributes, identity: str) -> str:
        """Why the policies of the exports of an identity do not allow this; "" if they do. Without any export left, nothing is allowed."""
        exports = self._exports.of_identity(identity)
        if not exports:
            return f'no APIExport provides {attributes.resource}.{attributes.group} with identity "{identity}"'
        for export in exports:
            if not export.has_local_policy:
                continue
            decision = await self._ask(attributes, export.key.cluster)
            if not decision.is_allowed:
                return f'APIExport "{export.key.cluster}:{export.key.name}" does not permit it: {decision.reason or "no rule"}'
        return ""

    async def _ask(self, attributes: AuthzAttributes, provider: ClusterName) -> Decision:
        """As whom somebody counts is a matter of the consumer's workspace: credentials that are good there are looked at by the policy."""
        decision = NO_OPINION
        for each in effective_users(attributes.user, attributes.cluster):
            named = prefixed(each, PREFIX)
            asked = attributes._replace(user=UserInfo(named.name, named.groups), cluster=provider, notes=None)
            decision = await self._policies.authorize(asked)
            if decision.is_allowed:
                break
        return decision


class SystemResources:
    """Keeps users from writing what only the server's controllers may say, however much their workspace's RBAC allows them.

    Source: kcp pkg/authorization/system_crd_authorizer.go.
    """

    _STATUS = Decision(Verdict.DENY, "status update not permitted")
    _GUARDED = frozenset(("apibindings", "apiexports"))

    def __init__(self, delegate: Authorizer) -> None:
        self._delegate = delegate

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        is_guarded = attributes.group == APIS_GROUP and attributes.subresource == "status" and attributes.resource in self._GUARDED
        return self._STATUS if is_guarded and attributes.verb not in READS else await self._delegate.authorize(attributes)
