"""What tenancy knows about entering a workspace: implements `apiserver.authz.content.ContentRules`.

Before: `apiserver.authz.content.WorkspaceContent`. After: the workspace index.
Source: kcp pkg/authorization/workspace_content_authorizer.go.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.apimachinery.keys import ROOT, ClusterName
from kcp.apiserver.authz.attributes import NO_OPINION, Authorizer, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.effective import effective_groups, effective_users, is_local_account
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord

_LOCAL_SERVICE_ACCOUNT = Decision(Verdict.ALLOW, "service account access to logical cluster")
_ADMINISTRATOR = Decision(Verdict.ALLOW, "logical cluster admin access")
_MISSING = Decision(Verdict.DENY, "LogicalCluster not found")
_ADMINISTRATORS = frozenset((kinds.MASTERS, kinds.LOGICAL_CLUSTER_ADMIN))
_OPEN_PHASES = frozenset({kinds.INITIALIZING, kinds.READY, kinds.INACTIVE_PHASE, kinds.TERMINATING, kinds.DELETING})


class TenancyContentRules:
    def __init__(self, record: Callable[[ClusterName], ClusterRecord | None]) -> None:
        """Args: record: what is known of a logical cluster, `WorkspaceIndex.record`."""
        self._record = record

    def admits(self, user: UserInfo, cluster: ClusterName) -> Decision:
        record = self._record(cluster)
        groups = effective_groups(user, cluster) if user.extra else user.groups
        if not _ADMINISTRATORS.isdisjoint(groups):
            return _ADMINISTRATOR
        if record is None:
            return _MISSING
        if record.phase not in _OPEN_PHASES:
            return Decision(Verdict.DENY, f'not permitted due to phase "{record.phase}"')
        return _LOCAL_SERVICE_ACCOUNT if user.extra and _is_local_account(user, cluster) else NO_OPINION


def _is_local_account(user: UserInfo, cluster: ClusterName) -> bool:
    return any(is_local_account(each, cluster) for each in effective_users(user, cluster))


class ServerPaths:
    """Paths of the server itself, such as /metrics, are allowed by the RBAC of `root`; resources without a workspace by nothing."""

    def __init__(self, delegate: Authorizer) -> None:
        self._delegate = delegate

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        if not attributes.cluster and not attributes.is_resource:
            attributes = attributes._replace(cluster=ROOT)
        return await self._delegate.authorize(attributes)
