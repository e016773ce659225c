"""Tokens of service accounts: keys and issuers by flags, the documents by which others check them, the longest life.

Source: k8s.io/kubernetes/test/integration/auth/svcaccttoken_test.go.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from tests.behaviour.access.front import Front, front

from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apiserver.pki_issue import key_pair
from kcp.server.accessoptions import AuthenticationOptions, ServiceAccountOptions

ACCOUNTS = GVR("", "v1", "serviceaccounts")
DISCOVERY, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"


def options(**changes: Any) -> AuthenticationOptions:
    return AuthenticationOptions(service_accounts=ServiceAccountOptions(**changes))


async def token_of(door: Front, **spec: Any) -> str:
    """Of the account `bot` in root."""
    with suppress(AlreadyExists):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}}
        await door.admin("root").resource(ACCOUNTS).create(account, namespace="default")
    answer = await door.admin("root").raw(
        "POST", "/api/v1/namespaces/default/serviceaccounts/bot/token",
        headers={"content-type": "application/json"}, body=orjson.dumps({"spec": spec}),
    )  # fmt: skip
    found: str = orjson.loads(answer.body)["status"]["token"]
    return found


async def document(door: Front, path: str, token: str) -> dict[str, Any]:
    answer = await door.send(path, token=token)
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "public, max-age=3600"
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


@pytest.mark.parametrize("where", ["", "/clusters/root"])
async def test_others_check_tokens_by_the_published_keys(tmp_path: Path, where: str) -> None:
    async with front(tmp_path) as door:
        token = await token_of(door)
        described = await document(door, where + DISCOVERY, token)
        assert described == {
            "issuer": "https://kcp.default.svc",
            "jwks_uri": f"{door.server.url}{KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        keys = await document(door, where + KEYS, token)
        key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key, algorithms=["ES256"], audience="https://kcp.default.svc")
        assert claims["sub"] == "system:serviceaccount:default:bot"
        assert await door.status(KEYS) == 403


async def test_an_issuer_may_change_its_name_and_its_key(tmp_path: Path) -> None:
    old, new = key_pair(), key_pair()
    (tmp_path / "old.pem").write_bytes(old.key)
    (tmp_path / "new.pem").write_bytes(new.key)
    (tmp_path / "both.pem").write_bytes(old.certificate + new.certificate)
    one = options(issuers=("https://old.test",), signing_key_file=tmp_path / "old.pem", key_files=(tmp_path / "old.pem",))
    two = options(
        issuers=("https://new.test", "https://old.test"), signing_key_file=tmp_path / "new.pem", key_files=(tmp_path / "both.pem",),
        jwks_uri="https://keys.test/jwks",
    )  # fmt: skip
    async with front(tmp_path / "a", authentication=one) as before:
        token = await token_of(before)
        async with front(tmp_path / "b", authentication=two) as door:
            mine = await token_of(door)
            assert (await document(door, DISCOVERY, mine))["jwks_uri"] == "https://keys.test/jwks"
            assert len((await document(door, KEYS, mine))["keys"]) == 2
            assert jwt.decode(mine, options={"verify_signature": False})["iss"] == "https://new.test"
            told: dict[str, Any] = orjson.loads((await door.send(KEYS, token=token)).body)
            assert told["message"] == "Unauthorized", "signed and issued well, but for an account of another server"


async def test_an_issuer_that_is_no_url_publishes_nothing(tmp_path: Path) -> None:
    async with front(tmp_path, authentication=options(issuers=("kcp",))) as door:
        assert await door.status(DISCOVERY, token=door.server.admin.shard_admin_token) == 404


async def test_tokens_live_no_longer_than_the_server_allows(tmp_path: Path) -> None:
    async with front(tmp_path, authentication=options(max_expiration_s=3600.0)) as door:
        claims = jwt.decode(await token_of(door, expirationSeconds=86_400), options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 3600


async def test_tokens_for_other_audiences_do_not_open_the_door(tmp_path: Path) -> None:
    async with front(tmp_path, authentication=options(api_audiences=("https://api.test", "me"))) as door:
        assert await door.status(KEYS, token=await token_of(door)) == 200
        assert await door.status(KEYS, token=await token_of(door, audiences=["me"])) == 200
        assert await door.status(KEYS, token=await token_of(door, audiences=["https://kcp.default.svc"])) == 401
