"""Annotation `authorization.kcp.io/required-groups`: only members of certain groups get into a workspace at all.

Groups are separated by `,` (all of them) inside clauses separated by `;` (any of them).
Before: the server's chain of authorizers. After: the delegate.
Source: kcp pkg/authorization/requiredgroups_authorizer.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.effective import effective_groups, is_local_account
from kcp.tenancy import kinds
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
    """Denies those who miss the groups that a workspace requires; lets the delegate decide about the others."""

    def __init__(self, delegate: Authorizer, record: Callable[[ClusterName], ClusterRecord | None]) -> None:
        self._delegate = delegate
        self._record = record

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        record = self._record(attributes.cluster)
        if record is not None and record.required_groups and not attributes.is_deep:
            cluster, user = attributes.cluster, attributes.user
            groups = effective_groups(user, cluster)
            is_exempt = not _EXEMPT.isdisjoint(groups) or is_local_account(user, cluster)
            if not is_exempt and not satisfies(groups, record.required_groups):
                return _DENIED
        return await self._delegate.authorize(attributes)
