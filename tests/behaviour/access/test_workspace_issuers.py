"""Issuers of single workspaces: who gets in where, what of a token counts, and how access ends.

Source: kcp test/e2e/authentication/{workspace,workspace_lifecycle}_test.go.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.access.front import Front, front
from tests.behaviour.exports.market import ROLE_BINDINGS, named
from tests.issuer import AUDIENCE, Issuer, https_issuer

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.meta import JSONObject
from kcp.server.accessoptions import AuthenticationOptions
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

ON = AuthenticationOptions(workspace_issuers=True)
CONFIGURATIONS = kinds.WORKSPACE_AUTHENTICATION


class Town:
    """A front door, two issuers, and workspaces that trust one of them, the other, or both."""

    def __init__(self, door: Front, a: Issuer, b: Issuer) -> None:
        self.door, self.a, self.b = door, a, b
        self.root = door.admin("root")

    async def configure(self, name: str, *jwt: Mapping[str, Any]) -> None:
        made = named(CONFIGURATIONS, "WorkspaceAuthenticationConfiguration", name, {"jwt": list(jwt)})
        await self.root.resource(CONFIGURATIONS).create(made)

    async def workspace(self, name: str, *configurations: str) -> str:
        """A workspace of a type of its own, which names these; its path."""
        references = [{"name": configuration} for configuration in configurations]
        spec: JSONObject = {"authenticationConfigurations": references, "extend": {"with": [{"name": "universal", "path": "root"}]}}
        await self.root.resource(kinds.WORKSPACE_TYPES).create(named(kinds.WORKSPACE_TYPES, "WorkspaceType", f"of-{name}", spec))
        workspaces = self.root.resource(kinds.WORKSPACES)
        made = named(kinds.WORKSPACES, "Workspace", name, {"type": {"name": f"of-{name}", "path": "root"}})
        await workspaces.create(made)
        await wait_for(workspaces, name, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what=name)
        return f"root:{name}"

    async def grant(self, path: str, *subjects: tuple[str, str]) -> None:
        given = [{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name} for kind, name in subjects]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        made = named(ROLE_BINDINGS, "ClusterRoleBinding", "friends", roleRef=role, subjects=given)
        await self.door.admin(path).resource(ROLE_BINDINGS).create(made)

    async def status(self, path: str, token: str) -> int:
        return await self.door.status(f"/clusters/{path}/api/v1/namespaces/default/configmaps", token=token)

    async def until(self, path: str, token: str, wanted: int) -> None:
        """Until the informers have heard of what was written."""
        clock = SystemClock()
        deadline_s = clock.monotonic() + 10
        while (found := await self.status(path, token)) != wanted:
            assert clock.monotonic() < deadline_s, found
            await clock.sleep(0.02)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with https_issuer(tmp_path / "a") as a, https_issuer(tmp_path / "b") as b, front(tmp_path, authentication=ON) as door:
        yield Town(door, a, b)


async def test_tokens_count_where_the_type_of_the_workspace_names_their_issuer(town: Town) -> None:
    await town.configure("a", town.a.config())
    await town.configure("b", town.b.config())
    of_a, of_b, of_both = await town.workspace("ta", "a"), await town.workspace("tb", "b"), await town.workspace("tc", "a", "b")
    await town.grant(of_a, ("User", "oidc:user-a"), ("Group", "oidc:developers"))
    await town.grant(of_b, ("User", "oidc:user-b"), ("Group", "oidc:developers"))
    await town.grant(of_both, ("User", "oidc:user-c"), ("Group", "oidc:developers"))
    await town.until(of_both, town.b.token(sub="user-c"), 200)
    a, b, developer = town.a.token(sub="user-a"), town.b.token(sub="user-b"), town.a.token(groups=["developers"])
    expected = {
        "a at a": (of_a, a, 200), "a at b": (of_b, a, 401), "a without permission at c": (of_both, a, 403),
        "b at b": (of_b, b, 200), "b at a": (of_a, b, 401),
        "a's developer at a": (of_a, developer, 200),
        "a's developer at b, which knows developers of b": (of_b, developer, 401),
        "a's developer at c": (of_both, developer, 200),
        "c of a at c": (of_both, town.a.token(sub="user-c"), 200),
        "a at root": ("root", a, 401),
        "a, expired": (of_a, town.a.token(sub="user-a", exp=int(time.time()) - 3600), 401),
        "a, for others": (of_a, town.a.token(sub="user-a", aud="others"), 401),
    }  # fmt: skip
    found = {name: await town.status(path, token) for name, (path, token, _) in expected.items()}
    assert found == {name: status for name, (_, _, status) in expected.items()}


async def test_such_a_user_is_one_in_this_workspace_only(town: Town) -> None:
    await town.configure("a", town.a.config())
    path = await town.workspace("ta", "a")
    await town.grant(path, ("User", "oidc:peter"))
    token = town.a.token(sub="peter", groups=["developers"])
    await town.until(path, token, 200)
    user = await town.door.whoami(path, token=token)
    cluster = meta.cluster(await town.door.admin(path).resource(kinds.LOGICAL_CLUSTERS).get("cluster"))
    assert user["username"] == "oidc:peter"
    assert set(user["groups"]) == {"oidc:developers", "system:authenticated"}
    assert user["extra"]["authentication.kcp.io/scopes"] == [f"cluster:{cluster}"]


async def test_nobody_becomes_one_of_the_systems_users_or_groups(town: Town) -> None:
    mappings = {
        "username": {"claim": "sub", "prefix": ""},
        "groups": {"claim": "groups", "prefix": ""},
        "extra": [{"key": "authorization.kcp.io/warrant", "valueExpression": "claims.warrant"}],
    }
    warrant = orjson.dumps({"user": "x", "groups": ["system:masters"]}).decode()
    await town.configure("evil", town.a.config(claimMappings=mappings))
    path = await town.workspace("ta", "evil")
    await town.grant(path, ("User", "dummy"))
    await town.until(path, town.a.token(sub="dummy", warrant=""), 200)
    claims: dict[str, Any] = {"groups": ["system:kcp:admin", "system:masters"], "warrant": warrant}
    assert await town.status(path, town.a.token(sub="al", **claims)) == 403
    assert await town.status(path, town.a.token(sub="system:admin", **claims)) == 401
    user = await town.door.whoami(path, token=town.a.token(sub="dummy", **claims))
    assert user["groups"] == ["system:authenticated"]
    assert "authorization.kcp.io/warrant" not in user["extra"]


async def forget(town: Town) -> None:
    await town.root.resource(kinds.WORKSPACE_TYPES).patch("of-ta", {"spec": {"authenticationConfigurations": None}})


async def replace(town: Town) -> None:
    await town.root.resource(CONFIGURATIONS).patch("a", {"spec": {"jwt": [town.b.config()]}})


async def delete(town: Town) -> None:
    await town.root.resource(CONFIGURATIONS).delete("a")


@pytest.mark.parametrize("revoke", [forget, replace, delete])
async def test_access_ends_with_what_gave_it(town: Town, revoke: Callable[[Town], Any]) -> None:
    await town.configure("a", town.a.config())
    path = await town.workspace("ta", "a")
    await town.grant(path, ("User", "oidc:ann"))
    token = town.a.token()
    await town.until(path, token, 200)
    await revoke(town)
    await town.until(path, token, 401)


async def test_a_review_of_such_a_token_is_answered_in_its_workspace(town: Town) -> None:
    await town.configure("a", town.a.config())
    path = await town.workspace("ta", "a")
    token = town.a.token(groups=["developers"])
    await town.until(path, token, 403)
    body = {"spec": {"token": token, "audiences": ["https://kcp.default.svc"]}}
    for where, is_known in ((path, True), ("root", False)):
        answer = await town.door.admin(where).raw(
            "POST", "/apis/authentication.k8s.io/v1/tokenreviews", headers={"content-type": "application/json"}, body=orjson.dumps(body)
        )
        status = orjson.loads(answer.body)["status"]
        assert status.get("authenticated", False) is is_known
        if is_known:
            assert status["audiences"] == ["https://kcp.default.svc"]


async def test_a_configuration_that_cannot_work_lets_nobody_in_and_says_why(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    await town.configure("a", {**town.a.config(), "issuer": {"url": town.a.url, "certificateAuthority": town.a.ca_pem}})
    path = await town.workspace("ta", "a")
    await town.until(path, town.a.token(), 401)
    clock = SystemClock()
    for _ in range(200):
        if "audiences" in caplog.text:
            break
        await town.status(path, town.a.token())
        await clock.sleep(0.02)
    assert "lets nobody in: jwt[0].issuer.audiences: Required value" in caplog.text


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({}, "spec.jwt: Required value"),
        ({"jwt": [{"username": {"claim": "email"}, "groups": {"claim": "groups"}}]}, ""),
        ({"jwt": [{"username": {"expression": "concat('oidc:', email)"}, "groups": {"expression": "groups"}}]}, ""),
        ({"jwt": [{"username": {"claim": "email", "expression": "x"}, "groups": {"claim": "g"}}]}, "claim and expression cannot both be specified"),
        ({"jwt": [{"username": {"prefix": "p", "expression": "x"}, "groups": {"claim": "g"}}]}, "prefix can only be specified when claim is specified"),
        ({"jwt": [{"username": {}, "groups": {"claim": "g"}}]}, "either claim or expression must be specified"),
    ],
)  # fmt: skip
async def test_what_a_configuration_may_say_is_checked_when_it_is_written(town: Town, spec: JSONObject, fault: str) -> None:
    jwt = [
        {"issuer": {"url": "https://example.com", "audiences": [AUDIENCE]}, "claimMappings": mappings} for mappings in spec.get("jwt", ())
    ]
    given = {"jwt": jwt} if "jwt" in spec else {}
    made = named(CONFIGURATIONS, "WorkspaceAuthenticationConfiguration", "checked", given)
    if not fault:
        await town.root.resource(CONFIGURATIONS).create(made)
        return
    with pytest.raises(Invalid, match=fault.replace(".", r"\.")):
        await town.root.resource(CONFIGURATIONS).create(made)


async def test_unless_the_operator_says_so_no_workspace_trusts_anybody_of_its_own(tmp_path: Path) -> None:
    async with https_issuer(tmp_path / "a") as a, https_issuer(tmp_path / "b") as b:
        async with front(tmp_path, authentication=ON) as door:
            town = Town(door, a, b)
            await town.configure("a", a.config())
            await town.until(await town.workspace("ta", "a"), a.token(), 403)
        async with front(tmp_path) as door:
            town = Town(door, a, b)
            await town.configure("a", a.config())
            assert await town.status(await town.workspace("ta", "a"), a.token()) == 401
