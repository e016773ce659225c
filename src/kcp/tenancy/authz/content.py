"""What tenancy knows about entering a workspace: implements `apiserver.authz.content.ContentRules`.

Before: `apiserver.authz.content.WorkspaceContent`. After: the workspace index.
Source: kcp pkg/authorization/workspace_content_authorizer.go, pkg/authentication/scoping.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.attributes import NO_OPINION, Decision, Verdict
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord

SERVICE_ACCOUNT_CLUSTER = ("authentication.kcp.io/cluster-name", "authentication.kubernetes.io/cluster-name")
"""User extras that say which cluster a service account is of: kcp main's and 0.11's."""
SCOPES = "authentication.kcp.io/scopes"
_SCOPE_PREFIX = "cluster:"

_LOCAL_SERVICE_ACCOUNT = Decision(Verdict.ALLOW, "service account access to logical cluster")
_ADMINISTRATOR = Decision(Verdict.ALLOW, "logical cluster admin access")
_SYSTEM = Decision(Verdict.ALLOW, "system cluster: left to its policy")
_MISSING = Decision(Verdict.DENY, "LogicalCluster not found")
_INACTIVE = Decision(Verdict.DENY, "logical cluster is marked inactive")
_OPEN_PHASES = frozenset({kinds.INITIALIZING, kinds.READY})


def home_clusters(user: UserInfo) -> tuple[str, ...]:
    """Clusters a service account is of; () for people."""
    return tuple(cluster for key in SERVICE_ACCOUNT_CLUSTER for cluster in user.extra.get(key, ()))


def in_scope(user: UserInfo, cluster: ClusterName) -> bool:
    """Whether the user's credentials may be used in this cluster: each value of the scopes extra must name it."""
    return all(_names(value, cluster) for value in user.extra.get(SCOPES, ()))


def _names(value: str, cluster: ClusterName) -> bool:
    return any(part.strip() == f"{_SCOPE_PREFIX}{cluster}" for part in value.split(","))


class TenancyContentRules:
    def __init__(self, record: Callable[[ClusterName], ClusterRecord | None]) -> None:
        """Args: record: what is known of a logical cluster, `WorkspaceIndex.record`."""
        self._record = record

    def effective_user(self, user: UserInfo, cluster: ClusterName) -> UserInfo:
        """Foreign service accounts and users scoped elsewhere count as nobody in particular, marked with where they are from."""
        if not user.extra:
            return user
        origins = home_clusters(user)
        if (not origins or cluster in origins) and in_scope(user, cluster):
            return user
        marks = tuple(f"system:cluster:{origin}" for origin in origins)
        return UserInfo("system:anonymous", (kinds.AUTHENTICATED, *marks))

    def admits(self, user: UserInfo, cluster: ClusterName) -> Decision:
        if cluster.startswith("system:"):
            return _SYSTEM
        if kinds.MASTERS in user.groups or kinds.LOGICAL_CLUSTER_ADMIN in user.groups:
            return _ADMINISTRATOR
        record = self._record(cluster)
        if record is None:
            return _MISSING
        if record.inactive:
            return _INACTIVE
        if record.phase not in _OPEN_PHASES:
            return Decision(Verdict.DENY, f'not permitted due to phase "{record.phase}"')
        return _LOCAL_SERVICE_ACCOUNT if cluster in home_clusters(user) else NO_OPINION
