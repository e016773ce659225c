"""Foreign issuers: configuration and its faults, mapping of claims, signatures and keys, times and audiences, changes of configuration.

Source: k8s.io/apiserver/plugin/pkg/authenticator/token/oidc/oidc_test.go, pkg/apis/apiserver/validation/validation_test.go.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.issuer import AUDIENCE, Issuer

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import Unauthorized
from kcp.apiserver.authn.identity import TokenIdentity
from kcp.apiserver.authn.jwt import validation
from kcp.apiserver.authn.jwt.authenticator import JWTAuthenticator, JWTAuthenticators
from kcp.apiserver.authn.jwt.config import AuthenticationConfiguration, ConfigurationError, JWTConfig, read
from kcp.registry.backend import UserInfo

V1 = "apiserver.config.k8s.io/v1"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(datetime.fromtimestamp(int(time.time()), UTC))


def parsed(*jwt: Any, **top: Any) -> AuthenticationConfiguration:
    return AuthenticationConfiguration.from_object({"apiVersion": V1, "kind": "AuthenticationConfiguration", "jwt": list(jwt), **top})


def one(issuer: Issuer, /, **changes: Any) -> JWTConfig:
    configuration = parsed(issuer.config(**changes))
    assert validation.faults(configuration) == []
    return configuration.jwt[0]


async def identify(issuer: Issuer, clock: VirtualClock, token: str, /, **changes: Any) -> TokenIdentity | None:
    return await JWTAuthenticator(one(issuer, **changes), clock=clock, get=issuer.get).authenticate(token)


async def user(issuer: Issuer, clock: VirtualClock, claims: dict[str, Any], /, **mappings: Any) -> UserInfo:
    found = await identify(issuer, clock, issuer.token(**claims), **mappings)
    assert found is not None
    return found.user


# --- the configuration ---


def faults(*jwt: Any, **top: Any) -> list[str]:
    return [str(fault) for fault in validation.faults(parsed(*jwt, **top), ["https://kcp.default.svc"])]


ISSUER = Issuer()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"issuer": {"audiences": ["a"]}}, "jwt[0].issuer.url: Required value"),
        ({"issuer": {"url": "http://x", "audiences": ["a"]}}, "URL scheme must be https"),
        ({"issuer": {"url": "https://u:p@x", "audiences": ["a"]}}, "URL must not contain a username or password"),
        ({"issuer": {"url": "https://x?q=1", "audiences": ["a"]}}, "URL must not contain a query"),
        ({"issuer": {"url": "https://x#f", "audiences": ["a"]}}, "URL must not contain a fragment"),
        ({"issuer": {"url": "https://kcp.default.svc", "audiences": ["a"]}}, "must not overlap with disallowed issuers: [https://kcp.default.svc]"),
        ({"issuer": {"url": "https://x", "discoveryURL": "https://x/", "audiences": ["a"]}}, "discoveryURL must be different from URL"),
        ({"issuer": {"url": "https://x"}}, "jwt[0].issuer.audiences: Required value: at least one"),
        ({"issuer": {"url": "https://x", "audiences": ["a", "b"]}}, "audienceMatchPolicy must be MatchAny for multiple audiences"),
        ({"issuer": {"url": "https://x", "audiences": ["a"], "audienceMatchPolicy": "Some"}}, "must be empty or MatchAny"),
        ({"issuer": {"url": "https://x", "audiences": ["a", "a"], "audienceMatchPolicy": "MatchAny"}}, 'Duplicate value: "a"'),
        ({"issuer": {"url": "https://x", "audiences": ["a"], "certificateAuthority": "none"}}, 'Invalid value: "<omitted>"'),
        ({"claimMappings": {}}, "jwt[0].claimMappings.username: Required value: claim or expression is required"),
        ({"claimMappings": {"username": {"claim": "sub"}}}, "prefix is required when claim is set"),
        ({"claimMappings": {"username": {"claim": "sub", "expression": "claims.sub"}}}, "claim and expression can't both be set"),
        ({"claimMappings": {"username": {"expression": "claims.sub", "prefix": ""}}}, "may not be specified when expression is set"),
        ({"claimMappings": {"username": {"expression": "claims."}}}, "claimMappings.username.expression: Invalid value"),
        ({"claimMappings": {"username": {"expression": "1 + 1"}}}, "must evaluate to string"),
        ({"claimMappings": {"username": {"expression": "claims.email"}}}, "claims.email_verified must be used"),
        ({"claimMappings": {"username": {"expression": "claims.sub"}, "extra": [{"key": "foo", "valueExpression": "'a'"}]}}, "domain-prefixed"),
        ({"claimMappings": {"username": {"expression": "claims.sub"}, "extra": [{"key": "a.k8s.io/x", "valueExpression": "'a'"}]}}, "reserved for Kubernetes"),
        ({"claimMappings": {"username": {"expression": "claims.sub"}, "extra": [{"key": "a.io/X", "valueExpression": "'a'"}]}}, "must be lowercase"),
        ({"claimValidationRules": [{"claim": "hd", "expression": "true"}]}, "claim and expression can't both be set"),
        ({"claimValidationRules": [{}]}, "claimValidationRules[0]: Required value: claim or expression is required"),
        ({"claimValidationRules": [{"claim": "hd", "message": "m"}]}, "message: Invalid value"),
        ({"claimValidationRules": [{"expression": "'a'"}]}, "must evaluate to bool"),
        ({"claimValidationRules": [{"claim": "a"}, {"claim": "a"}]}, 'claimValidationRules[1].claim: Duplicate value: "a"'),
        ({"userValidationRules": [{"expression": "user.nothing == ''"}]}, "undefined field 'nothing'"),
        ({"userValidationRules": [{"expression": ""}]}, "userValidationRules[0].expression: Required value"),
    ],
)  # fmt: skip
def test_what_a_configuration_says_wrong_is_named(changes: dict[str, Any], fault: str) -> None:
    found = faults(ISSUER.config(**changes))
    assert any(fault in each for each in found), found


def test_issuers_are_different_from_one_another() -> None:
    assert 'jwt[1].issuer.url: Duplicate value: "https://issuer.test"' in faults(ISSUER.config(), ISSUER.config())


def test_conditions_of_anonymous_access_go_with_access() -> None:
    assert faults(anonymous={"enabled": False, "conditions": [{"path": "/livez"}]})[0].startswith("anonymous.conditions: Invalid value")
    assert parsed(anonymous={"enabled": True, "conditions": [{"path": "/livez"}]}).anonymous is not None


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_every_version_of_the_file_is_read(tmp_path: Path, version: str) -> None:
    file = tmp_path / "authn.yaml"
    document = {"apiVersion": f"apiserver.config.k8s.io/{version}", "kind": "AuthenticationConfiguration", "jwt": [ISSUER.config()]}
    file.write_text(yaml.safe_dump(document))
    assert read(file)[0].jwt[0].issuer.audiences == (AUDIENCE,)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kind: Other\napiVersion: v1", "expected kind AuthenticationConfiguration"),
        (f"apiVersion: {V1}\nkind: AuthenticationConfiguration\njwts: []", 'unknown field "jwts"'),
        (f"apiVersion: {V1}\nkind: AuthenticationConfiguration\njwt: [{{issuer: {{uri: x}}}}]", 'unknown field "jwt[0].issuer.uri"'),
        (f"apiVersion: {V1}\nkind: AuthenticationConfiguration\njwt: {{}}", "jwt: must be a list"),
        ("a: [", "cannot be used"),
    ],
)
def test_a_file_that_is_none_says_what_is_wrong_with_it(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "authn.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="authn.yaml") as refused:
        read(file)
    assert fault in str(refused.value)


# --- claims ---


async def test_claims_name_user_and_groups_with_their_prefixes(clock: VirtualClock) -> None:
    found = await user(ISSUER, clock, {"groups": ["devs", "ops"]})
    assert found == UserInfo("oidc:ann", ("oidc:devs", "oidc:ops", "system:authenticated"))


async def test_one_group_may_be_a_text(clock: VirtualClock) -> None:
    assert (await user(ISSUER, clock, {"groups": "devs"})).groups == ("oidc:devs", "system:authenticated")


async def test_expressions_make_name_groups_uid_and_extra(clock: VirtualClock) -> None:
    mappings = {
        "username": {"expression": "claims.sub + '@' + claims.realm"},
        "groups": {"expression": "claims.roles.split(',')"},
        "uid": {"expression": "claims.oid"},
        "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}, {"key": "example.com/none", "valueExpression": "[]"}],
    }
    found = await user(ISSUER, clock, {"realm": "x", "roles": "a,b", "oid": "7", "tenant": "t"}, claimMappings=mappings)
    assert found == UserInfo("ann@x", ("a", "b", "system:authenticated"), "7", {"example.com/tenant": ("t",)})


@pytest.mark.parametrize(
    ("claims", "changes", "reason"),
    [
        ({"sub": None}, {}, "username claim 'sub' must be a string"),
        ({"sub": 7}, {}, "must be a string, and is int"),
        ({"groups": [1]}, {}, "groups must be a string or a list of strings"),
        ({"aud": "others"}, {}, "expected audience"),
        ({"exp": 1}, {}, "token is expired"),
        ({"exp": None}, {}, "token is expired"),
        ({"nbf": 99999999999}, {}, "not before"),
        ({}, {"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]}, "required claim hd not present"),
        ({"hd": "y"}, {"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]}, "required claim hd value does not match"),
        ({}, {"claimValidationRules": [{"expression": "claims.exp - claims.iat <= 60", "message": "lives too long"}]}, "lives too long"),
        ({}, {"claimValidationRules": [{"expression": "claims.absent == 'x'"}]}, "no such key: absent"),
        ({"sub": "system:x"}, {"claimMappings": {"username": {"claim": "sub", "prefix": ""}},
                               "userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}]}, "reserved"),
        ({"email": "a@b", "email_verified": False}, {"claimMappings": {"username": {"claim": "email", "prefix": ""}}}, "email not verified"),
    ],
)  # fmt: skip
async def test_a_token_that_does_not_meet_the_rules_is_refused(
    clock: VirtualClock, claims: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unauthorized) as refused:
        await identify(ISSUER, clock, ISSUER.token(**claims), **changes)
    assert reason in refused.value.message


async def test_rules_that_are_met_let_the_user_in(clock: VirtualClock) -> None:
    rules: dict[str, Any] = {
        "claimValidationRules": [{"claim": "hd", "requiredValue": "x"}, {"expression": "claims.exp - claims.iat <= 86400"}],
        "userValidationRules": [{"expression": "user.groups.all(g, !g.startsWith('system:')) && user.uid == '' && user.extra.size() == 0"}],
    }
    assert (await user(ISSUER, clock, {"hd": "x"}, **rules)).name == "oidc:ann"


async def test_any_of_several_audiences_will_do(clock: VirtualClock) -> None:
    issuer = {"url": ISSUER.url, "audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny"}
    assert (await user(ISSUER, clock, {"aud": ["c", "b"]}, issuer=issuer)).name == "oidc:ann"


async def test_tokens_of_others_are_left_to_others(clock: VirtualClock) -> None:
    assert await identify(ISSUER, clock, Issuer("https://other.test").token()) is None
    assert await identify(ISSUER, clock, "opaque") is None


# --- claims that are elsewhere ---


def elsewhere(issuer: Issuer, **source: Any) -> dict[str, Any]:
    """Claims that say that the groups are at the issuer's /groups."""
    return {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {"endpoint": f"{issuer.url}/groups", **source}}}


