"""Annotation `authorization.kcp.io/required-groups`: only members of certain groups get into a workspace at all.

Groups are separated by `,` (all of them) inside clauses separated by `;` (any of them).
Before: the server's chain of authorizers, ahead of the content rules. After: nothing; it has no opinion about those it lets pass.
Source: kcp pkg/authorization/requiredgroups_authorizer.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.attributes import NO_OPINION, AuthzAttributes, Decision, Verdict
from kcp.tenancy import kinds
from kcp.tenancy.authz.content import home_clusters
from kcp.tenancy.logicalcluster.index import ClusterRecord

_EXEMPT = frozenset({kinds.MASTERS, kinds.KCP_ADMIN, kinds.BOOTSTRAPPER, kinds.LOGICAL_CLUSTER_ADMIN})
_DENIED = Decision(Verdict.DENY, "user is not a member of the required groups")


def satisfies(groups: Iterable[str], requirement: str) -> bool:
    """Whether someone in `groups` meets a requirement.

    >>> satisfies(["a", "b"], "a,b;c"), satisfies(["a"], "a,b;c"), satisfies([], "")
    (True, False, True)
    """
    held = set(groups)
    clauses = [{g.strip() for g in clause.split(",") if g.strip()} for clause in requirement.split(";")]
    clauses = [clause for clause in clauses if clause]
    return not clauses or any(clause <= held for clause in clauses)


class RequiredGroups:
    """Denies those who miss the groups that a workspace requires."""

    def __init__(self, record: Callable[[ClusterName], ClusterRecord | None]) -> None:
        self._record = record

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        record = self._record(attributes.cluster)
        if record is None or not record.required_groups:
            return NO_OPINION
        user = attributes.user
        if not _EXEMPT.isdisjoint(user.groups) or attributes.cluster in home_clusters(user):
            return NO_OPINION
        return NO_OPINION if satisfies(user.groups, record.required_groups) else _DENIED
