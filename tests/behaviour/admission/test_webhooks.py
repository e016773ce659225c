"""Admission webhooks, with a real HTTPS server behind them: what is asked, what an answer does, and what a failure means."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import pytest
from aiohttp import web
from tests.behaviour.admission.conftest import World
from tests.behaviour.admission.objects import ON_CONFIG_MAPS, REGISTRATION, config_map, deployment, namespace, widget, widget_crd
from tests.listener import listening

from kcp.aio.clock import SystemClock
from kcp.apiserver.admission.webhooks.review import refusal
from kcp.apiserver.pki import PKI

Respond: TypeAlias = Callable[[dict[str, Any]], dict[str, Any] | Any]


def allow(request: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"allowed": True, **more}


def patching(*operations: dict[str, Any]) -> Respond:
    encoded = base64.b64encode(orjson.dumps(operations)).decode()
    return lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def setting(key: str, value: str) -> Respond:
    return patching({"op": "add", "path": f"/data/{key}", "value": value})


class Hook:
    """An HTTPS server whose paths answer as the test says."""

    def __init__(self, ca_bundle: str) -> None:
        self.ca_bundle = ca_bundle
        self.port = 0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.connections: set[object] = set()
        self.responses: dict[str, Respond] = {}

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        review = await request.json()
        self.asked.append((request.path_qs, review))
        self.connections.add(request.transport)
        answer = self.responses.get(request.path, allow)(review["request"])
        if isinstance(answer, web.StreamResponse):
            return answer
        if asyncio.iscoroutine(answer):
            awaited: web.StreamResponse = await answer
            return awaited
        response = {"uid": review["request"]["uid"], **answer}
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})

    def webhook(self, path: str = "/", **more: Any) -> dict[str, Any]:
        name = (path.strip("/") or "hook") + ".example.com"
        return {
            "name": name, "clientConfig": {"url": self.url + path, "caBundle": self.ca_bundle}, "rules": [ON_CONFIG_MAPS], "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 5, **more,
        }  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
async def hook(certificates: Path) -> AsyncIterator[Hook]:
    async with listening(certificates, ["127.0.0.1", "hook.default.svc"], Hook) as found:
        yield found


def configuration(kind: str, name: str, *webhooks: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": REGISTRATION, "kind": f"{kind}WebhookConfiguration", "metadata": {"name": name}, "webhooks": list(webhooks)}


async def test_a_validating_webhook_is_asked_about_everything(world: World, hook: Hook) -> None:
    await world.made(configuration("Validating", "v", hook.webhook()))
    await world.made(config_map("a", x="1"))
    ((path, review),) = hook.asked
    request = review["request"]
    assert path == "/?timeout=5s"
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert request["object"]["data"] == {"x": "1"}
    assert request["oldObject"] is None
    assert (request["operation"], request["name"], request["namespace"], request["dryRun"]) == ("CREATE", "a", "default", False)
    assert request["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == request["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert request["userInfo"]["username"] == "kubernetes-admin"
    await world.patch("ConfigMap", "a", {"data": {"x": "2"}})
    assert hook.asked[1][1]["request"]["oldObject"]["data"] == {"x": "1"}
    assert len(hook.connections) == 1  # kept and used again


async def test_a_denial_is_told_with_the_webhooks_words(world: World, hook: Hook) -> None:
    await world.made(configuration("Validating", "v", hook.webhook()))
    hook.responses["/"] = lambda request: {"allowed": False, "status": {"message": "not today", "code": 409}, "warnings": ["mind this"]}
    refused = await world.create(config_map("a"))
    assert (refused.status, refused.message) == (409, 'admission webhook "hook.example.com" denied the request: not today')
    hook.responses["/"] = lambda request: {"allowed": False}
    refused = await world.create(config_map("a"))
    assert (refused.status, refused.message) == (403, 'admission webhook "hook.example.com" denied the request without explanation')


def test_a_denial_keeps_its_code_whatever_it_is() -> None:
    told = refusal("hook.example.com", {"code": 418, "reason": "Teapot"}).to_status()
    assert (told["code"], told["reason"], told["message"]) == (
        418,
        "Teapot",
        'admission webhook "hook.example.com" denied the request: Teapot',
    )


async def test_connections_are_asked_about_before_they_are_made(world: World, hook: Hook) -> None:
    # Source: test/e2e/apimachinery/webhook.go ("should be able to deny attaching pod")
    connections = {
        "operations": ["CONNECT"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["pods/attach", "pods/exec", "*/proxy"],
    }
    await world.made(configuration("Validating", "v", hook.webhook(rules=[connections])))
    hook.responses["/"] = lambda request: {"allowed": False, "status": {"message": "attaching is not allowed"}}
    at = "/api/v1/namespaces/default/pods/p"
    refused = await world.call("GET", f"{at}/attach", query={"container": "c", "stdin": "true", "stdout": "0"})
    assert (refused.status, refused.message) == (403, 'admission webhook "hook.example.com" denied the request: attaching is not allowed')
    await world.call("GET", f"{at}/exec", query={"command": "date", "tty": "true"})
    await world.call("GET", "/api/v1/nodes/east-node-1/proxy/stats/summary")
    attached, executed, proxied = (review["request"] for _, review in hook.asked)
    assert attached["object"] == {"kind": "PodAttachOptions", "apiVersion": "v1", "container": "c", "stdin": True}
    assert (attached["kind"]["kind"], attached["resource"]["resource"], attached["subResource"]) == ("PodAttachOptions", "pods", "attach")
    assert (attached["operation"], attached["name"], attached["namespace"]) == ("CONNECT", "p", "default")
    assert executed["object"] == {"kind": "PodExecOptions", "apiVersion": "v1", "tty": True, "command": ["date"]}
    assert proxied["object"] == {"kind": "NodeProxyOptions", "apiVersion": "v1", "path": "/stats/summary"}
    hook.responses["/"] = allow
    assert (await world.call("GET", f"{at}/attach")).status == 404, "there is no such pod"


async def test_warnings_reach_the_client(world: World, hook: Hook) -> None:
    await world.made(configuration("Validating", "v", hook.webhook()))
    hook.responses["/"] = lambda request: allow(request, warnings=["mind this"])
    assert "mind this" in (await world.create(config_map("a"))).warnings


async def test_mutating_webhooks_patch_in_order_before_validating_ones_look(world: World, hook: Hook) -> None:
    hook.responses |= {"/one": setting("n", "1"), "/two": lambda request: setting("m", request["object"]["data"]["n"] + "2")(request)}
    await world.made(configuration("Mutating", "b", hook.webhook("/two")))
    await world.made(configuration("Mutating", "a", hook.webhook("/one")))
    await world.made(configuration("Validating", "v", hook.webhook("/seen")))
    assert (await world.made(config_map("a", x="1")))["data"] == {"x": "1", "n": "1", "m": "12"}
    assert [path.partition("?")[0] for path, _ in hook.asked] == ["/one", "/two", "/seen"]
    assert hook.asked[2][1]["request"]["object"]["data"] == {"x": "1", "n": "1", "m": "12"}


async def test_a_webhook_may_be_called_again_for_what_came_after_it(world: World, hook: Hook) -> None:
    hook.responses |= {"/one": setting("n", "1"), "/two": setting("m", "2")}
    await world.made(configuration("Mutating", "a", hook.webhook("/one", reinvocationPolicy="IfNeeded"), hook.webhook("/two")))
    await world.made(config_map("a", x="1"))
    assert [path.partition("?")[0] for path, _ in hook.asked] == ["/one", "/two", "/one"]


async def test_webhooks_see_defaults_and_their_patches_get_them(world: World, hook: Hook) -> None:
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]
    container = {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "b", "image": "b:1"}}
    hook.responses["/"] = patching(container)
    await world.made(configuration("Mutating", "m", hook.webhook(rules=rules)))
    made = await world.made(deployment("web"))
    assert hook.asked[0][1]["request"]["object"]["spec"]["revisionHistoryLimit"] == 10
    assert made["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] == "IfNotPresent"


async def test_what_a_patch_adds_is_pruned_and_validated(world: World, hook: Hook) -> None:
    spec = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5, "x-kubernetes-validations": [{"rule": "self != 4"}]}}}
    await world.install(widget_crd({"type": "object", "properties": {"spec": spec}}, versions=("v1", "v1beta1")))
    rules = [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["widgets"]}]
    await world.made(configuration("Mutating", "m", hook.webhook(rules=rules)))
    unknown = {"op": "add", "path": "/spec/unknown", "value": 1}
    hook.responses["/"] = patching(unknown, {"op": "add", "path": "/spec/n", "value": 3})
    assert (await world.made(widget("a", n=1)))["spec"] == {"n": 3}
    for value, shown in ((4, "failed rule: self != 4"), (9, "should be less than or equal to 5"), ("x", "must be of type integer")):
        hook.responses["/"] = patching({"op": "add", "path": "/spec/n", "value": value})
        assert shown in (await world.create(widget("b", n=1))).message


async def test_match_policy_asks_in_the_version_that_the_rule_names(world: World, hook: Hook) -> None:
    await world.install(widget_crd({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, versions=("v1", "v1beta1")))
    rules = [{"apiGroups": ["example.com"], "apiVersions": ["v1beta1"], "operations": ["CREATE"], "resources": ["widgets"]}]
    await world.made(
        configuration("Validating", "v", hook.webhook("/equivalent", rules=rules), hook.webhook("/exact", rules=rules, matchPolicy="Exact"))
    )
    await world.made(widget("a", n=1))
    ((path, review),) = hook.asked
    assert path.startswith("/equivalent")
    request = review["request"]
    assert request["object"]["apiVersion"] == "example.com/v1beta1"
    assert (request["resource"]["version"], request["requestResource"]["version"]) == ("v1beta1", "v1")


async def test_selectors_and_conditions_spare_calls(world: World, hook: Hook) -> None:
    await world.made(namespace("other", team="b"))
    condition = {"name": "big", "expression": "size(object.data) > 1"}
    await world.made(
        configuration(
            "Validating",
            "v",
            hook.webhook("/namespaces", namespaceSelector={"matchLabels": {"team": "b"}}),
            hook.webhook("/objects", objectSelector={"matchLabels": {"checked": "y"}}),
            hook.webhook("/conditions", matchConditions=[condition]),
        )
    )
    await world.made(config_map("a", x="1"))
    assert hook.asked == []
    await world.made(config_map("a", {"checked": "y"}, x="1", y="2"), namespace="other")
    assert sorted(path.partition("?")[0] for path, _ in hook.asked) == ["/conditions", "/namespaces", "/objects"]


async def test_conditions_that_fail_follow_the_failure_policy(world: World, hook: Hook) -> None:
    condition = {"name": "broken", "expression": "object.nope == 1"}
    await world.made(configuration("Validating", "v", hook.webhook(matchConditions=[condition], failurePolicy="Ignore")))
    assert (await world.create(config_map("a"))).status == 201
    assert hook.asked == []
    await world.made(configuration("Validating", "w", hook.webhook(matchConditions=[condition])))
    assert "no such key: nope" in (await world.create(config_map("b"))).message


@pytest.mark.parametrize(
    ("respond", "shown"),
    [
        (lambda request: web.Response(status=500, text="broken"), "failed to call webhook: the server answered 500: broken"),
        (lambda request: web.Response(text="hello"), "received invalid webhook response: the answer is not JSON"),
        (lambda request: {"uid": "other", "allowed": True}, 'expected response.uid="'),
        (lambda request: {"allowed": True, "patch": "e30="}, "response.patch but not response.patchType"),
        (lambda request: {"allowed": True, "patch": "!", "patchType": "JSONPatch"}, "undecodable patch"),
        (lambda request: web.json_response({"kind": "AdmissionReview"}), "webhook response was absent"),
        (lambda request: _slow(), "context deadline exceeded"),
    ],
)
async def test_a_webhook_that_fails_refuses_or_is_left_out(world: World, hook: Hook, respond: Respond, shown: str) -> None:
    await world.made(configuration("Mutating", "m", hook.webhook(timeoutSeconds=1)))
    hook.responses["/"] = respond
    refused = await world.create(config_map("a"))
    assert refused.status == 500
    assert refused.message.startswith('Internal error occurred: failed calling webhook "hook.example.com": ')
    assert shown in refused.message
    await world.patch("MutatingWebhookConfiguration", "m", {"webhooks": [hook.webhook(timeoutSeconds=1, failurePolicy="Ignore")]})
    assert (await world.create(config_map("a"))).status == 201


async def _slow() -> web.StreamResponse:
    await asyncio.sleep(3)
    return web.Response()


async def test_a_server_that_others_vouch_for_is_not_believed(world: World, hook: Hook, tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path, hosts=[], clock=SystemClock())
    config = {"url": hook.url, "caBundle": base64.b64encode(other.ca_pem().encode()).decode()}
    await world.made(configuration("Validating", "v", hook.webhook(clientConfig=config)))
    assert "certificate verify failed" in (await world.create(config_map("a"))).message
    assert hook.asked == []


async def test_the_certificate_that_a_server_shows_vouches_for_itself(world: World, hook: Hook, certificates: Path) -> None:
    """`caBundle` need not hold an authority: controller-runtime's envtest puts the serving certificate there. Source: Go's crypto/x509."""
    shown = PKI.ensure(certificates, hosts=["127.0.0.1", "hook.default.svc"], clock=SystemClock()).serving.certificate.read_text()
    only = shown[: shown.index("-----END CERTIFICATE-----")] + "-----END CERTIFICATE-----\n"
    config = {"url": hook.url, "caBundle": base64.b64encode(only.encode()).decode()}
    await world.made(configuration("Validating", "v", hook.webhook(clientConfig=config)))
    assert (await world.create(config_map("a"))).status == 201
    assert len(hook.asked) == 1


async def test_a_webhook_sees_what_defaults_say_and_who_owns_it(world: World, hook: Hook) -> None:
    """An object is completed when it is read, before admission. Source: k8s.io/apiserver/pkg/endpoints/handlers/{create,update}.go."""
    rules = [{**ON_CONFIG_MAPS, "resources": ["pods"]}]
    await world.made(configuration("Validating", "v", hook.webhook(rules=rules)))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    path = "/api/v1/namespaces/default/pods"
    made = await world.call("POST", path, pod)
    assert made.status == 201, made.message
    changed = await world.call("PATCH", f"{path}/p", {"metadata": {"labels": {"a": "b"}}}, content="application/merge-patch+json")
    assert changed.status == 200, changed.message
    for _, review in hook.asked:
        shown = review["request"]["object"]
        assert (shown["spec"]["restartPolicy"], shown["spec"]["containers"][0]["imagePullPolicy"]) == ("Always", "Always")
        assert shown["metadata"]["managedFields"]
    assert len(hook.asked) == 2


async def test_an_address_is_cleaned_as_go_cleans_it(world: World, hook: Hook) -> None:
    """envtest asks for two slashes, and Go's servers redirect who asks so. Source: k8s.io/client-go/rest/request.go (NewRequest)."""
    config = {"url": f"{hook.url}//a//failing/", "caBundle": hook.ca_bundle}
    await world.made(configuration("Validating", "v", hook.webhook(clientConfig=config)))
    assert (await world.create(config_map("a"))).status == 201
    assert hook.asked[0][0] == "/a/failing?timeout=5s"


