"""The authorizer outside: what it is asked, what its answers mean, what is remembered, what becomes of faults.

Source: k8s.io/apiserver/plugin/pkg/authorizer/webhook/webhook_v1_test.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.authz.attributes import AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.webhook import WebhookAuthorizer, WebhookRules
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.registry.backend import UserInfo

ANN = UserInfo("ann", ("devs",), "7", {"example.com/team": ("a",), "authorization.kcp.io/cluster-name": ("elsewhere",)})
GET = AuthzAttributes(ANN, "get", ClusterName("team"), "apps", "deployments", "scale", "default", "web", version="v1")


class Service:
    """Answers as it is told, in order; the last answer for good."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def request(self, request: RawRequest) -> RawResponse:
        assert (request.method, request.path) == ("POST", "/authorize")
        self.asked.append(orjson.loads(request.body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return RawResponse(answer, {}, b"no")
        return RawResponse(200, {}, answer if isinstance(answer, bytes) else orjson.dumps({"status": answer}))

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        raise AssertionError(f"nobody watches an authorizer: {request}")

    async def close(self) -> None:
        self.answers = []


def authorizer(service: Service, clock: VirtualClock | None = None, **rules: Any) -> WebhookAuthorizer:
    return WebhookAuthorizer(service, "/authorize", WebhookRules(**rules), clock=clock or VirtualClock())


async def test_the_question_says_who_what_and_where() -> None:
    service = Service({"allowed": True})
    await authorizer(service, version="v1").authorize(GET)
    assert service.asked[0]["apiVersion"] == "authorization.k8s.io/v1"
    assert service.asked[0]["kind"] == "SubjectAccessReview"
    assert service.asked[0]["spec"] == {
        "user": "ann",
        "uid": "7",
        "groups": ["devs"],
        "extra": {"example.com/team": ["a"], "authorization.kcp.io/cluster-name": ["team"]},
        "resourceAttributes": {
            "namespace": "default", "verb": "get", "group": "apps", "version": "v1", "resource": "deployments", "subresource": "scale",
            "name": "web",
        },
    }  # fmt: skip


async def test_the_older_version_calls_groups_group() -> None:
    service = Service({"allowed": True})
    await authorizer(service).authorize(AuthzAttributes(ANN, "get", path="/metrics", is_resource=False))
    assert service.asked[0]["apiVersion"] == "authorization.k8s.io/v1beta1"
    assert service.asked[0]["spec"]["group"] == ["devs"]
    assert service.asked[0]["spec"]["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"allowed": True}, Verdict.ALLOW),
        ({"allowed": False, "reason": "no"}, Verdict.NO_OPINION),
        ({"allowed": False, "denied": True}, Verdict.DENY),
        ({"allowed": True, "denied": True}, Verdict.DENY),
        ({}, Verdict.NO_OPINION),
    ],
)
async def test_what_an_answer_means(status: dict[str, Any], verdict: Verdict) -> None:
    assert await authorizer(Service(status)).authorize(GET) == Decision(verdict, status.get("reason", ""))


@pytest.mark.parametrize("fault", [TransportError("refused"), 403, 503, b"nonsense", b"[]", b'{"status":1}'])
async def test_who_cannot_answer_has_no_opinion_and_is_asked_again(fault: Any) -> None:
    service = Service(fault, {"allowed": True})
    webhook = authorizer(service)
    assert (await webhook.authorize(GET)).verdict is Verdict.NO_OPINION
    assert (await webhook.authorize(GET)).is_allowed


@pytest.mark.parametrize("status", [429, 500])
async def test_a_service_in_trouble_is_asked_again_at_once(status: int) -> None:
    clock, service, found = VirtualClock(), Service(status, status, {"allowed": True}), []
    webhook = authorizer(service, clock)

    async def ask() -> None:
        found.append(await webhook.authorize(GET))

    async with Supervisor("test") as running:
        running.spawn(ask(), name="ask")
        await clock.advance(5)
    assert found == [Decision(Verdict.ALLOW)]
    assert len(service.asked) == 3


async def test_answers_are_remembered_as_long_as_was_said() -> None:
    clock, service = VirtualClock(), Service({"allowed": True})
    webhook = authorizer(service, clock, authorized_ttl_s=10.0, unauthorized_ttl_s=2.0)
    for _ in range(3):
        await webhook.authorize(GET)
    assert len(service.asked) == 1
    await webhook.authorize(GET._replace(cluster=ClusterName("other")))
    assert len(service.asked) == 2
    await clock.advance(11)
    service.answers = [{"allowed": False}]
    for _ in range(2):
        assert not (await webhook.authorize(GET)).is_allowed
    assert len(service.asked) == 3
    await clock.advance(3)
    await webhook.authorize(GET)
    assert len(service.asked) == 4


async def test_questions_of_great_length_are_not_remembered() -> None:
    service = Service({"allowed": True})
    webhook = authorizer(service)
    for _ in range(2):
        await webhook.authorize(GET._replace(name="x" * 10_000))
    assert len(service.asked) == 2
