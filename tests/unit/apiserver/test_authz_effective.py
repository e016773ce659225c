"""Scopes, warrants, service accounts of other clusters: as whom somebody counts in a cluster.

Source: kcp's kubernetes fork, pkg/registry/rbac/validation/kcp_test.go.
"""

from __future__ import annotations

import orjson
import pytest

from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.effective import effective_users, is_in_scope, prefixed, scoped
from kcp.registry.backend import UserInfo

THIS, OTHER = ClusterName("this"), ClusterName("other")
ACCOUNT = "system:serviceaccount:ns:sa"
SCOPES, WARRANT, OF = "authentication.kcp.io/scopes", "authorization.kcp.io/warrant", "authentication.kcp.io/cluster-name"
OF_OLD = "authentication.kubernetes.io/cluster-name"
EVERYONE = ("system:authenticated",)


def user(name: str = "a", groups: tuple[str, ...] = (), **extra: tuple[str, ...]) -> UserInfo:
    words = {"scopes": SCOPES, "warrant": WARRANT, "of": OF, "of_old": OF_OLD}
    return UserInfo(name, groups, extra={words[key]: values for key, values in extra.items()})


def warrant(name: str, **extra: object) -> str:
    return orjson.dumps({"user": name, "extra": extra}).decode()


@pytest.mark.parametrize(
    ("asked", "is_in"),
    [
        (user(), True),
        (user(scopes=("",)), False),
        (user(scopes=("cluster:this",)), True),
        (user(scopes=("cluster:other",)), False),
        (user(scopes=("cluster:this", "cluster:other")), False),
        (user(scopes=("", "cluster:this")), False),
        (user(scopes=("unknown:foo",)), False),
        (user(scopes=("cluster:other,cluster:this",)), True),
        (user(scopes=("cluster:other,cluster:this", "cluster:this,cluster:x")), True),
        (user(scopes=("cluster:this,cluster:other", "cluster:x,cluster:y")), False),
        (user(scopes=(",,cluster:this",)), True),
        (user(ACCOUNT, of=("other",)), False),
        (user(ACCOUNT, of_old=("other",)), False),
        (user(ACCOUNT, of=("this",)), True),
        (user(ACCOUNT, of=("this", "this")), False),
        (user(ACCOUNT), True),
        (user(ACCOUNT, of=("this",), scopes=("cluster:this",)), True),
        (user(ACCOUNT, of=("other",), scopes=("cluster:this",)), False),
        (user(ACCOUNT, of=("this",), scopes=("cluster:other",)), False),
    ],
)
def test_credentials_are_good_where_every_scope_says_so(asked: UserInfo, *, is_in: bool) -> None:
    assert is_in_scope(asked, THIS) is is_in


def names(asked: UserInfo, cluster: ClusterName = THIS) -> set[str]:
    return {each.name for each in effective_users(asked, cluster)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (user(), {"a"}),
        (user(warrant=(warrant("b"),)), {"a", "b"}),
        (user(warrant=(warrant("b"), warrant("c"))), {"a", "b", "c"}),
        (user(warrant=("{", "[]", "7")), {"a"}),
        (user(warrant=(warrant("b", **{WARRANT: [warrant("c")]}),)), {"a", "b", "c"}),
        (user(warrant=(warrant(ACCOUNT),)), {"a"}),
        (user(warrant=(warrant(ACCOUNT, **{OF: ["this"]}),)), {"a", ACCOUNT, "system:kcp:serviceaccount:this:ns:sa"}),
        (user(warrant=(warrant("b", **{SCOPES: "cluster:this"}),)), {"a", "b"}),
        (user(warrant=(warrant("b", **{SCOPES: ["cluster:other"]}),)), {"a", "system:anonymous"}),
        (user(scopes=("cluster:other",), warrant=(warrant("b"),)), {"system:anonymous", "b"}),
        (user(ACCOUNT, of=("this",)), {ACCOUNT, "system:kcp:serviceaccount:this:ns:sa"}),
        (user(ACCOUNT, of=("other",)), {"system:anonymous", "system:kcp:serviceaccount:other:ns:sa"}),
        (user(ACCOUNT, of=("other",), scopes=("cluster:other",)), {"system:anonymous"}),
    ],
)
def test_warrants_add_identities_and_scopes_take_them_away(asked: UserInfo, expected: set[str]) -> None:
    assert names(asked) == expected


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(EVERYONE, ("system:authenticated", "system:cluster:other")), ((), ("system:unauthenticated", "system:cluster:other"))],
)
def test_a_foreign_account_is_nobody_in_particular_of_its_cluster(groups: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert effective_users(user(ACCOUNT, groups, of=("other",)), THIS)[0] == UserInfo("system:anonymous", expected)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (user(scopes=("cluster:other",), groups=EVERYONE), [("system:authenticated", "system:cluster:other")]),
        (user(scopes=("cluster:x,cluster:other", "cluster:other"), groups=EVERYONE), [("system:authenticated", "system:cluster:other")]),
        (user(scopes=("cluster:other", "cluster:x"), groups=EVERYONE), [("system:authenticated",)]),
        (user(scopes=("cluster:other",)), [("system:unauthenticated",)]),
        (user(ACCOUNT, EVERYONE, of=("other",), scopes=("cluster:other",)), [("system:authenticated", "system:cluster:other")]),
        (user(scopes=("cluster:this",), groups=EVERYONE), [EVERYONE]),
        (user(warrant=(warrant("b", **{SCOPES: ["cluster:this"]}),)), [(), ("system:cluster:this",)]),
        (user(warrant=(warrant("b", **{SCOPES: ["cluster:other"]}),)), [(), ("system:unauthenticated",)]),
    ],
)
def test_who_is_out_of_scope_counts_as_somebody_of_the_clusters_of_the_scopes(asked: UserInfo, expected: list[tuple[str, ...]]) -> None:
    assert [each.groups for each in effective_users(asked, THIS)] == expected


def test_warrants_without_end_end() -> None:
    endless = warrant("z")
    for _ in range(12):
        endless = warrant("x", **{WARRANT: [endless]})
    assert "z" not in names(user(warrant=(endless,)))


def test_a_scope_goes_to_the_warrants_too() -> None:
    limited = scoped(user(warrant=(warrant("b", **{WARRANT: [warrant("c")]}),)), THIS)
    assert names(limited) == {"a", "b", "c"}
    assert names(limited, OTHER) == {"system:anonymous"}


def test_prefixes_go_to_groups_warrants_and_global_names() -> None:
    assert prefixed(user(groups=("g",)), "p:") == UserInfo("p:a", ("p:g",))
    account = prefixed(user(ACCOUNT, of=("other",)), "p:")
    assert account.name == "p:system:kcp:serviceaccount:other:ns:sa"
    assert prefixed(user(ACCOUNT, EVERYONE), "p:") == UserInfo("p:system:anonymous", ("p:system:authenticated",))
    assert names(prefixed(user(warrant=(warrant("b"),)), "p:")) == {"p:a", "p:b"}
