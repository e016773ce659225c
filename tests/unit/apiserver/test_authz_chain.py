"""The chain of authorizers, the filter with its 403 texts, the workspace content rule, and the reviews behind `kubectl auth can-i`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from kcp.apimachinery.errors import BadRequest, Forbidden, Invalid
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import NO_OPINION, AuthzAttributes, Decision, Verdict
from kcp.apiserver.authz.bootstrap import bootstrap_policy, cluster_role_binding
from kcp.apiserver.authz.content import WorkspaceContent
from kcp.apiserver.authz.filter import with_authorization
from kcp.apiserver.authz.noted import Discreet, Noted
from kcp.apiserver.authz.rbac import RBACAuthorizer, StaticPolicy
from kcp.apiserver.authz.reviews import access_reviews
from kcp.apiserver.authz.union import AllowedPaths, PrivilegedGroups, Union
from kcp.apiserver.request import Request, RequestInfo, Response
from kcp.registry.backend import Item, UserInfo

TEAM = ClusterName("team")
ANN = UserInfo("ann", ("system:authenticated",))
ROOT = UserInfo("root", ("system:masters",))


class NoObjects:
    def revision(self) -> int:
        return 0

    def scan(self, resource: str, cluster: ClusterName) -> Sequence[Item]:
        return ()


def rbac(*bindings: JSONObject) -> RBACAuthorizer:
    return RBACAuthorizer(NoObjects(), static=StaticPolicy([*bootstrap_policy(), *bindings]))


def request(user: UserInfo = ANN, body: object = None, headers: dict[str, str] | None = None, **info: Any) -> Request:
    async def read_body() -> bytes:
        return body if isinstance(body, bytes) else orjson.dumps(body)

    made = Request("POST", "/", "", headers or {}, read_body, user=user)
    made.info = RequestInfo("/", info.pop("verb", "create"), cluster=TEAM, **info)
    return made


class Says:
    def __init__(self, *decisions: Decision) -> None:
        self.decisions = list(decisions)
        self.asked: list[AuthzAttributes] = []

    async def authorize(self, attributes: AuthzAttributes) -> Decision:
        self.asked.append(attributes)
        return self.decisions[min(len(self.asked), len(self.decisions)) - 1]


async def test_the_first_to_decide_counts_and_reasons_add_up() -> None:
    allow, deny, maybe = Decision(Verdict.ALLOW), Decision(Verdict.DENY, "no"), Decision(Verdict.NO_OPINION, "a")
    question = AuthzAttributes(ANN, "get")
    assert await Union([Says(NO_OPINION), Says(allow), Says(deny)]).authorize(question) is allow
    assert await Union([Says(deny), Says(allow)]).authorize(question) is deny
    assert (await Union([Says(maybe), Says(NO_OPINION), Says(maybe)]).authorize(question)).reason == "a, a"


async def test_privileged_groups_may_do_everything() -> None:
    authorizer = PrivilegedGroups(("system:masters", "system:kcp:admin"))
    assert (await authorizer.authorize(AuthzAttributes(ROOT, "delete"))).is_allowed
    assert not (await authorizer.authorize(AuthzAttributes(ANN, "get"))).is_allowed


@pytest.mark.parametrize(
    ("path", "allowed"), [("/healthz", True), ("/readyz/etcd", True), ("/version", True), ("/metrics", False), ("/healthzz", False)]
)
async def test_everyone_may_ask_for_health_and_version(path: str, allowed: bool) -> None:
    decision = await AllowedPaths().authorize(AuthzAttributes(UserInfo("x"), "get", path=path, is_resource=False))
    assert decision.is_allowed is allowed


async def test_a_resource_named_like_a_path_is_not_allowed_by_it() -> None:
    assert not (await AllowedPaths().authorize(AuthzAttributes(UserInfo("x"), "get", path="/healthz"))).is_allowed


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (
            {"is_resource": True, "group": "apps", "resource": "deployments", "namespace": "default", "name": "x", "verb": "get"},
            'deployments.apps "x" is forbidden: User "ann" cannot get resource "deployments" in API group "apps" in the namespace "default"',  # noqa: E501
        ),
        (
            {"is_resource": True, "resource": "nodes", "verb": "list"},
            'nodes is forbidden: User "ann" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        (
            {"is_resource": True, "resource": "pods", "subresource": "log", "namespace": "a", "name": "p", "verb": "get"},
            'pods "p" is forbidden: User "ann" cannot get resource "pods/log" in API group "" in the namespace "a"',
        ),
    ],
)
async def test_a_refused_request_is_told_as_upstream_does(info: dict[str, Any], message: str) -> None:
    async def handler(req: Request) -> Response:
        raise AssertionError("not allowed to get here")

    with pytest.raises(Forbidden) as refused:
        await with_authorization(rbac())(handler)(request(**info))
    assert refused.value.message == message


async def test_a_refused_path_and_the_reason_are_told() -> None:
    async def handler(req: Request) -> Response:
        raise AssertionError("not allowed to get here")

    req = request(verb="get")
    req.info.path = "/metrics"
    with pytest.raises(Forbidden) as refused:
        await with_authorization(Says(Decision(Verdict.DENY, "because")))(handler)(req)
    assert refused.value.message == 'forbidden: User "ann" cannot get path "/metrics": because'
    assert refused.value.to_status()["code"] == 403


class Rules:
    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def admits(self, user: UserInfo, cluster: ClusterName) -> Decision:
        return Decision(self.verdict, "phase")


ALLOW = Decision(Verdict.ALLOW)


async def test_who_may_not_enter_a_workspace_may_do_nothing_there() -> None:
    delegate = Says(NO_OPINION)
    decision = await WorkspaceContent(delegate, Rules(Verdict.NO_OPINION)).authorize(AuthzAttributes(ANN, "get", TEAM, resource="pods"))
    assert decision == Decision(Verdict.NO_OPINION, "no verb=access permission on /")
    assert [(a.verb, a.path, a.is_resource) for a in delegate.asked] == [("access", "/", False)]


async def test_who_may_enter_is_asked_about_further() -> None:
    delegate = Says(ALLOW, NO_OPINION)
    question = AuthzAttributes(ANN, "get", TEAM, resource="pods")
    assert await WorkspaceContent(delegate, Rules(Verdict.NO_OPINION)).authorize(question) is NO_OPINION
    assert delegate.asked[1] == question


async def test_a_phase_refuses_and_a_local_service_account_enters_unasked() -> None:
    question = AuthzAttributes(ANN, "get", TEAM, resource="pods")
    assert (await WorkspaceContent(Says(ALLOW), Rules(Verdict.DENY)).authorize(question)).verdict is Verdict.DENY
    delegate = Says(ALLOW)
    assert (await WorkspaceContent(delegate, Rules(Verdict.ALLOW)).authorize(question)).is_allowed
    assert len(delegate.asked) == 1


@pytest.mark.parametrize("cluster", ["", "*", "system:admin"])
async def test_what_is_in_no_workspace_is_not_decided_by_the_policies_of_workspaces(cluster: str) -> None:
    delegate = Says(ALLOW)
    decision = await WorkspaceContent(delegate, Rules(Verdict.ALLOW)).authorize(AuthzAttributes(ANN, "get", ClusterName(cluster)))
    assert (decision.is_allowed, delegate.asked) == (False, [])


async def test_every_step_is_noted_and_none_is_told() -> None:
    refusing = Noted("02-content", Says(Decision(Verdict.DENY, "LogicalCluster not found")))
    notes: dict[str, str] = {}
    decision = await Discreet(refusing).authorize(AuthzAttributes(ANN, "get", TEAM, notes=notes))
    assert decision == Decision(Verdict.DENY, "access denied")
    assert notes == {
        "request.auth.kcp.io/02-content-decision": "Denied",
        "request.auth.kcp.io/02-content-reason": "LogicalCluster not found",
    }


async def review(resource: str, spec: object, *, user: UserInfo = ANN, authorizer: RBACAuthorizer | None = None, **rest: Any) -> JSONObject:
    answering = authorizer or rbac(cluster_role_binding("b", users=("bob",), role="view"))
    handler = access_reviews(answering, answering)["authorization.k8s.io", resource, ""]
    response = await handler(request(user, {"spec": spec}, **rest))
    assert response.status == 201
    answered: JSONObject = orjson.loads(response.body)
    return answered


async def test_can_i_asks_about_oneself() -> None:
    spec = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "a"}}
    assert (await review("selfsubjectaccessreviews", spec))["status"] == {"allowed": False}
    answered = await review("selfsubjectaccessreviews", spec, user=UserInfo("bob"))
    assert answered["status"]["allowed"] is True
    assert answered["status"]["reason"] == 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "view" to User "bob"'
    assert answered["kind"] == "SelfSubjectAccessReview"
    assert answered["apiVersion"] == "authorization.k8s.io/v1"


async def test_can_i_asks_about_paths() -> None:
    spec = {"nonResourceAttributes": {"verb": "get", "path": "/apis"}}
    assert (await review("selfsubjectaccessreviews", spec))["status"]["allowed"] is True


async def test_subject_reviews_ask_about_others() -> None:
    spec = {"user": "bob", "resourceAttributes": {"verb": "list", "resource": "pods"}}
    assert (await review("subjectaccessreviews", spec))["status"]["allowed"] is True
    spec = {"groups": ["system:masters"], "resourceAttributes": {"verb": "delete", "resource": "nodes"}}
    assert (await review("subjectaccessreviews", spec))["status"]["allowed"] is True


async def test_local_reviews_stay_in_their_namespace() -> None:
    spec = {"user": "bob", "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "a"}}
    assert (await review("localsubjectaccessreviews", spec, namespace="a"))["status"]["allowed"] is True
    with pytest.raises(Invalid, match="must match metadata.namespace: b"):
        await review("localsubjectaccessreviews", spec, namespace="b")


@pytest.mark.parametrize(("asking", "value", "is_deep"), [(ROOT, "true", True), (ROOT, "1", False), (ANN, "true", False)])
async def test_only_the_privileged_ask_as_if_the_user_had_access(asking: UserInfo, value: str, *, is_deep: bool) -> None:
    authorizer = Says(ALLOW)
    handler = access_reviews(authorizer, rbac())["authorization.k8s.io", "subjectaccessreviews", ""]
    body = {"spec": {"user": "x", "resourceAttributes": {"verb": "get", "resource": "pods"}}}
    await handler(request(asking, body, {"x-kcp-internal-deep-subjectaccessreview": value}))
    assert authorizer.asked[0].is_deep is is_deep


async def test_a_deep_question_skips_the_content_rule() -> None:
    question = AuthzAttributes(ANN, "get", TEAM, resource="pods")
    content = WorkspaceContent(Says(ALLOW), Rules(Verdict.DENY))
    assert [(await content.authorize(question._replace(is_deep=deep))).is_allowed for deep in (False, True)] == [False, True]


@pytest.mark.parametrize(
    ("resource", "spec", "message"),
    [
        ("subjectaccessreviews", {"resourceAttributes": {}}, "at least one of user or group must be specified"),
        ("subjectaccessreviews", {"user": "x"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ("selfsubjectaccessreviews", {"resourceAttributes": {}, "nonResourceAttributes": {}}, "cannot be specified in combination"),
    ],
)
async def test_malformed_reviews_are_refused(resource: str, spec: object, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await review(resource, spec)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"kind":"Pod"}'])
async def test_a_body_that_is_no_review_is_a_bad_request(body: bytes) -> None:
    answering = rbac()
    with pytest.raises(BadRequest):
        await access_reviews(answering, answering)["authorization.k8s.io", "selfsubjectaccessreviews", ""](request(ANN, body))


async def test_the_rules_review_lists_what_one_may() -> None:
    status = (await review("selfsubjectrulesreviews", {"namespace": "a"}, user=UserInfo("bob", ("system:authenticated",))))["status"]
    assert status["incomplete"] is False
    assert any("pods" in rule["resources"] for rule in status["resourceRules"])
    assert any("/apis/*" in rule["nonResourceURLs"] for rule in status["nonResourceRules"])
    with pytest.raises(BadRequest, match="no namespace on request"):
        await review("selfsubjectrulesreviews", {})