async def test_a_dry_run_calls_only_webhooks_without_side_effects(world: World, hook: Hook) -> None:
    await world.made(configuration("Validating", "v", hook.webhook(sideEffects="NoneOnDryRun")))
    assert (await world.create(config_map("a"), dry_run=True)).status == 201
    assert hook.asked[0][1]["request"]["dryRun"] is True
    assert (await world.create(config_map("a"))).status == 201


async def test_deletions_show_the_old_object(world: World, hook: Hook) -> None:
    await world.made(config_map("a", x="1"))
    rules = [{**ON_CONFIG_MAPS, "operations": ["DELETE"]}]
    await world.made(configuration("Validating", "v", hook.webhook(rules=rules)))
    hook.responses["/"] = lambda request: {"allowed": request["oldObject"]["data"]["x"] != "1"}
    assert (await world.delete("ConfigMap", "a")).status == 403
    assert hook.asked[0][1]["request"]["object"] is None


async def test_validating_webhooks_are_called_at_the_same_time(world: World, hook: Hook) -> None:
    arrived = asyncio.Barrier(3)

    async def meet() -> web.StreamResponse:
        await arrived.wait()
        return web.Response(status=500)

    hook.responses |= {f"/{n}": lambda request: meet() for n in range(3)}
    await world.made(configuration("Validating", "v", *(hook.webhook(f"/{n}", failurePolicy="Ignore") for n in range(3))))
    assert (await world.create(config_map("a"))).status == 201


