"""Who enters a workspace: phases, foreign and scoped users, required groups."""

from __future__ import annotations

import pytest

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.attributes import AuthzAttributes, Verdict
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
        (record(inactive=True), ALICE, Verdict.DENY),
        (None, ALICE, Verdict.DENY),
        (None, MASTER, Verdict.ALLOW),
        (record("Scheduling"), UserInfo("x", ("system:kcp:logical-cluster-admin",)), Verdict.ALLOW),
        (record(), service_account(HERE), Verdict.ALLOW),
    ],
)
def test_phase_and_kind_of_user_decide_who_is_admitted(held: ClusterRecord | None, user: UserInfo, verdict: Verdict) -> None:
    assert rules(held).admits(user, HERE).verdict is verdict


def test_system_clusters_are_left_to_their_policy() -> None:
    assert rules(None).admits(ALICE, ClusterName("system:admin")).verdict is Verdict.ALLOW


def test_foreign_service_account_counts_as_anonymous_with_a_mark() -> None:
    user = rules(record()).effective_user(service_account("2other"), HERE)
    assert user.name == "system:anonymous"
    assert user.groups == ("system:authenticated", "system:cluster:2other")


def test_local_service_account_and_ordinary_user_stay_themselves() -> None:
    assert rules(record()).effective_user(ALICE, HERE) is ALICE
    local = service_account(HERE)
    assert rules(record()).effective_user(local, HERE) is local


@pytest.mark.parametrize(
    ("scopes", "stays"),
    [(("cluster:2here",), True), (("cluster:2here,cluster:2x",), True), (("cluster:2x",), False), (("cluster:2here", "cluster:2x"), False)],
)
def test_scoped_user_is_itself_only_inside_every_scope(scopes: tuple[str, ...], *, stays: bool) -> None:
    user = UserInfo("alice", ("system:authenticated",), extra={"authentication.kcp.io/scopes": scopes})
    assert (rules(record()).effective_user(user, HERE) is user) is stays


@pytest.mark.parametrize(
    ("groups", "verdict"),
    [(("a", "b"), Verdict.NO_OPINION), (("c",), Verdict.NO_OPINION), (("a",), Verdict.DENY), (("system:kcp:admin",), Verdict.NO_OPINION)],
)
async def test_required_groups_keep_others_out(groups: tuple[str, ...], verdict: Verdict) -> None:
    authorizer = RequiredGroups({HERE: record(required_groups="a,b;c")}.get)
    decision = await authorizer.authorize(AuthzAttributes(UserInfo("u", groups), "get", HERE))
    assert decision.verdict is verdict
