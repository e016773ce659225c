"""Certificates, bearer tokens, the token file, the token cache, anonymous requests, impersonation."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import BadRequest, Forbidden, Unauthorized
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authn.anonymous import AnonymousAccess
from kcp.apiserver.authn.chain import Authentication, with_authentication
from kcp.apiserver.authn.identity import TokenIdentity
from kcp.apiserver.authn.impersonation import with_impersonation
from kcp.apiserver.authn.tokens import CachedTokens, StaticTokens, TokenFileError
from kcp.apiserver.authz.attributes import NO_OPINION, AuthzAttributes, Decision, Verdict
from kcp.apiserver.request import ANONYMOUS, Request, RequestInfo, Response
from kcp.registry.backend import UserInfo

ANN = UserInfo("ann", ("devs",), "7")


async def no_body() -> bytes:
    return b""


def request(headers: dict[str, str] | None = None, subject: dict[str, tuple[str, ...]] | None = None) -> Request:
    made = Request("GET", "/", "", headers or {}, no_body, subject)
    made.info = RequestInfo("/", "get", cluster=ClusterName("team"))
    return made


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_a_certificate_gives_user_and_groups() -> None:
    user = await Authentication().authenticate(request(subject={"CN": ("ann",), "O": ("devs", "ops")}))
    assert user == UserInfo("ann", ("devs", "ops", "system:authenticated"))


async def test_a_certificate_counts_before_a_token() -> None:
    authentication = Authentication(static=StaticTokens({"t": UserInfo("bob")}))
    assert (await authentication.authenticate(request(bearer("t"), {"CN": ("ann",)}))).name == "ann"


async def test_a_certificate_without_a_name_is_no_identity() -> None:
    assert await Authentication().authenticate(request(subject={"O": ("devs",)})) is ANONYMOUS


async def test_a_certificate_that_expired_is_refused_with_the_reason_unless_a_token_proves_the_user() -> None:
    authentication = Authentication(static=StaticTokens({"secret": ANN}))
    expired = request()
    expired.peer_fault = "it expired at 2026-01-01T00:00:00Z"
    with pytest.raises(Unauthorized, match="the client certificate is refused: it expired at 2026-01-01T00:00:00Z"):
        await authentication.authenticate(expired)
    expired = request(bearer("secret"))
    expired.peer_fault = "it expired at 2026-01-01T00:00:00Z"
    assert (await authentication.authenticate(expired)).name == "ann"


async def test_a_known_token_gives_its_user() -> None:
    authentication = Authentication(static=StaticTokens({"secret": ANN}))
    user = await authentication.authenticate(request(bearer("secret")))
    assert user == UserInfo("ann", ("devs", "system:authenticated"), "7")


@pytest.mark.parametrize("header", ["Bearer wrong", "Basic YTpi", "Bearer", "secret"])
async def test_wrong_credentials_are_refused_even_where_anonymous_requests_are_not(header: str) -> None:
    authentication = Authentication(static=StaticTokens({"secret": ANN}))
    with pytest.raises(Unauthorized) as refused:
        await authentication.authenticate(request({"authorization": header}))
    assert refused.value.to_status()["message"] == "Unauthorized"


async def test_requests_without_credentials_are_anonymous_unless_that_is_off() -> None:
    assert await Authentication().authenticate(request()) is ANONYMOUS
    with pytest.raises(Unauthorized):
        await Authentication(anonymous=AnonymousAccess(is_enabled=False)).authenticate(request())


async def test_the_filter_sets_the_user() -> None:
    async def handler(req: Request) -> Response:
        return Response(body=req.user.name.encode())

    wrapped = with_authentication(Authentication(static=StaticTokens({"secret": ANN})))(handler)
    assert (await wrapped(request(bearer("secret")))).body == b"ann"


def test_a_token_file_has_groups_in_its_fourth_column(tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('t1,ann,1,"devs, ops"\n\nt2,bob,2\n')
    tokens = StaticTokens()
    assert tokens.load_csv(file) == 2
    found = tokens.get("t1")
    assert found is not None
    assert found.user == UserInfo("ann", ("devs", "ops", "system:authenticated"), "1")
    assert tokens.get("t3") is None


@pytest.mark.parametrize(
    ("text", "fault"), [("t1,ann\n", "line 1: expected at least 3 columns"), ("a,b,c\n,ann,1\n", "line 2: the token and the user")]
)
def test_a_malformed_token_file_names_the_line(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text(text)
    with pytest.raises(TokenFileError, match=fault):
        StaticTokens().load_csv(file)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"gone\.csv"):
        StaticTokens().load_csv(tmp_path / "gone.csv")


class Counting:
    def __init__(self, identity: TokenIdentity | None, refusal: Unauthorized | None = None) -> None:
        self.identity, self.refusal, self.asked = identity, refusal, 0

    async def authenticate(self, token: str) -> TokenIdentity | None:
        self.asked += 1
        if self.refusal:
            raise self.refusal
        return self.identity


async def test_validated_tokens_are_remembered_for_a_while() -> None:
    clock, behind = VirtualClock(), Counting(TokenIdentity(ANN))
    cached = CachedTokens([behind], clock=clock, ttl_s=10)
    await cached.authenticate("t")
    await cached.authenticate("t")
    assert behind.asked == 1
    await clock.advance(11)
    await cached.authenticate("t")
    assert behind.asked == 2


async def test_a_token_is_not_remembered_beyond_its_end() -> None:
    clock = VirtualClock()
    behind = Counting(TokenIdentity(ANN, expires_at=clock.now().timestamp() + 3))
    cached = CachedTokens([behind], clock=clock, ttl_s=10)
    await cached.authenticate("t")
    await clock.advance(4)
    await cached.authenticate("t")
    assert behind.asked == 2


async def test_unknown_tokens_are_not_remembered_and_the_cache_is_bounded() -> None:
    behind = Counting(None)
    cached = CachedTokens([behind], clock=VirtualClock(), max_entries=4)
    assert await cached.authenticate("t") is None
    assert await cached.authenticate("t") is None
    assert behind.asked == 2
    behind.identity = TokenIdentity(ANN)
    for index in range(20):
        await cached.authenticate(str(index))
    assert cached.statistics()["tokens"] <= 4


async def test_a_refusal_counts_only_if_nobody_else_knows_the_token() -> None:
    refusing, knowing = Counting(None, Unauthorized("expired")), Counting(TokenIdentity(ANN))
    assert (await Authentication(tokens=[refusing, knowing]).authenticate(request(bearer("t")))).name == "ann"
    with pytest.raises(Unauthorized, match="^Unauthorized$"):
        await Authentication(tokens=[refusing]).authenticate(request(bearer("t")))


async def test_a_token_for_another_audience_is_refused() -> None:
    tokens = Counting(TokenIdentity(ANN, ("vault",)))
    with pytest.raises(Unauthorized):
        await Authentication(tokens=[tokens], audiences=["https://kcp"]).authenticate(request(bearer("t")))


class Allowing:
    """Allows the listed (resource, subresource, namespace, name)."""

    def __init__(self, *allowed: tuple[str, str, str, str]) -> None:
        self.allowed = set(allowed)

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        assert attributes.verb == "impersonate"
        asked = (attributes.resource, attributes.subresource, attributes.namespace, attributes.name)
        return Decision(Verdict.ALLOW) if asked in self.allowed else NO_OPINION


async def impersonate(headers: dict[str, str], *allowed: tuple[str, str, str, str]) -> UserInfo:
    async def handler(req: Request) -> Response:
        return Response()

    req = request(headers)
    req.user = UserInfo("ann")
    await with_impersonation(Allowing(*allowed))(handler)(req)
    return req.user


async def test_requests_without_impersonation_are_left_alone() -> None:
    assert (await impersonate({"accept": "x"})).name == "ann"


async def test_user_groups_uid_and_extra_are_each_checked() -> None:
    headers = {
        "impersonate-user": "bob", "impersonate-group": "devs\nops", "impersonate-uid": "8",
        "impersonate-extra-example.org%2frole": "reader\nwriter",
    }  # fmt: skip
    allowed = [
        ("users", "", "", "bob"), ("groups", "", "", "devs"), ("groups", "", "", "ops"), ("uids", "", "", "8"),
        ("userextras", "example.org/role", "", "reader"), ("userextras", "example.org/role", "", "writer"),
    ]  # fmt: skip
    user = await impersonate(headers, *allowed)
    assert user == UserInfo("bob", ("devs", "ops", "system:authenticated"), "8", {"example.org/role": ("reader", "writer")})
    for missing in allowed:
        with pytest.raises(Forbidden):
            await impersonate(headers, *(a for a in allowed if a != missing))


async def test_the_refusal_has_upstreams_text() -> None:
    with pytest.raises(Forbidden) as refused:
        await impersonate({"impersonate-user": "bob"})
    assert (
        refused.value.message
        == 'users "bob" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope'
    )


async def test_a_service_account_is_checked_as_such_and_gets_its_groups() -> None:
    user = await impersonate({"impersonate-user": "system:serviceaccount:ci:bot"}, ("serviceaccounts", "", "ci", "bot"))
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated")


async def test_anonymous_is_not_authenticated_by_impersonation() -> None:
    user = await impersonate({"impersonate-user": "system:anonymous"}, ("users", "", "", "system:anonymous"))
    assert user.groups == ("system:unauthenticated",)


async def test_groups_without_a_user_are_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="without impersonating a user"):
        await impersonate({"impersonate-group": "devs"})


def websocket(*protocols: str, upgrade: str = "websocket") -> Request:
    return request({"connection": "Upgrade", "upgrade": upgrade, "sec-websocket-protocol": ", ".join(protocols)})


IN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


async def test_a_websocket_may_bring_its_token_as_a_subprotocol_which_nobody_else_sees() -> None:
    """Source: k8s.io/apiserver/pkg/authentication/request/websocket/protocol_test.go."""
    authentication = Authentication(static=StaticTokens({"to?ken": ANN}))
    asked = websocket(f"{IN_PROTOCOL}dG8_a2Vu", "v5.channel.k8s.io", "v4.channel.k8s.io")
    assert (await authentication.authenticate(asked)).name == "ann"
    assert asked.headers["sec-websocket-protocol"] == "v5.channel.k8s.io, v4.channel.k8s.io"


@pytest.mark.parametrize(
    "protocols",
    [
        [f"{IN_PROTOCOL}dG8_a2Vu"],
        [IN_PROTOCOL, "v5.channel.k8s.io"],
        [f"{IN_PROTOCOL}dG8_a2Vu", f"{IN_PROTOCOL}dG8_a2Vu", "v5.channel.k8s.io"],
        [f"{IN_PROTOCOL}dG8_a2V%", "v5.channel.k8s.io"],
        [f"{IN_PROTOCOL}b3RoZXI", "v5.channel.k8s.io"],
    ],
)
async def test_a_wrong_token_among_subprotocols_is_refused(protocols: list[str]) -> None:
    with pytest.raises(Unauthorized):
        await Authentication(static=StaticTokens({"to?ken": ANN})).authenticate(websocket(*protocols))


async def test_subprotocols_of_what_is_no_websocket_are_not_read() -> None:
    authentication = Authentication(static=StaticTokens({"to?ken": ANN}))
    assert await authentication.authenticate(websocket(f"{IN_PROTOCOL}dG8_a2Vu", "v5.channel.k8s.io", upgrade="spdy/3.1")) is ANONYMOUS
