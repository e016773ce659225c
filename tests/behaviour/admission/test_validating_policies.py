"""ValidatingAdmissionPolicy: what is matched, what is evaluated with what, and what the bindings' actions do."""

from __future__ import annotations

import pytest
from tests.behaviour.admission.conftest import World
from tests.behaviour.admission.objects import (
    ON_CONFIG_MAPS,
    binding_of,
    config_map,
    deployment,
    namespace,
    validating_policy,
    widget,
    widget_crd,
)

from kcp.registry.backend import UserInfo

ONE_KEY = {"expression": "size(object.data) <= 1"}


async def test_nothing_is_refused_without_a_binding(world: World) -> None:
    await world.made(validating_policy("one-key", ONE_KEY))
    await world.made(config_map("a", x="1", y="2"))


async def test_deny_refuses_with_the_expression_as_text(world: World) -> None:
    await world.made(validating_policy("one-key", ONE_KEY))
    await world.made(binding_of("one-key"))
    refused = await world.create(config_map("a", x="1", y="2"))
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message == (
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'one-key' with binding 'one-key' denied request: "
        "failed expression: size(object.data) <= 1"
    )
    await world.made(config_map("a", x="1"))
    assert (await world.patch("ConfigMap", "a", {"data": {"y": "2"}})).status == 422


async def test_warn_and_audit_let_pass(world: World) -> None:
    await world.made(validating_policy("one-key", {**ONE_KEY, "message": "one key only"}))
    await world.made(binding_of("one-key", "Warn", "Audit"))
    answer = await world.create(config_map("a", x="1", y="2"))
    assert answer.status == 201
    assert "Validation failed for ValidatingAdmissionPolicy 'one-key' with binding 'one-key': one key only" in answer.warnings


async def test_reason_message_and_message_expression(world: World) -> None:
    shown = {
        "messageExpression": "object.metadata.name + ' has ' + string(size(object.data))",
        "message": "fallback",
        "reason": "Forbidden",
    }
    await world.made(validating_policy("one-key", {**ONE_KEY, **shown}))
    await world.made(binding_of("one-key"))
    refused = await world.create(config_map("a", x="1", y="2"))
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert refused.message.endswith("denied request: a has 2")


async def test_variables_are_worked_out_when_read_and_build_on_each_other(world: World) -> None:
    variables = [
        {"name": "keys", "expression": "object.data.map(k, k)"},
        {"name": "long", "expression": "variables.keys.filter(k, k.size() > 3)"},
        {"name": "broken", "expression": "object.nope"},
    ]
    await world.made(validating_policy("short-keys", {"expression": "variables.long.size() == 0"}, variables=variables))
    await world.made(binding_of("short-keys"))
    await world.made(config_map("a", abc="1"))
    assert (await world.create(config_map("b", abcd="1"))).status == 422


async def test_match_conditions_narrow_what_is_judged(world: World) -> None:
    conditions = [{"name": "not-exempt", "expression": "!('exempt' in object.metadata.labels)"}]
    await world.made(validating_policy("one-key", ONE_KEY, matchConditions=conditions))
    await world.made(binding_of("one-key"))
    assert (await world.create(config_map("a", {"exempt": "y"}, x="1", y="2"))).status == 201
    assert (await world.create(config_map("b", {"other": "y"}, x="1", y="2"))).status == 422


async def test_selectors_of_policy_and_binding(world: World) -> None:
    await world.made(namespace("prod", env="prod"))
    await world.made(namespace("test", env="test"))
    await world.made(validating_policy("one-key", ONE_KEY, match={"objectSelector": {"matchLabels": {"checked": "y"}}}))
    await world.made(binding_of("one-key", matchResources={"namespaceSelector": {"matchLabels": {"env": "prod"}}}))
    assert (await world.create(config_map("a", {"checked": "y"}, x="1", y="2"), namespace="prod")).status == 422
    assert (await world.create(config_map("a", {"checked": "y"}, x="1", y="2"), namespace="test")).status == 201
    assert (await world.create(config_map("a", x="1", y="2"), namespace="prod")).status == 201


async def test_exclusions_and_resource_names(world: World) -> None:
    rules = [{**ON_CONFIG_MAPS, "resourceNames": ["only", "never"]}]
    await world.made(
        validating_policy(
            "no", {"expression": "false"}, rules=rules, match={"excludeResourceRules": [{**ON_CONFIG_MAPS, "resourceNames": ["never"]}]}
        )
    )
    await world.made(binding_of("no"))
    assert (await world.create(config_map("only"))).status == 422
    assert (await world.create(config_map("never"))).status == 201
    assert (await world.create(config_map("other"))).status == 201