async def test_a_service_leads_to_its_external_name(world: World, hook: Hook) -> None:
    """Pods are simulated and Endpoints may not name the loopback; an external name leads out of the cluster."""
    spec = {"type": "ExternalName", "externalName": "localhost"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": spec}
    reference = {"namespace": "default", "name": "hook", "path": "/by-service", "port": hook.port}
    config = {"service": reference, "caBundle": hook.ca_bundle}
    await world.made(configuration("Validating", "v", hook.webhook(clientConfig=config)))
    assert 'no endpoints available for service "hook"' in (await world.create(config_map("a"))).message
    assert (await world.call("POST", "/api/v1/namespaces/default/services", service)).status == 201
    answer = await world.create(config_map("a"))
    assert answer.status == 201, answer.message
    assert hook.asked[0][0] == "/by-service?timeout=5s"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"name": "short"}, "should be a domain with at least three segments separated by dots"),
        ({"clientConfig": {"url": "http://x.example.com"}}, "'https' is the only allowed URL scheme"),
        ({"clientConfig": {}}, "exactly one of url or service is required"),
        ({"sideEffects": "Some"}, "Unsupported value"),
        ({"admissionReviewVersions": ["v2"]}, "must include at least one of v1, v1beta1"),
        ({"timeoutSeconds": 31}, "the timeout value must be between 1 and 30 seconds"),
        ({"matchConditions": [{"name": "x", "expression": "object."}]}, "webhooks[0].matchConditions[0].expression: Invalid value"),
        ({"rules": [{**ON_CONFIG_MAPS, "operations": ["*", "CREATE"]}]}, "if '*' is present, must not specify other operations"),
    ],
)
async def test_configurations_that_cannot_be_are_refused(world: World, hook: Hook, changes: dict[str, Any], shown: str) -> None:
    answer = await world.create(configuration("Validating", "v", hook.webhook() | changes))
    assert answer.status == 422
    assert shown in answer.message


async def test_a_webhook_is_asked_in_the_first_version_that_it_speaks_and_there_is(world: World, hook: Hook) -> None:
    """Source: k8s.io/apiserver/pkg/admission/plugin/webhook/request/admissionreview.go."""
    older = hook.webhook("/older", admissionReviewVersions=["v0", "v1beta1", "v1"])
    await world.made(configuration("Mutating", "m", older))
    patch = base64.b64encode(orjson.dumps([{"op": "add", "path": "/data/y", "value": "2"}])).decode()
    hook.responses["/older"] = lambda request: web.json_response({"response": {"allowed": True, "patch": patch}})
    assert (await world.made(config_map("a", x="1")))["data"] == {"x": "1", "y": "2"}
    [(_, review)] = hook.asked
    assert (review["apiVersion"], review["request"]["object"]["data"]) == ("admission.k8s.io/v1beta1", {"x": "1"})
