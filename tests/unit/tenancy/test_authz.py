"""Who enters a workspace: phases, foreign and scoped users, required groups."""

from __future__ import annotations

import pytest

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.attributes import AuthzAttributes, Decision, Verdict
from kcp.registry.backend import UserInfo
from kcp.tenancy.authz.content import TenancyContentRules
from kcp.tenancy.authz.requiredgroups import RequiredGroups
from kcp.tenancy.logicalcluster.index import ClusterRecord

HERE = ClusterName("2here")
ALICE = UserInfo("alice", ("system:authenticated",))
MASTER = UserInfo("root", ("system:masters",))


def record(phase: str = "Ready", *, required_groups: str = "", inactive: bool = False) -> ClusterRecord:
    return ClusterRecord(HERE, "root:here", "root:universal", phase, required_groups, inactive, ClusterName("root"), "here", deleting=False)


def rules(held: ClusterRecord | None) -> TenancyContentRules:
    return TenancyContentRules({HERE: held}.get)


class Anything:
    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        return Decision(Verdict.ALLOW)


def service_account(cluster: str) -> UserInfo:
    return UserInfo(
        "system:serviceaccount:default:x", ("system:serviceaccounts",), extra={"authentication.kcp.io/cluster-name": (cluster,)}
    )


@pytest.mark.parametrize(
    ("held", "user", "verdict"),
    [
        (record(), ALICE, Verdict.NO_OPINION),
        (record("Initializing"), ALICE, Verdict.NO_OPINION),
        (record("Scheduling"), ALICE, Verdict.DENY),
        (record("Unavailable"), ALICE, Verdict.DENY),
        (record("Inactive", inactive=True), ALICE, Verdict.NO_OPINION),
        (None, ALICE, Verdict.DENY),
        (None, MASTER, Verdict.ALLOW),
        (record("Scheduling"), UserInfo("x", ("system:kcp:logical-cluster-admin",)), Verdict.ALLOW),
        (record(), service_account(HERE), Verdict.ALLOW),
    ],
)
def test_phase_and_kind_of_user_decide_who_is_admitted(held: ClusterRecord | None, user: UserInfo, verdict: Verdict) -> None:
    assert rules(held).admits(user, HERE).verdict is verdict


def test_a_foreign_service_account_and_one_of_two_clusters_are_not_local() -> None:
    both = UserInfo("system:serviceaccount:default:x", extra={"authentication.kcp.io/cluster-name": (HERE, "2other")})
    person = UserInfo("alice", extra={"authentication.kcp.io/cluster-name": (HERE,)})
    for user in (service_account("2other"), both, person):
        assert rules(record()).admits(user, HERE).verdict is Verdict.NO_OPINION


@pytest.mark.parametrize(
    ("groups", "verdict"),
    [(("a", "b"), Verdict.ALLOW), (("c",), Verdict.ALLOW), (("a",), Verdict.DENY), (("system:kcp:admin",), Verdict.ALLOW)],
)
async def test_required_groups_keep_others_out(groups: tuple[str, ...], verdict: Verdict) -> None:
    authorizer = RequiredGroups(Anything(), {HERE: record(required_groups="a,b;c")}.get)
    decision = await authorizer.authorize(AuthzAttributes(UserInfo("u", groups), "get", HERE))
    assert decision.verdict is verdict


@pytest.mark.parametrize(("scope", "verdict"), [("cluster:2here", Verdict.ALLOW), ("cluster:2x", Verdict.DENY)])
async def test_a_scope_takes_away_groups_elsewhere(scope: str, verdict: Verdict) -> None:
    authorizer = RequiredGroups(Anything(), {HERE: record(required_groups="c")}.get)
    user = UserInfo("u", ("c",), extra={"authentication.kcp.io/scopes": (scope,)})
    assert (await authorizer.authorize(AuthzAttributes(user, "get", HERE))).verdict is verdict