async def test_errors_follow_the_failure_policy(world: World) -> None:
    await world.made(validating_policy("strict", {"expression": "object.nope == 1"}))
    await world.made(validating_policy("lenient", {"expression": "object.nope == 1"}, failurePolicy="Ignore"))
    await world.made(binding_of("lenient"))
    await world.made(config_map("a"))
    await world.made(binding_of("strict"))
    assert (await world.create(config_map("b"))).message.endswith("expression 'object.nope == 1' resulted in error: no such key: nope")


async def test_old_objects_requests_and_namespaces_can_be_read(world: World) -> None:
    rules = [{**ON_CONFIG_MAPS, "operations": ["UPDATE", "DELETE"]}]
    await world.made(
        validating_policy(
            "kept",
            {
                "expression": "request.operation == 'DELETE' ? oldObject.data.keep != 'y' : object.data.keep == oldObject.data.keep",
                "message": "kept",
            },
            {"expression": "namespaceObject.metadata.name == 'default' && request.namespace == 'default'"},
            {"expression": "request.userInfo.groups.exists(g, g == 'system:masters')"},
            rules=rules,
        )
    )
    await world.made(binding_of("kept"))
    await world.made(config_map("a", keep="y"))
    assert (await world.patch("ConfigMap", "a", {"data": {"keep": "n"}})).message.endswith("denied request: kept")
    assert (await world.delete("ConfigMap", "a")).message.endswith("denied request: kept")
    await world.made(config_map("b", keep="n"))
    assert (await world.delete("ConfigMap", "b")).status == 200


async def test_scale_shows_a_scale(world: World) -> None:
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments/scale"]}]
    await world.made(validating_policy("small", {"expression": "object.kind == 'Scale' && object.spec.replicas <= 3"}, rules=rules))
    await world.made(binding_of("small"))
    await world.made(deployment("web"))
    assert (await world.patch("Deployment", "web", {"spec": {"replicas": 5}}, subresource="scale")).status == 422
    assert (await world.patch("Deployment", "web", {"spec": {"replicas": 2}}, subresource="scale")).status == 200


# --- parameters ---

PARAMETRIC = validating_policy(
    "limited", {"expression": "size(object.data) <= int(params.data.most)"}, paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
    rules=[{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}],
)  # fmt: skip
PARAMETRIC["spec"]["validations"] = [{"expression": "object.spec.replicas <= int(params.data.most)"}]


async def test_a_named_parameter_is_read_as_it_is_now(world: World) -> None:
    await world.made(PARAMETRIC)
    await world.made(config_map("limits", most="2"))
    await world.made(binding_of("limited", paramRef={"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}))
    assert (await world.create(deployment("a", 3))).status == 422
    assert (await world.patch("ConfigMap", "limits", {"data": {"most": "3"}})).status == 200
    assert (await world.create(deployment("a", 3))).status == 201


async def test_selected_parameters_must_all_agree(world: World) -> None:
    await world.made(PARAMETRIC)
    await world.made(config_map("a", {"limit": "y"}, most="5"))
    await world.made(config_map("b", {"limit": "y"}, most="2"))
    await world.made(binding_of("limited", paramRef={"selector": {"matchLabels": {"limit": "y"}}, "parameterNotFoundAction": "Allow"}))
    assert (await world.create(deployment("a", 2))).status == 201
    assert (await world.create(deployment("b", 3))).status == 422


@pytest.mark.parametrize(("action", "status"), [("Allow", 201), ("Deny", 422)])
async def test_a_missing_parameter_is_met_as_the_binding_says(world: World, action: str, status: int) -> None:
    await world.made(PARAMETRIC)
    await world.made(binding_of("limited", paramRef={"name": "gone", "parameterNotFoundAction": action}))
    answer = await world.create(deployment("a", 2))
    assert answer.status == status
    assert status == 201 or "no params found for policy binding with `Deny` parameterNotFoundAction" in answer.message


async def test_custom_resources_can_be_parameters_and_be_judged(world: World) -> None:
    spec = {"type": "object", "properties": {"most": {"type": "integer"}}}
    await world.install(widget_crd({"type": "object", "properties": {"spec": spec}}, versions=("v1", "v1beta1")))
    kind = {"apiVersion": "example.com/v1", "kind": "Widget"}
    await world.made(validating_policy("limited", {"expression": "size(object.data) <= params.spec.most"}, paramKind=kind))
    await world.made(binding_of("limited", paramRef={"name": "w", "namespace": "default", "parameterNotFoundAction": "Deny"}))
    await world.made(widget("w", most=1))
    assert (await world.create(config_map("a", x="1", y="2"))).status == 422
    beta = [{"apiGroups": ["example.com"], "apiVersions": ["v1beta1"], "operations": ["*"], "resources": ["widgets"]}]
    await world.made(
        validating_policy("beta", {"expression": "object.apiVersion == 'example.com/v1beta1' && object.spec.most < 9"}, rules=beta)
    )
    await world.made(binding_of("beta"))
    assert (await world.create(widget("x", most=1))).status == 201  # matchPolicy Equivalent: seen as the version the rule names
    assert (await world.create(widget("y", most=10))).status == 422


async def test_the_authorizer_can_be_asked(world: World) -> None:
    await world.made(
        validating_policy(
            "editors",
            {
                "expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()",
                "message": "get secrets first",
            },
            {"expression": "authorizer.requestResource.check('create').allowed()"},
            {"expression": "!authorizer.serviceAccount('default', 'nobody').group('').resource('pods').check('delete').allowed()"},
            {"expression": "authorizer.path('/healthz').check('get').allowed()"},
        )
    )
    await world.made(binding_of("editors"))
    await world.made(config_map("a"))
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]}  # fmt: skip
    subject = {"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"}, "subjects": [subject],
               "roleRef": {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}}  # fmt: skip
    base = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    assert (await world.call("POST", f"{base}/roles", role)).status == 201
    assert (await world.call("POST", f"{base}/rolebindings", binding)).status == 201
    world.client = world.cluster.client(UserInfo("eve", ("system:authenticated",)))
    assert (await world.create(config_map("b"))).message.endswith("denied request: get secrets first")


