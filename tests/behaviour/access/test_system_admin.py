"""What the administrators of the server write to `system:admin`, and what everybody may do who is let in.

Source: kcp test/e2e/authorizer/authorizer_test.go.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.behaviour.exports.market import ROLE_BINDINGS, ROLES, Market, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo

NAMESPACES = GVR("", "v1", "namespaces")
USER = UserInfo("user", ("system:authenticated",))
RULE: dict[str, Any] = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}


def bound(name: str, role: str, user: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    subject = {"apiGroup": group, "kind": "User", "name": user}
    return named(
        ROLE_BINDINGS, "ClusterRoleBinding", name, roleRef={"apiGroup": group, "kind": "ClusterRole", "name": role}, subjects=[subject]
    )


async def rules(client: Client) -> dict[str, Any]:
    answer = await client.raw(
        "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        headers={"content-type": "application/json"}, body=b'{"spec":{"namespace":"default"},"status":{"resourceRules":null,"nonResourceRules":null,"incomplete":false}}',
    )  # fmt: skip
    found: dict[str, Any] = orjson.loads(answer.body)["status"]
    return found


async def test_a_role_of_the_servers_administrators_can_be_bound_in_a_workspace(market: Market) -> None:
    await market.workspace("team")
    team = market.at("team")
    await team.resource(ROLE_BINDINGS).create(bound("in", "system:kcp:workspace:access", USER.name))
    await team.resource(ROLE_BINDINGS).create(bound("lists", "namespaces-of-all", USER.name))
    mine = market.at("team", USER)
    with pytest.raises(Forbidden):
        await mine.resource(NAMESPACES).list()
    role = named(ROLES, "ClusterRole", "namespaces-of-all", rules=[RULE])
    await market.server.client.cluster("system:admin").resource(ROLES).create(role)
    assert (await mine.resource(NAMESPACES).list()).items
    assert RULE in (await rules(mine))["resourceRules"]
    with pytest.raises(Forbidden):
        await market.at("provider", USER).resource(NAMESPACES).list()


async def test_what_is_bound_there_holds_in_every_workspace(market: Market) -> None:
    admins = market.server.client.cluster("system:admin")
    rules_of_all = [RULE, {"nonResourceURLs": ["/"], "verbs": ["access"]}]
    await admins.resource(ROLES).create(named(ROLES, "ClusterRole", "everywhere", rules=rules_of_all))
    await admins.resource(ROLE_BINDINGS).create(bound("everywhere", "everywhere", USER.name))
    assert (await market.at("provider", USER).resource(NAMESPACES).list()).items


async def test_who_is_merely_let_in_may_look_at_the_documents_and_ask_about_themselves(market: Market) -> None:
    await market.workspace("team")
    await market.at("team").resource(ROLE_BINDINGS).create(bound("in", "system:kcp:workspace:access", USER.name))
    found = await rules(market.at("team", USER))
    assert not found["incomplete"]
    assert {(*rule["apiGroups"], *rule["resources"]) for rule in found["resourceRules"]} == {
        ("authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
    }
    assert all(rule["verbs"] == ["create"] for rule in found["resourceRules"])
    urls = {(*rule["verbs"], *sorted(rule["nonResourceURLs"])) for rule in found["nonResourceRules"]}
    health = ("/healthz", "/livez", "/readyz", "/version", "/version/")
    documents = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")
    assert urls == {("get", *sorted((*documents, *health))), ("get", *health), ("access", "/")}


async def test_the_context_of_the_servers_administrators_is_a_base_for_every_workspace(market: Market) -> None:
    base = market.server.client.at("/clusters/system:admin")
    everywhere = await base.at(f"{base.base_path}/clusters/*").resource(NAMESPACES).list()
    assert {meta.cluster(found) for found in everywhere.items} >= {"root", market.provider_name}
    provider = base.at(f"{base.base_path}/clusters/root:provider")
    assert {meta.cluster(found) for found in (await provider.resource(NAMESPACES).list()).items} == {market.provider_name}
    with pytest.raises(NotFound, match="root:no"):
        await base.at(f"{base.base_path}/clusters/root:no").resource(NAMESPACES).list()
    views = await base.raw("GET", "/services/initializingworkspaces/whatever/clusters/*/apis")
    assert [group["name"] for group in orjson.loads(views.body)["groups"]] == ["core.kcp.io"]
