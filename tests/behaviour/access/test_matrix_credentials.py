"""The same walls, with real credentials: tokens of foreign issuers, of single workspaces, of service accounts; what proxies say.

Here nobody is taken for who they say they are: every request is authenticated. And those who are let in do get in, by the same means.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.behaviour.access.test_matrix import assert_untouched
from tests.behaviour.access.walls import Question, Subject, Walls, ask, leaks, raised
from tests.behaviour.exports.market import Market, named
from tests.issuer import Issuer, https_issuer

from kcp.aio.clock import SystemClock
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.server.accessoptions import AuthenticationOptions, RequestHeaderOptions
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy import kinds

ACCOUNTS = GVR("", "v1", "serviceaccounts")
PROXY: dict[str, Any] = {"peer_proxy": "front-proxy"}
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Keys:
    """What opens doors: an issuer that the whole server trusts, one that only the walled workspace does, one that only another does."""

    def __init__(self, market: Market, server: Issuer, walled: Issuer, lodge: Issuer) -> None:
        self.market, self.server, self.walled, self.lodge = market, server, walled, lodge
        self.account = ""

    async def trust(self, kind: str, issuer: Issuer) -> None:
        """A type of workspace that trusts an issuer."""
        root = self.market.server.client.cluster("root")
        wac = named(kinds.WORKSPACE_AUTHENTICATION, "WorkspaceAuthenticationConfiguration", kind, {"jwt": [issuer.config()]})
        await root.resource(kinds.WORKSPACE_AUTHENTICATION).create(wac)
        spec = {"authenticationConfigurations": [{"name": kind}], "extend": {"with": [{"name": "universal", "path": "root"}]}}
        await root.resource(kinds.WORKSPACE_TYPES).create(named(kinds.WORKSPACE_TYPES, "WorkspaceType", kind, spec))

    async def open(self) -> None:
        await self.market.open()
        await self.trust("trusting", self.walled)
        await self.trust("other-trusting", self.lodge)
        lodge = await self.market.workspace("lodge", "other-trusting")
        await self.market.grant("lodge", "oidc:guest", EVERYTHING)
        await lodge.resource(ACCOUNTS).create(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}}, namespace="default"
        )
        path = "/api/v1/namespaces/default/serviceaccounts/bot/token"
        answer = await lodge.raw("POST", path, headers={"content-type": "application/json"}, body=b'{"spec":{}}')
        self.account = orjson.loads(answer.body)["status"]["token"]

    def strangers(self, _inside: ClusterName, _other: ClusterName) -> dict[str, Subject]:
        """By what they have."""
        past = int(time.time()) - 3600
        forged = Issuer(self.server.url).token(sub="boss", groups=["system:masters"])
        masters = {"x-remote-user": "boss", "x-remote-group": "system:masters"}
        return {
            "nothing": Subject(None),
            "rubbish": Subject(None, bearer("rubbish")),
            "a token of the server's issuer": Subject(None, bearer(self.server.token(sub="stranger"))),
            "such a token with great claims": Subject(None, bearer(self.server.token(sub="admin", groups=["system:masters"]))),
            "a token that expired": Subject(None, bearer(self.server.token(exp=past))),
            "a token for others": Subject(None, bearer(self.server.token(aud="others"))),
            "a forged token": Subject(None, bearer(forged)),
            "a token of another workspace's issuer": Subject(None, bearer(self.lodge.token(sub="guest"))),
            "such a token, playing the administrator": Subject(
                None, {**bearer(self.lodge.token(sub="guest")), "impersonate-user": "x", "impersonate-group": "system:kcp:admin"}
            ),
            "a token of its own issuer, without permission": Subject(None, bearer(self.walled.token(sub="stranger")), may_know=True),
            "a token of an account of another workspace": Subject(None, bearer(self.account)),
            "headers without a proxy": Subject(None, masters),
            "headers beside a certificate of a user": Subject(None, masters, {"peer_subject": {"CN": ("stranger",), "O": ()}}),
            "headers of a proxy that is none of ours": Subject(None, masters, {"peer_proxy": "intruder"}),
            "the proxy's word that it is a stranger": Subject(None, {"x-remote-user": "stranger"}, PROXY),
            "the proxy's word with claims of its own": Subject(
                None, {"x-remote-user": "stranger", "impersonate-user": "x", "impersonate-group": "system:masters"}, PROXY
            ),
            "a certificate of the proxy alone": Subject(None, {}, PROXY),
        }

    def friends(self) -> dict[str, tuple[str, Subject]]:
        """(name of the user, what they have)."""
        return {
            "server's issuer": ("oidc:friend", Subject(None, bearer(self.server.token(sub="friend")))),
            "workspace's issuer": ("oidc:friend", Subject(None, bearer(self.walled.token(sub="friend")))),
            "proxy's word": ("friend", Subject(None, {"x-remote-user": "friend"}, PROXY)),
            "certificate": ("friend", Subject(None, {}, {"peer_subject": {"CN": ("friend",), "O": ()}})),
        }


NAMES = [*Keys.strangers(Keys(None, *(Issuer() for _ in range(3))), ClusterName(""), ClusterName(""))]  # type: ignore[arg-type]
FRIENDS = [*Keys.friends(Keys(None, *(Issuer() for _ in range(3))))]  # type: ignore[arg-type]


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Keys]:
    async with https_issuer(tmp_path / "a") as server, https_issuer(tmp_path / "b") as walled, https_issuer(tmp_path / "c") as lodge:
        file, ca = tmp_path / "authn.yaml", tmp_path / "proxies.pem"
        file.write_text(
            yaml.safe_dump({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [server.config()]})
        )
        ca.write_text(server.ca_pem)
        headers = RequestHeaderOptions(client_ca_file=ca, allowed_names=("front-proxy",))
        authentication = AuthenticationOptions(config_file=file, request_header=headers, workspace_issuers=True)
        options = Options(root_directory=tmp_path / ".kcp", in_memory=True, authentication=authentication)
        async with run_server(options, clock=SystemClock(), with_socket=False) as running:
            made = Keys(Market(running), server, walled, lodge)
            await made.open()
            yield made


async def wait_known(walls: Walls, subject: Subject, at: str, is_known: Callable[[int], bool]) -> None:
    """Until the informers have heard of the type and what it names."""
    clock = SystemClock()
    deadline_s = clock.monotonic() + 10
    while not is_known((await ask(walls.server, subject, Question("GET", "{at}/api/v1/configmaps"), at))[0]):
        assert clock.monotonic() < deadline_s
        await clock.sleep(0.01)


@pytest.mark.parametrize("name", NAMES)
async def test_closed_doors_are_all_alike_whatever_one_has(keys: Keys, name: str) -> None:
    await keys.market.export()
    walls = await raised(keys.market, keys.strangers, kind="trusting")
    await wait_known(walls, walls.subjects["a token of its own issuer, without permission"], "/clusters/root:walled", lambda s: s == 403)
    await wait_known(walls, walls.subjects["a token of another workspace's issuer"], "/clusters/root:lodge", lambda s: s == 200)
    faults = await leaks(walls, walls.subjects[name])
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:25])
    await assert_untouched(keys.market)


READS = {
    "get": (Question("GET", "{at}/api/v1/namespaces/default/configmaps/hidden"), 200),
    "list": (Question("GET", "{at}/api/v1/configmaps"), 200),
    "create": (Question("POST", "{at}/api/v1/namespaces/default/configmaps", {"metadata": {"name": "made"}}), 201),
    "groups": (Question("GET", "{at}/apis"), 200),
    "openapi": (Question("GET", "{at}/openapi/v3"), 200),
    "metrics": (Question("GET", "{at}/metrics"), 501),
    "delete": (Question("DELETE", "{at}/api/v1/namespaces/default/configmaps/made"), 200),
}


@pytest.mark.parametrize("name", FRIENDS)
async def test_who_is_let_in_gets_in_by_every_form_of_its_url_and_nowhere_else(keys: Keys, name: str) -> None:
    await keys.market.export()
    walls = await raised(keys.market, lambda _inside, _other: {}, kind="trusting")
    user, subject = keys.friends()[name]
    rules = [*EVERYTHING, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    await keys.market.grant("walled", user, rules)
    await wait_known(walls, subject, "/clusters/root:walled", lambda s: s == 200)
    found = {}
    for form in ("path", "name", "encoded path"):
        for what, (question, _) in READS.items():
            found[form, what] = (await ask(walls.server, subject, question, walls.places[form][0]))[0]
    assert found == {(form, what): READS[what][1] for form, what in found}
    for form in ("wildcard", "system", "export", "initializer", "through an export", "home"):
        status, _ = await ask(walls.server, subject, READS["list"][0], walls.places[form][0])
        assert status in (401, 403, 404), form
    assert (await ask(walls.server, subject, READS["list"][0], "/clusters/root:other"))[0] in (401, 403)