async def test_what_configures_admission_is_beyond_it(world: World) -> None:
    everything = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*", "*/*"]}]
    await world.made(validating_policy("locked", {"expression": "false"}, rules=everything))
    await world.made(binding_of("locked"))
    assert (await world.create(config_map("a"))).status == 422
    assert (await world.delete("ValidatingAdmissionPolicyBinding", "locked")).status == 200
    assert (await world.create(config_map("a"))).status == 201


async def test_type_checking_warns_in_the_status(world: World) -> None:
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]
    good, bad = (
        {"expression": "object.spec.replicas > 1"},
        {"expression": "object.spec.replicas > '1'", "messageExpression": "object.spec.foo"},
    )
    policy = await world.made(validating_policy("typed", good, bad, rules=rules))
    found = policy["status"]["typeChecking"]["expressionWarnings"]
    assert policy["status"]["observedGeneration"] == 1
    assert [warning["fieldRef"] for warning in found] == ["spec.validations[1].expression", "spec.validations[1].messageExpression"]
    assert found[0]["warning"].startswith(
        "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"
    )


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"validations": [{"expression": "object."}]}, "spec.validations[0].expression: Invalid value"),
        ({"validations": [{"expression": "1"}]}, "must evaluate to bool"),
        ({"validations": []}, "validations or auditAnnotations must contain at least one item"),
        ({"validations": [{"expression": "true", "reason": "Nope"}]}, "spec.validations[0].reason: Unsupported value"),
        ({"matchConstraints": None}, "spec.matchConstraints: Required value"),
        ({"variables": [{"name": "a-b", "expression": "1"}]}, "name is not a valid CEL identifier"),
        ({"validations": [{"expression": "params.x == 1"}]}, "undeclared reference to 'params'"),
        ({"matchConditions": [{"name": "x", "expression": "variables.a"}]}, "undefined field 'a'"),
    ],
)
async def test_policies_that_cannot_be_are_refused(world: World, spec: dict[str, object], shown: str) -> None:
    policy = validating_policy("p", {"expression": "true"})
    policy["spec"] |= spec
    answer = await world.create(policy)
    assert answer.status == 422
    assert shown in answer.message


async def test_bindings_that_cannot_be_are_refused(world: World) -> None:
    assert "must not contain both Deny and Warn" in (await world.create(binding_of("b", "Deny", "Warn"))).message
    both = {"name": "x", "selector": {}, "parameterNotFoundAction": "Allow"}
    assert "name and selector are mutually exclusive" in (await world.create(binding_of("b", paramRef=both))).message


async def test_type_checking_knows_custom_kinds_too(world: World) -> None:
    # test/e2e/apimachinery/validatingadmissionpolicy.go ("should type check a CRD")
    size = {"type": "object", "properties": {"size": {"type": "integer"}}}
    await world.install(widget_crd({"type": "object", "properties": {"spec": size}}))
    rules = [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["widgets"]}]
    policy = validating_policy("typed", {"expression": "object.spec.size > '1'"}, {"expression": "object.spec.nope < 1"}, rules=rules)
    found = (await world.made(policy))["status"]["typeChecking"]["expressionWarnings"]
    assert [warning["fieldRef"] for warning in found] == ["spec.validations[0].expression", "spec.validations[1].expression"]
    assert "undefined field 'nope'" in found[1]["warning"]
