"""What admission leaves in audit events: policies with action Audit and their auditAnnotations, webhooks, Pod Security.

Source: k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go, plugin/webhook/{mutating,validating}/dispatcher.go,
https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.admission.objects import binding_of, config_map, validating_policy
from tests.behaviour.admission.test_webhooks import Hook, setting
from tests.behaviour.audit.conftest import Recorded
from tests.listener import listening

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import AdmissionChain
from kcp.apiserver.admission.podsecurity import PodSecurity
from kcp.registry.backend import Attributes, Notes, Scope, UserInfo
from kcp.registry.builtin import builtin_resources

POLICIES = "/clusters/root:w/apis/admissionregistration.k8s.io/v1"
MAPS = "/clusters/root:w/api/v1/namespaces/default/configmaps"


async def _write(recorded: Recorded, obj: JSONObject) -> dict[str, str]:
    """Annotations of its last event."""
    response = await recorded.ask("POST", MAPS, obj)
    notes: dict[str, str] = recorded.of(response)[-1]["annotations"]
    return notes


async def _policy(recorded: Recorded, policy: JSONObject, *actions: str) -> None:
    for plural, obj in (
        ("validatingadmissionpolicies", policy),
        ("validatingadmissionpolicybindings", binding_of(policy["metadata"]["name"], *actions)),
    ):
        assert (await recorded.ask("POST", f"{POLICIES}/{plural}", obj)).status == 201


async def test_action_audit_notes_the_failure(everything: Recorded) -> None:
    one_key = {"expression": "size(object.data) <= 1", "message": "one key only"}
    await _policy(everything, validating_policy("one-key", {"expression": "true"}, one_key), "Audit", "Warn")
    notes = await _write(everything, config_map("a", x="1", y="2"))
    assert orjson.loads(notes["validation.policy.admission.k8s.io/validation_failure"]) == [
        {
            "message": "one key only", "policy": "one-key", "binding": "one-key", "expressionIndex": 1,
            "validationActions": ["Audit", "Warn"],
        }
    ]  # fmt: skip
    assert "validation.policy.admission.k8s.io/validation_failure" not in await _write(everything, config_map("b", x="1"))


async def test_audit_annotations_of_a_policy_are_published_unless_they_are_null_or_empty(everything: Recorded) -> None:
    policy = validating_policy("size", {"expression": "true"})
    policy["spec"]["auditAnnotations"] = [
        {"key": "keys", "valueExpression": "string(size(object.data)) + ' keys'"},
        {"key": "none", "valueExpression": "null"},
        {"key": "empty", "valueExpression": "'  '"},
    ]
    await _policy(everything, policy, "Deny")
    notes = await _write(everything, config_map("a", x="1", y="2"))
    assert {key: value for key, value in notes.items() if key.startswith("size/")} == {"size/keys": "2 keys"}


async def test_an_audit_annotation_that_fails_refuses_unless_failures_are_ignored(everything: Recorded) -> None:
    policy = validating_policy("broken", {"expression": "true"})
    policy["spec"]["auditAnnotations"] = [{"key": "a", "valueExpression": "object.data['missing']"}]
    await _policy(everything, policy, "Audit")
    refused = await everything.ask("POST", MAPS, config_map("a", x="1"))
    assert refused.status == 422
    assert "valueExpression 'object.data['missing']' resulted in error" in orjson.loads(refused.body)["message"]


async def test_webhooks_leave_their_annotations_what_they_changed_and_that_they_failed(everything: Recorded, tmp_path: Path) -> None:
    async with listening(tmp_path / "hooks", ["127.0.0.1"], Hook) as hook:
        hook.responses["/set"] = lambda request: {**setting("k", "v")(request), "auditAnnotations": {"why": "because"}}
        gone = hook.webhook("/gone", failurePolicy="Ignore")
        gone["clientConfig"]["url"] = "https://127.0.0.1:1/gone"
        for kind, webhooks in (("Mutating", [hook.webhook("/set"), gone]), ("Validating", [gone])):
            configuration = {"metadata": {"name": "mine"}, "webhooks": webhooks}
            path = f"{POLICIES}/{kind.lower()}webhookconfigurations"
            assert (await everything.ask("POST", path, {"kind": f"{kind}WebhookConfiguration", **configuration})).status == 201
        notes = await _write(everything, config_map("a", x="1"))
    told = {"configuration": "mine", "webhook": "set.example.com"}
    assert notes["set.example.com/why"] == "because"
    assert orjson.loads(notes["mutation.webhook.admission.k8s.io/round_0_index_0"]) == {**told, "mutated": True}
    patch = [{"op": "add", "path": "/data/k", "value": "v"}]
    assert orjson.loads(notes["patch.webhook.admission.k8s.io/round_0_index_0"]) == {**told, "patch": patch, "patchType": "JSONPatch"}
    assert notes["failed-open.mutation.webhook.admission.k8s.io/round_0_index_1"] == "gone.example.com"
    assert notes["failed-open.validating.webhook.admission.k8s.io/round_0_index_0"] == "gone.example.com"


def _pod(**spec: Any) -> JSONObject:
    return {"kind": "Pod", "metadata": {"name": "a", "namespace": "x"}, "spec": {"containers": [{"name": "app"}], **spec}}


async def _no_pods(_cluster: ClusterName, _namespace: str) -> list[JSONObject]:
    return []


@pytest.mark.parametrize("enforce", ["privileged", "baseline"])
async def test_pod_security_notes_what_it_enforced_and_what_would_be_violated(enforce: str) -> None:
    labels = {"enforce": enforce, "enforce-version": "v1.36", "audit": "baseline"}
    namespace = {"metadata": {"name": "x", "labels": {f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}}}
    chain = AdmissionChain(PodSecurity(lambda _cluster, _name: namespace, _no_pods).plugins())
    (pods,) = builtin_resources([GroupResource("", "pods")])
    notes = Notes()
    attributes = Attributes(
        "CREATE", Scope(pods, ClusterName("c"), "x", "a"), UserInfo("u"), _pod(hostNetwork=True), None, notes=notes
    )  # fmt: skip
    if enforce == "baseline":
        with pytest.raises(Forbidden):
            await chain.validate(attributes)
    else:
        await chain.validate(attributes)
    assert notes == {
        "pod-security.kubernetes.io/enforce-policy": f"{enforce}:v1.36",
        "pod-security.kubernetes.io/audit-violations": 'would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)',
    }
