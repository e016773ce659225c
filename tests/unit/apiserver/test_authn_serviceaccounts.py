"""Service-account tokens: bound and legacy, what ends them, and the handlers of TokenRequest, TokenReview and SelfSubjectReview."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import BadRequest, Conflict, Invalid, NotFound, StatusError, Unauthorized
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authn.chain import Authentication
from kcp.apiserver.authn.reviews import token_reviews
from kcp.apiserver.authn.serviceaccounts import BoundObject, ServiceAccountTokens, SigningKeys
from kcp.apiserver.authn.tokens import StaticTokens
from kcp.apiserver.pki_issue import key_pair
from kcp.apiserver.request import Request, RequestInfo
from kcp.registry.backend import UserInfo

TEAM = ClusterName("team")
ACCOUNT: JSONObject = {"metadata": {"name": "bot", "namespace": "ci", "uid": "u1"}}


class World:
    """Objects by (resource, cluster, namespace, name), and the tokens made of them."""

    def __init__(self, directory: Path) -> None:
        self.clock = VirtualClock()
        self.objects: dict[tuple[str, str, str, str], JSONObject] = {("serviceaccounts", "team", "ci", "bot"): ACCOUNT}
        keys = key_pair()
        (directory / "sa.key").write_bytes(keys.key)
        (directory / "sa.pub").write_bytes(keys.certificate)
        self.keys = SigningKeys(directory / "sa.key", [directory / "sa.pub"])
        self.tokens = ServiceAccountTokens(self.keys, self.find, clock=self.clock)

    def find(self, resource: GroupResource, cluster: ClusterName, namespace: str, name: str) -> JSONObject | None:
        return self.objects.get((resource.resource, cluster, namespace, name))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
def world(directory: Path) -> World:
    return World(directory)


async def test_a_token_proves_the_account_with_its_groups_and_cluster(world: World) -> None:
    token, expires_at = world.tokens.issue(ACCOUNT, TEAM, lifetime_s=600)
    identity = await world.tokens.authenticate(token)
    assert identity is not None
    user = identity.user
    assert (user.name, user.uid) == ("system:serviceaccount:ci:bot", "u1")
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated")
    assert user.extra["authentication.kcp.io/cluster-name"] == ("team",)
    assert identity.expires_at == expires_at == world.clock.now().timestamp() + 600


def test_the_claims_are_upstreams_plus_the_cluster(world: World) -> None:
    claims = jwt.decode(world.tokens.issue(ACCOUNT, TEAM, audiences=["vault"])[0], options={"verify_signature": False})
    assert claims["kubernetes.io"] == {"namespace": "ci", "serviceaccount": {"name": "bot", "uid": "u1"}, "clusterName": "team"}
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("https://kcp.default.svc", ["vault"], "system:serviceaccount:ci:bot")
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize("token", ["abc", "a.b.c", "", "e30.e30.e30"])
async def test_other_tokens_are_not_ours_to_judge(world: World, token: str) -> None:
    assert await world.tokens.authenticate(token) is None


async def test_an_expired_token_is_refused(world: World) -> None:
    token, _ = world.tokens.issue(ACCOUNT, TEAM, lifetime_s=600)
    await world.clock.advance(620)
    with pytest.raises(Unauthorized, match="expired"):
        await world.tokens.authenticate(token)


async def test_a_token_of_another_key_is_refused(world: World) -> None:
    private = key_pair().key
    token = jwt.encode({"iss": "https://kcp.default.svc"}, private, algorithm="ES256")
    with pytest.raises(Unauthorized, match="no key of this server"):
        await world.tokens.authenticate(token)


async def test_an_unsigned_token_is_refused(world: World) -> None:
    token = jwt.encode({"iss": "https://kcp.default.svc"}, "", algorithm="none")
    with pytest.raises(Unauthorized):
        await world.tokens.authenticate(token)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (None, "does not exist"),
        ({"metadata": {"name": "bot", "namespace": "ci", "uid": "u2"}}, "its uid is not u1 any more"),
        ({"metadata": {"name": "bot", "namespace": "ci", "uid": "u1", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, "being deleted"),
    ],
)
async def test_a_token_ends_with_its_account(world: World, change: JSONObject | None, fault: str) -> None:
    token, _ = world.tokens.issue(ACCOUNT, TEAM)
    key = ("serviceaccounts", "team", "ci", "bot")
    del world.objects[key]
    if change is not None:
        world.objects[key] = change
    with pytest.raises(Unauthorized, match=fault):
        await world.tokens.authenticate(token)


async def test_a_token_bound_to_a_pod_ends_with_it_and_names_it(world: World) -> None:
    world.objects["pods", "team", "ci", "p"] = {"metadata": {"name": "p", "namespace": "ci", "uid": "p1"}}
    token, _ = world.tokens.issue(ACCOUNT, TEAM, bound=BoundObject("Pod", "p", "p1"))
    identity = await world.tokens.authenticate(token)
    assert identity is not None
    assert identity.user.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    del world.objects["pods", "team", "ci", "p"]
    with pytest.raises(Unauthorized, match='pods "p" of the token does not exist'):
        await world.tokens.authenticate(token)


async def test_a_legacy_token_is_valid_while_its_secret_holds_it(world: World) -> None:
    token = world.tokens.issue_legacy(ACCOUNT, TEAM, "bot-token")
    with pytest.raises(Unauthorized, match="secrets"):
        await world.tokens.authenticate(token)
    held = base64.b64encode(token.encode()).decode()
    world.objects["secrets", "team", "ci", "bot-token"] = {"metadata": {"name": "bot-token"}, "data": {"token": held}}
    identity = await world.tokens.authenticate(token)
    assert identity is not None
    assert identity.user.name == "system:serviceaccount:ci:bot"
    world.objects["secrets", "team", "ci", "bot-token"] = {"metadata": {"name": "bot-token"}, "data": {"token": "b3RoZXI="}}
    with pytest.raises(Unauthorized, match="does not match"):
        await world.tokens.authenticate(token)


async def test_a_token_without_a_cluster_is_refused_where_there_are_several(world: World) -> None:
    single = ServiceAccountTokens(world.keys, world.find, clock=world.clock, cluster_claim=False)
    world.objects["serviceaccounts", "local", "ci", "bot"] = ACCOUNT
    token, _ = single.issue(ACCOUNT, ClusterName("local"))
    identity = await single.authenticate(token)
    assert identity is not None
    assert "authentication.kcp.io/cluster-name" not in identity.user.extra
    with pytest.raises(Unauthorized, match="no logical cluster"):
        await world.tokens.authenticate(token)


async def post(world: World, review: tuple[str, str, str], body: object, user: UserInfo | None = None) -> JSONObject:
    async def read_body() -> bytes:
        return orjson.dumps(body)

    static = StaticTokens({"static": UserInfo("ann")})
    authentication = Authentication(static=static, tokens=[world.tokens], audiences=world.tokens.audiences)
    req = Request("POST", "/", "", {}, read_body, user=user or UserInfo("ann", ("devs",)))
    req.info = RequestInfo("/", "create", cluster=TEAM, namespace="ci", name="bot")
    response = await token_reviews(authentication, world.tokens, world.find)[review](req)
    assert response.status == 201
    answered: JSONObject = orjson.loads(response.body)
    return answered


REQUEST = ("", "serviceaccounts", "token")
REVIEW = ("authentication.k8s.io", "tokenreviews", "")


async def test_a_token_request_answers_a_token(world: World) -> None:
    answered = await post(world, REQUEST, {"kind": "TokenRequest", "spec": {"expirationSeconds": 900}})
    assert answered["status"]["expirationTimestamp"] == "2026-01-01T00:15:00Z"
    assert answered["spec"] == {"audiences": ["https://kcp.default.svc"], "expirationSeconds": 900}
    assert await world.tokens.authenticate(answered["status"]["token"]) is not None


async def test_a_token_request_for_a_missing_account_is_not_found(world: World) -> None:
    world.objects.clear()
    with pytest.raises(NotFound, match='serviceaccounts "bot" not found'):
        await post(world, REQUEST, {"spec": {}})


@pytest.mark.parametrize(("seconds", "fault"), [(1, Invalid), (1 << 40, Invalid), ("900", BadRequest), (True, BadRequest)])
async def test_an_impossible_lifetime_is_refused(world: World, seconds: object, fault: type[StatusError]) -> None:
    with pytest.raises(fault, match=r"spec\.expirationSeconds"):
        await post(world, REQUEST, {"spec": {"expirationSeconds": seconds}})


async def test_a_token_request_binds_to_what_exists(world: World) -> None:
    ref: dict[str, Any] = {"kind": "Secret", "apiVersion": "v1", "name": "s"}
    with pytest.raises(NotFound):
        await post(world, REQUEST, {"spec": {"boundObjectRef": ref}})
    world.objects["secrets", "team", "ci", "s"] = {"metadata": {"name": "s", "uid": "s1"}}
    await post(world, REQUEST, {"spec": {"boundObjectRef": ref}})
    with pytest.raises(Conflict, match="does not match the UID in record"):
        await post(world, REQUEST, {"spec": {"boundObjectRef": {**ref, "uid": "other"}}})
    with pytest.raises(BadRequest, match="cannot bind token"):
        await post(world, REQUEST, {"spec": {"boundObjectRef": {**ref, "kind": "ConfigMap"}}})


async def test_a_token_review_tells_who_a_token_is(world: World) -> None:
    token, _ = world.tokens.issue(ACCOUNT, TEAM)
    status = (await post(world, REVIEW, {"spec": {"token": token}}))["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == "system:serviceaccount:ci:bot"
    assert status["audiences"] == ["https://kcp.default.svc"]
    assert (await post(world, REVIEW, {"spec": {"token": "static"}}))["status"]["user"]["username"] == "ann"


async def test_a_token_review_of_a_bad_token_says_no(world: World) -> None:
    assert "authenticated" not in (await post(world, REVIEW, {"spec": {"token": "nonsense"}}))["status"]
    token, _ = world.tokens.issue(ACCOUNT, TEAM, audiences=["vault"])
    assert "error" in (await post(world, REVIEW, {"spec": {"token": token}}))["status"]
    assert (await post(world, REVIEW, {"spec": {"token": token, "audiences": ["vault"]}}))["status"]["audiences"] == ["vault"]
    world.objects.clear()
    assert "does not exist" in (await post(world, REVIEW, {"spec": {"token": token}}))["status"]["error"]
    with pytest.raises(BadRequest):
        await post(world, REVIEW, {"spec": {}})


async def test_whoami_answers_the_user(world: World) -> None:
    user = UserInfo("ann", ("devs",), "7", {"a": ("b",)})
    answered = await post(world, ("authentication.k8s.io", "selfsubjectreviews", ""), {}, user)
    assert answered["status"]["userInfo"] == {"username": "ann", "uid": "7", "groups": ["devs"], "extra": {"a": ["b"]}}