async def test_groups_may_have_to_be_fetched(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuer.answers["/groups"] = issuer.token(groups=["devs"]).encode()
    assert (await user(issuer, clock, elsewhere(issuer, access_token="a"))).groups == ("oidc:devs", "system:authenticated")
    assert issuer.shown == ["a"]


async def test_groups_that_are_there_are_not_fetched(clock: VirtualClock) -> None:
    issuer = Issuer()
    assert (await user(issuer, clock, {"groups": ["ops"], **elsewhere(issuer)})).groups == ("oidc:ops", "system:authenticated")
    assert "/groups" not in issuer.fetched


@pytest.mark.parametrize(
    ("claims", "answer", "reason"),
    [
        ({}, None, "while getting distributed claim 'groups'"),
        ({}, {"groups": ["x"], "aud": "others"}, "expected audience"),
        ({}, {"groups": ["x"], "exp": 1}, "token is expired"),
        ({}, {}, "did not contain claim: groups"),
        ({}, "rubbish", "is no token"),
        ({"_claim_sources": {}}, None, "missing in _claim_sources"),
        ({"_claim_sources": None}, None, "error parsing distributed claim names"),
    ],
)
async def test_groups_that_cannot_be_had_keep_their_owner_out(
    clock: VirtualClock, claims: dict[str, Any], answer: Any, reason: str
) -> None:
    issuer = Issuer()
    if answer is not None:
        issuer.answers["/groups"] = (answer if isinstance(answer, str) else issuer.token(**answer)).encode()
    with pytest.raises(Unauthorized) as refused:
        await user(issuer, clock, {**elsewhere(issuer), **claims})
    assert reason in refused.value.message


# --- keys ---


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "PS256"])
async def test_every_algorithm_is_checked(clock: VirtualClock, algorithm: str) -> None:
    issuer = Issuer(algorithm=algorithm)
    assert (await user(issuer, clock, {})).name == "oidc:ann"


