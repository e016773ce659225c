"""Scopes, warrants, impersonation, accounts of other workspaces and the guard of statuses, in a whole server.

Source: kcp test/e2e/authorizer/{scopes,impersonate,serviceaccounts}_test.go.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest
from tests.behaviour.exports.market import CONFIG_MAPS, ROLE_BINDINGS, ROLES, Market, config_map, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.effective import SCOPES, WARRANT
from kcp.client.rest import Client
from kcp.exports.names import BINDINGS
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import LOGICAL_CLUSTERS

EVERYONE = ("system:authenticated",)
ADMIN = UserInfo("kcp-admin", ("system:kcp:admin", *EVERYONE))
OF = "authentication.kubernetes.io/cluster-name"
ACCOUNT = "system:serviceaccount:default:default"
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
ACCOUNTS = GVR("", "v1", "serviceaccounts")


async def cluster_of(client: Client) -> ClusterName:
    return ClusterName(meta.cluster(await client.resource(LOGICAL_CLUSTERS).get("cluster")))


async def ask(client: Client, path: str, body: JSONObject, headers: Mapping[str, str] | None = None) -> JSONObject:
    sent = {"content-type": "application/json", **(headers or {})}
    answer = await client.raw("POST", f"/apis/{path}", headers=sent, body=orjson.dumps(body))
    found: JSONObject = orjson.loads(answer.body)
    return found


async def may_list_namespaces(client: Client, spec: JSONObject) -> bool:
    spec = {"resourceAttributes": {"verb": "get", "resource": "namespaces", "version": "v1"}, **spec}
    return bool((await ask(client, "authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec}))["status"]["allowed"])


ADMIN_WARRANT = '{"user":"user","groups":["system:kcp:admin"]}'


@pytest.mark.parametrize(
    ("user", "extra", "allowed"),
    [
        ("user", {}, True),
        ("user", {SCOPES: ["cluster:HERE"]}, True),
        ("user", {SCOPES: ["cluster:HERE,cluster:another"]}, True),
        ("user", {SCOPES: ["cluster:HERE", "cluster:another"]}, False),
        ("user", {SCOPES: ["cluster:root"]}, False),
        (ACCOUNT, {}, True),
        (ACCOUNT, {OF: ["HERE"]}, True),
        (ACCOUNT, {OF: ["root"]}, False),
        (ACCOUNT, {OF: ["root"], WARRANT: [ADMIN_WARRANT]}, True),
    ],
)
async def test_a_review_counts_scopes_and_warrants(market: Market, user: str, extra: dict[str, list[str]], *, allowed: bool) -> None:
    here = await cluster_of(market.at("provider"))
    spec = {
        "user": user,
        "groups": ["system:kcp:admin"],
        "extra": {key: [v.replace("HERE", here) for v in values] for key, values in extra.items()},
    }
    assert await may_list_namespaces(market.at("provider", ADMIN), spec) is allowed


async def test_who_is_impersonated_is_so_in_one_workspace_with_all_its_warrants(market: Market) -> None:
    here = await cluster_of(market.at("provider"))
    await market.grant("provider", "user-1", EVERYTHING)
    local = orjson.dumps({"user": "boss", "groups": ["bosses"]}).decode()
    headers = {"impersonate-user": "user-1", "impersonate-group": "elephant", f"impersonate-extra-{WARRANT.replace('/', '%2f')}": local}
    review = await ask(market.at("provider", ADMIN), "authentication.k8s.io/v1/selfsubjectreviews", {}, headers)
    extra = review["status"]["userInfo"]["extra"]
    assert extra[SCOPES] == [f"cluster:{here}"]
    assert orjson.loads(extra[WARRANT][0])["extra"] == {SCOPES: [f"cluster:{here}"]}


@pytest.mark.parametrize("group", ["system:masters", "system:kcp:admin", "system:kcp:logical-cluster-admin", "system:kcp:initializer:x:y"])
@pytest.mark.parametrize("by", ["groups", "a warrant"])
async def test_administrators_of_a_workspace_do_not_become_those_of_the_server(market: Market, group: str, by: str) -> None:
    await market.grant("provider", "chief", EVERYTHING)
    chief = market.at("provider", UserInfo("chief", EVERYONE))
    headers = {"impersonate-user": "chief", "impersonate-group": group}
    if by == "a warrant":
        warrant = orjson.dumps({"user": "x", "extra": {WARRANT: [orjson.dumps({"user": "y", "groups": [group]}).decode()]}}).decode()
        headers = {"impersonate-user": "chief", f"impersonate-extra-{WARRANT.replace('/', '%2f')}": warrant}
    with pytest.raises(Forbidden, match="impersonation is not allowed for the requestor"):
        await chief.raw("GET", "/api/v1/namespaces", headers=headers)


async def test_a_service_account_without_a_workspace_in_its_url_means_its_own(market: Market) -> None:
    here = await cluster_of(market.at("provider"))
    await market.at("provider").resource(CONFIG_MAPS).create(config_map("mine"), namespace="default")
    await market.grant("provider", "robot", EVERYTHING)
    robots = ("system:serviceaccounts", *EVERYONE)
    robot = UserInfo("system:serviceaccount:default:robot", robots, "u", {"authentication.kcp.io/cluster-name": (here,)})
    await market.grant("provider", robot.name, EVERYTHING)
    found = await market.as_user(robot).resource(CONFIG_MAPS).get("mine", namespace="default")
    assert meta.cluster(found) == here
    await market.workspace("other")
    with pytest.raises(Forbidden, match="access denied"):
        await market.at("other", robot).resource(CONFIG_MAPS).list(namespace="default")


async def test_another_workspace_lets_a_service_account_in_by_its_global_name(market: Market) -> None:
    here = await cluster_of(market.at("provider"))
    robot = UserInfo(ACCOUNT, EVERYONE, "u", {"authentication.kcp.io/cluster-name": (here,)})
    await market.workspace("other")
    await market.grant("other", f"system:kcp:serviceaccount:{here}:default:default", EVERYTHING)
    await market.at("other", robot).resource(CONFIG_MAPS).create(config_map("made"), namespace="default")


@pytest.mark.parametrize(("group", "is_let_in"), [("system:authenticated", True), ("system:serviceaccounts", False)])
async def test_a_foreign_service_account_is_one_of_those_who_proved_who_they_are_but_no_account(
    market: Market, group: str, *, is_let_in: bool
) -> None:
    here = await cluster_of(market.at("provider"))
    await market.workspace("other")
    rules = [*EVERYTHING, {"nonResourceURLs": ["/"], "verbs": ["access"]}]
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"}
    other = market.at("other")
    await other.resource(ROLES).create(named(ROLES, "ClusterRole", "all", rules=rules))
    await other.resource(ROLE_BINDINGS).create(named(ROLE_BINDINGS, "ClusterRoleBinding", "all", roleRef=role, subjects=[subject]))
    groups = ("system:serviceaccounts", "system:serviceaccounts:default", *EVERYONE)
    foreign = market.at("other", UserInfo(ACCOUNT, groups, "u", {"authentication.kcp.io/cluster-name": (here,)}))
    if is_let_in:
        assert await foreign.resource(CONFIG_MAPS).list(namespace="default")
        return
    with pytest.raises(Forbidden, match="access denied"):
        await foreign.resource(CONFIG_MAPS).list(namespace="default")


async def test_users_do_not_write_the_status_of_bindings_and_exports(market: Market) -> None:
    await market.export()
    await market.workspace("one")
    await market.bind("one")
    await market.grant("one", "user", EVERYTHING)
    bindings = market.at("one", UserInfo("user", EVERYONE)).resource(BINDINGS)
    with pytest.raises(Forbidden, match="access denied"):
        await bindings.patch("widgets", {"status": {"phase": "Binding"}}, subresource="status")
    assert meta.name(await bindings.get("widgets")) == "widgets"


async def test_a_warrant_lets_in_where_its_user_may_go(market: Market) -> None:
    await market.workspace("other")
    await market.grant("other", "boss", EVERYTHING)
    other = await cluster_of(market.at("other"))

    def helper(scope: str) -> Client:
        warrant = orjson.dumps({"user": "boss", "extra": {SCOPES: [f"cluster:{scope}"]}}).decode()
        return market.at("other", UserInfo("helper", EVERYONE, "", {WARRANT: (warrant,)}))

    assert await helper(other).resource(CONFIG_MAPS).list(namespace="default")
    with pytest.raises(Forbidden, match="access denied"):
        await helper("root").resource(CONFIG_MAPS).list(namespace="default")
