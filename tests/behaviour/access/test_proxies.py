"""Proxies that name users in headers: whose certificate may, what the headers mean, and that nobody else's headers count.

Source: k8s.io/apiserver/pkg/authentication/request/headerrequest/requestheader_test.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.behaviour.access.front import Front, front

from kcp.aio.clock import SystemClock
from kcp.apiserver import pki_issue
from kcp.apiserver.pki import PKI
from kcp.client.tls import make_context
from kcp.server.accessoptions import AuthenticationOptions, RequestHeaderOptions

REVIEW = "/clusters/root/apis/authentication.k8s.io/v1/selfsubjectreviews"


class Gate:
    """The front door, and certificates of the authority of proxies and of that of users."""

    def __init__(self, door: Front, proxies: pki_issue.Issued, directory: Path) -> None:
        self.door, self._proxies = door, proxies
        self._users = PKI(directory / ".kcp" / "pki", clock=SystemClock())

    def proxy(self, name: str, *, days: int = 1, groups: tuple[str, ...] = ()) -> dict[str, bytes]:
        signer = (self._proxies.certificate, self._proxies.key)
        now = datetime.now(UTC) if days > 0 else datetime.now(UTC) - timedelta(days=2)
        issued = pki_issue.client(signer, name, groups, now=now, lifetime=timedelta(days=1))
        return {"cert_pem": issued.certificate, "key_pem": issued.key}

    def user(self, name: str, groups: tuple[str, ...] = ()) -> dict[str, bytes]:
        issued = self._users.issue_client(name, groups)
        return {"cert_pem": issued.certificate.encode(), "key_pem": issued.key.encode()}

    async def whoami(self, headers: list[tuple[str, str]], **credentials: Any) -> tuple[int, dict[str, Any]]:
        """A request with headers that may come several times, and the user it was."""
        endpoint = self.door.endpoint(**credentials)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=make_context(endpoint))) as session,
            session.post(endpoint.server + REVIEW, json={}, headers=headers) as answer,
        ):
            body = await answer.json()
            return answer.status, body.get("status", {}).get("userInfo", {}) if answer.status == 201 else {}


ADMIN = [("X-Remote-User", "boss"), ("X-Remote-Group", "system:kcp:admin")]


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    proxies = pki_issue.authority("proxies", now=datetime.now(UTC), lifetime=timedelta(days=1))
    ca = tmp_path / "proxies.crt"
    ca.write_bytes(proxies.certificate)
    headers = RequestHeaderOptions(client_ca_file=ca, allowed_names=("front-proxy",), uid_headers=("X-Remote-Uid",))
    async with front(tmp_path, authentication=AuthenticationOptions(request_header=headers)) as door:
        yield Gate(door, proxies, tmp_path)


async def test_an_allowed_proxy_names_the_user(gate: Gate) -> None:
    extra = [("X-Remote-Extra-Example.com%2fTeam", "a"), ("X-Remote-Extra-Example.com%2fTeam", "b"), ("X-Remote-Uid", "7")]
    status, user = await gate.whoami([*ADMIN, ("X-Remote-Group", "ops"), *extra], **gate.proxy("front-proxy"))
    assert status == 201
    assert user == {
        "username": "boss",
        "uid": "7",
        "groups": ["system:kcp:admin", "ops", "system:authenticated"],
        "extra": {"example.com/team": ["a", "b"]},
    }


async def test_another_proxy_does_not(gate: Gate) -> None:
    assert (await gate.whoami(ADMIN, **gate.proxy("intruder")))[0] == 401


async def test_a_proxy_whose_certificate_expired_does_not(gate: Gate) -> None:
    assert (await gate.whoami(ADMIN, **gate.proxy("front-proxy", days=-1)))[0] == 401


async def test_headers_of_users_mean_nothing(gate: Gate) -> None:
    status, user = await gate.whoami(ADMIN, **gate.user("front-proxy"))
    assert (user["username"], user["groups"]) == ("front-proxy", ["system:authenticated"])
    assert await gate.whoami(ADMIN) == (403, {})
    status, user = await gate.whoami(ADMIN, **gate.user("ann", ("system:kcp:admin",)))
    assert (status, user["username"]) == (201, "ann")


async def test_a_proxy_is_not_a_user_itself(gate: Gate) -> None:
    assert (await gate.whoami([], **gate.proxy("front-proxy", groups=("system:masters",))))[0] == 403
    token = gate.door.server.admin.kcp_admin_token
    status, user = await gate.whoami([("Authorization", f"Bearer {token}")], **gate.proxy("front-proxy"))
    assert (status, user["username"]) == (201, "kcp-admin")


async def test_without_an_authority_of_proxies_the_headers_mean_nothing(tmp_path: Path) -> None:
    async with front(tmp_path) as door:
        admin = {"X-Remote-User": "boss", "X-Remote-Group": "system:masters"}
        assert (await door.send("/clusters/root/api/v1/configmaps", headers=admin)).status == 403


async def test_an_authority_of_the_operators_own_names_users_beside_the_servers(tmp_path: Path) -> None:
    own = pki_issue.authority("users", now=datetime.now(UTC), lifetime=timedelta(days=1))
    proxies = pki_issue.authority("proxies", now=datetime.now(UTC), lifetime=timedelta(days=1))
    for name, authority in (("own.pem", own), ("proxies.pem", proxies)):
        (tmp_path / name).write_bytes(authority.certificate)
    headers = RequestHeaderOptions(client_ca_file=tmp_path / "proxies.pem")
    for request_header in (RequestHeaderOptions(), headers):
        options = AuthenticationOptions(client_ca_file=tmp_path / "own.pem", request_header=request_header)
        async with front(tmp_path, authentication=options) as door:
            gate = Gate(door, own, tmp_path)
            _, user = await gate.whoami(ADMIN, **gate.proxy("ann", groups=("devs",)))
            assert (user["username"], user["groups"]) == ("ann", ["devs", "system:authenticated"])
            assert (await gate.whoami([], **gate.user("bob")))[1]["username"] == "bob"