async def test_another_ones_signature_is_refused(clock: VirtualClock) -> None:
    forged = Issuer().token()
    with pytest.raises(Unauthorized, match="failed to verify signature"):
        await identify(ISSUER, clock, forged)


async def test_a_token_without_a_signature_is_refused(clock: VirtualClock) -> None:
    import jwt

    token = jwt.encode({"iss": ISSUER.url, "aud": AUDIENCE, "sub": "ann", "exp": 99999999999}, "", algorithm="none")
    with pytest.raises(Unauthorized, match="unsupported algorithm"):
        await identify(ISSUER, clock, token)


async def test_keys_are_fetched_once_and_again_for_a_new_key_only(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuers = JWTAuthenticator(one(issuer), clock=clock, get=issuer.get)
    for _ in range(3):
        assert await issuers.authenticate(issuer.token())
    assert issuer.fetched == ["/.well-known/openid-configuration", "/keys"]
    issuer.rotate()
    assert await issuers.authenticate(issuer.token())
    assert await issuers.authenticate(issuer.token(key=0))
    assert issuer.fetched[2:] == ["/keys"]


async def test_a_key_that_was_withdrawn_is_good_until_the_keys_are_fetched_again(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuers = JWTAuthenticator(one(issuer), clock=clock, get=issuer.get)
    old = issuer.token()
    assert await issuers.authenticate(old)
    issuer.rotate()
    issuer.forget()
    assert await issuers.authenticate(issuer.token())
    with pytest.raises(Unauthorized):
        await issuers.authenticate(old)


async def test_tokens_without_a_key_id_are_tried_with_every_key(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuer.rotate("RS256")
    assert await identify(issuer, clock, issuer.token(key=0, headers={}))


async def test_bogus_tokens_do_not_make_the_server_ask_without_end(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuers = JWTAuthenticator(one(issuer), clock=clock, get=issuer.get)
    for number in range(50):
        with pytest.raises(Unauthorized):
            await issuers.authenticate(Issuer().token(headers={"kid": f"none-{number}"}))
    assert issuer.fetched.count("/keys") <= 10
    await clock.advance(5)
    issuer.rotate()
    assert await issuers.authenticate(issuer.token())


async def test_an_issuer_that_is_down_is_asked_again_after_a_while(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuer.is_down = True
    issuers = JWTAuthenticator(one(issuer), clock=clock, get=issuer.get)
    for _ in range(3):
        with pytest.raises(Unauthorized, match="not initialized"):
            await issuers.authenticate(issuer.token())
    assert len(issuer.fetched) == 1
    issuer.is_down = False
    await clock.advance(11)
    assert await issuers.authenticate(issuer.token())


async def test_an_issuer_that_says_it_is_another_is_not_believed(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuer.claimed_url = "https://evil.test"
    with pytest.raises(Unauthorized, match="issuer did not match"):
        await identify(issuer, clock, issuer.token())


async def test_the_discovery_document_may_be_elsewhere(clock: VirtualClock) -> None:
    issuer = Issuer()
    issuer.discovery_path = "/mine/discovery"
    config = {"url": issuer.url, "discoveryURL": "https://inside.test/mine/discovery", "audiences": [AUDIENCE]}
    assert (await user(issuer, clock, {}, issuer=config)).name == "oidc:ann"


# --- all issuers ---


async def test_issuers_come_and_go_and_those_that_stay_keep_their_keys(clock: VirtualClock) -> None:
    first, second = Issuer("https://first.test"), Issuer("https://second.test")

    async def get(url: str, ca_pem: bytes, token: str) -> bytes:
        return await (first if url.startswith(first.url) else second).get(url, ca_pem, token)

    issuers = JWTAuthenticators([one(first)], clock=clock, get=get)
    token = first.token()
    assert await issuers.authenticate(token)
    assert await issuers.authenticate(second.token()) is None
    issuers.use([one(first), one(second)])
    assert await issuers.authenticate(token)
    assert await issuers.authenticate(second.token())
    assert first.fetched.count("/keys") == 1
    issuers.use([one(second)])
    assert await issuers.authenticate(token) is None
