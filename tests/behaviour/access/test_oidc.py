"""Users of foreign issuers come through the front door: flags, configuration file, its changes, anonymous access, TokenReview.

Source: k8s.io/kubernetes/test/integration/apiserver/oidc/oidc_test.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.behaviour.access.front import Front, front
from tests.issuer import AUDIENCE, Issuer, https_issuer

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.jwt.config import ConfigurationError
from kcp.server.accessoptions import AuthenticationOptions, OIDCOptions
from kcp.server.authentication import ForeignIssuers

CONFIG_MAPS = "/clusters/root/api/v1/namespaces/default/configmaps"
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


def written(file: Path, *jwt: Mapping[str, Any], **top: Any) -> Path:
    document = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": list(jwt), **top}
    file.write_text(yaml.safe_dump(document))
    return file


async def let_in(door: Front, user: str) -> None:
    rules = [*EVERYTHING, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "friends"}, "rules": rules}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "friends"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "friends"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    for path, obj in (("clusterroles", role), ("clusterrolebindings", binding)):
        sent = {"content-type": "application/json"}
        await door.admin("root").raw("POST", f"/apis/rbac.authorization.k8s.io/v1/{path}", headers=sent, body=orjson.dumps(obj))


async def test_flags_let_the_users_of_one_issuer_in(tmp_path: Path) -> None:
    async with https_issuer(tmp_path / "issuer", algorithm="RS256") as issuer:
        ca = tmp_path / "ca.pem"
        ca.write_text(issuer.ca_pem)
        oidc = OIDCOptions(issuer_url=issuer.url, client_id=AUDIENCE, ca_file=ca, groups_claim="groups", required_claims=("hd=x",))
        async with front(tmp_path, authentication=AuthenticationOptions(oidc=oidc)) as door:
            name = f"{issuer.url}#ann"
            await let_in(door, name)
            user = await door.whoami(token=issuer.token(groups=["devs"], hd="x"))
            assert (user["username"], user["groups"]) == (name, ["devs", "system:authenticated"])
            assert await door.status(CONFIG_MAPS, token=issuer.token(hd="x")) == 200
            assert await door.status(CONFIG_MAPS, token=issuer.token(hd="y")) == 401
            assert await door.status(CONFIG_MAPS, token=issuer.token(hd="x", sub="bob")) == 403


async def test_a_file_is_followed_as_it_changes_and_one_with_faults_changes_nothing(tmp_path: Path) -> None:
    clock = VirtualClock(datetime.now(UTC))
    async with https_issuer(tmp_path / "issuer") as issuer, Supervisor("following") as following:
        file = written(tmp_path / "authn.yaml")
        issuers = ForeignIssuers(AuthenticationOptions(config_file=file), [], clock=clock)
        assert issuers.tokens is not None
        following.spawn(issuers.run(), name="following")
        token = issuer.token()
        assert await issuers.tokens.authenticate(token) is None
        written(file, issuer.config())
        await clock.advance(6)
        assert await issuers.tokens.authenticate(token)
        file.write_text("jwt: [")
        await clock.advance(6)
        assert await issuers.tokens.authenticate(token)
        written(file, issuer.config(userValidationRules=[{"expression": "user.username != 'oidc:ann'"}]), anonymous={"enabled": False})
        await clock.advance(6)
        with pytest.raises(Unauthorized):
            await issuers.tokens.authenticate(token)
        assert not issuers.anonymous.admits("/livez")


async def test_reviews_of_tokens_know_foreign_users(tmp_path: Path) -> None:
    async with https_issuer(tmp_path / "issuer") as issuer:
        file = written(tmp_path / "authn.yaml", issuer.config())
        async with front(tmp_path, authentication=AuthenticationOptions(config_file=file)) as door:
            path = "/clusters/root/apis/authentication.k8s.io/v1/tokenreviews"
            body = {"spec": {"token": issuer.token(), "audiences": ["https://kcp.default.svc"]}}
            answer = await door.send(path, body=body, token=door.server.admin.shard_admin_token)
            status = orjson.loads(answer.body)["status"]
            assert status["authenticated"], status
            assert status["user"]["username"] == "oidc:ann"
            assert status["audiences"] == ["https://kcp.default.svc"]


async def test_anonymous_requests_get_as_far_as_the_configuration_lets_them(tmp_path: Path) -> None:
    file = written(tmp_path / "authn.yaml", anonymous={"enabled": True, "conditions": [{"path": "/livez"}]})
    async with front(tmp_path, authentication=AuthenticationOptions(config_file=file)) as door:
        assert await door.status("/livez") == 200
        assert await door.status("/readyz") == 401
        assert await door.status(CONFIG_MAPS) == 401


async def test_anonymous_requests_can_be_turned_off(tmp_path: Path) -> None:
    async with front(tmp_path, authentication=AuthenticationOptions(anonymous=False)) as door:
        assert await door.status("/livez") == 401
        assert await door.status("/livez", token=door.server.admin.kcp_admin_token) == 200


async def test_a_configuration_with_faults_keeps_the_server_from_starting(tmp_path: Path) -> None:
    file = written(tmp_path / "authn.yaml", Issuer("https://kcp.default.svc").config())
    with pytest.raises(ConfigurationError, match="must not overlap with disallowed issuers"):
        async with front(tmp_path, authentication=AuthenticationOptions(config_file=file)):
            pass
