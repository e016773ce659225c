"""Service account tokens and certificate requests through the API.

Source: conformance.yaml ("ServiceAccounts should …", "Certificates API [Privileged:ClusterAdmin]").
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import jwt
import orjson
import pytest
from tests.behaviour.objects.samples import SAMPLES
from tests.behaviour.objects.world import Api, World

from kcp.registry.backend import UserInfo
from kcp.sim.cluster import SimCluster

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
ROBOT = UserInfo("system:serviceaccount:default:robot", ("system:serviceaccounts", "system:authenticated"))
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
async def signing() -> AsyncIterator[Api]:
    """A cluster with keys, which one without sockets has no use for."""
    async with SimCluster("east", nodes=1) as cluster:
        yield Api(cluster.client())


async def _token(world: Api, **spec: object) -> str:
    answer = await world.make(f"{ACCOUNTS}/robot/token", {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
    return str(answer["status"]["token"])


async def test_a_token_is_good_for_its_audience_and_as_long_as_its_account(signing: Api) -> None:
    await signing.make(ACCOUNTS, {"metadata": {"name": "robot"}})
    token = await _token(signing, audiences=["vault"], expirationSeconds=600)
    review = (await signing.make(REVIEWS, {"spec": {"token": token, "audiences": ["vault"]}}))["status"]
    assert (review["authenticated"], review["audiences"]) == (True, ["vault"])
    assert review["user"]["username"] == "system:serviceaccount:default:robot"
    assert "system:serviceaccounts:default" in review["user"]["groups"]
    other = (await signing.make(REVIEWS, {"spec": {"token": token, "audiences": ["other"]}}))["status"]
    assert "authenticated" not in other
    await signing.call("DELETE", f"{ACCOUNTS}/robot")
    gone = (await signing.make(REVIEWS, {"spec": {"token": token, "audiences": ["vault"]}}))["status"]
    assert "authenticated" not in gone


async def test_others_verify_tokens_by_the_documents_of_their_issuer(signing: Api) -> None:
    # Source: test/e2e/auth/service_accounts.go ("ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer")
    await signing.make(ACCOUNTS, {"metadata": {"name": "robot"}})
    token = await _token(signing, audiences=["vault"])
    claimed = jwt.decode(token, options={"verify_signature": False})
    configuration = await signing.client.raw("GET", "/.well-known/openid-configuration", headers={"host": "east:6443"})
    told = orjson.loads(configuration.body)
    assert told == {
        "issuer": claimed["iss"], "jwks_uri": "https://east:6443/openid/v1/jwks", "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    }  # fmt: skip
    keys = await signing.client.raw("GET", "/openid/v1/jwks")
    assert (keys.headers["content-type"], keys.headers["cache-control"]) == ("application/jwk-set+json", "public, max-age=3600")
    found = {key.key_id: key for key in jwt.PyJWKSet.from_dict(orjson.loads(keys.body)).keys}
    key = found[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, ["ES256"], audience="vault")["sub"] == "system:serviceaccount:default:robot"


@pytest.mark.parametrize(("user", "status"), [(ROBOT, 200), (UserInfo("ann", ("system:authenticated",)), 403)])
async def test_only_service_accounts_may_read_the_documents_of_their_issuer(world: World, user: UserInfo, status: int) -> None:
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert (await world.as_user(user).call("GET", path)).status == status
    assert (await world.as_user(user).call("GET", "/metrics")).status == 403


async def test_a_token_bound_to_an_object_ends_with_it(signing: Api) -> None:
    await signing.make(ACCOUNTS, {"metadata": {"name": "robot"}})
    await signing.make("/api/v1/namespaces/default/secrets", {"metadata": {"name": "anchor"}})
    token = await _token(signing, boundObjectRef={"apiVersion": "v1", "kind": "Secret", "name": "anchor"})
    assert (await signing.make(REVIEWS, {"spec": {"token": token}}))["status"]["authenticated"]
    await signing.call("DELETE", "/api/v1/namespaces/default/secrets/anchor")
    assert "authenticated" not in (await signing.make(REVIEWS, {"spec": {"token": token}}))["status"]


@pytest.mark.parametrize(("seconds", "text"), [(10, "may not specify a duration less than 10 minutes")])
async def test_a_token_lives_ten_minutes_at_least(world: World, seconds: int, text: str) -> None:
    await world.make(ACCOUNTS, {"metadata": {"name": "robot"}})
    answer = await world.call("POST", f"{ACCOUNTS}/robot/token", {"spec": {"expirationSeconds": seconds}})
    assert answer.causes == [("spec.expirationSeconds", f"Invalid value: {seconds}: {text}")]


async def test_a_certificate_request_is_decided_once(world: World) -> None:
    sample = next(each for each in SAMPLES if each.kind == "CertificateSigningRequest")
    made = await world.make(REQUESTS, sample.named(1))
    assert made["spec"]["username"] == "kubernetes-admin"
    one = f"{REQUESTS}/{made['metadata']['name']}"
    approved = {"type": "Approved", "status": "True", "reason": "Tried", "message": "yes"}
    held = await world.get(f"{one}/approval")
    held["status"] = {"conditions": [approved]}
    answer = await world.call("PUT", f"{one}/approval", held)
    assert answer.status == 200, answer.message
    assert answer.body["status"]["conditions"][0]["lastUpdateTime"]
    patched = await world.change(f"{one}/approval", {"metadata": {"annotations": {"patchedapproval": "true"}}})
    assert patched["metadata"]["annotations"] == {"patchedapproval": "true"}
    both = {"status": {"conditions": [approved, {**approved, "type": "Denied"}]}}
    refused = await world.call("PATCH", f"{one}/approval", both, content="application/merge-patch+json")
    assert refused.causes == [
        ("status.conditions[1].type", 'Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'),
    ]  # fmt: skip
    through_status = await world.call("PATCH", f"{one}/status", {"status": {"conditions": []}}, content="application/merge-patch+json")
    assert [field for field, _ in through_status.causes] == ["status.conditions"]
