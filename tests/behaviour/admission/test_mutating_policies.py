"""MutatingAdmissionPolicy: apply configurations and JSON patches, their order, reinvocation, and what they may not do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.admission.conftest import World
from tests.behaviour.admission.objects import (
    applied,
    binding_of,
    config_map,
    deployment,
    mutating_binding,
    mutating_policy,
    patched,
    validating_policy,
    widget,
    widget_crd,
)

ON_DEPLOYMENTS: dict[str, Any] = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}


async def put_to_use(world: World, policy: dict[str, Any], **binding: Any) -> None:
    await world.made(policy)
    await world.made(mutating_binding(policy["metadata"]["name"], **binding))


async def test_an_apply_configuration_merges_by_the_schema(world: World) -> None:
    sidecar = "Object.spec.template.spec.containers{name: 'sidecar', image: 'proxy:' + object.metadata.name}"
    inner = f"Object.spec.template.spec{{containers: [{sidecar}]}}"
    text = f"Object{{spec: Object.spec{{template: Object.spec.template{{spec: {inner}}}}}}}"
    await put_to_use(world, mutating_policy("sidecar", applied(text), rules=[ON_DEPLOYMENTS]))
    made = await world.made(deployment("web", 2))
    containers = made["spec"]["template"]["spec"]["containers"]
    assert {c["name"]: c["image"] for c in containers} == {"app": "nginx:1", "sidecar": "proxy:web"}
    assert all(c["imagePullPolicy"] for c in containers)  # what was added has its defaults
    assert made["spec"]["replicas"] == 2


async def test_a_json_patch_is_applied_as_it_is(world: World) -> None:
    text = (
        "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'x'}] + "
        "(has(object.data.drop) ? [JSONPatch{op: 'remove', path: '/data/drop'}] : [])"
    )
    await put_to_use(world, mutating_policy("patch", patched(text)))
    made = await world.made(config_map("a", {"c": "d"}, drop="1", keep="1"))
    assert (made["metadata"]["labels"], made["data"]) == ({"c": "d", "a/b": "x"}, {"keep": "1"})
    assert (await world.made(config_map("b", {"c": "d"}, keep="1")))["data"] == {"keep": "1"}


async def test_mutations_see_those_before_them_and_validations_see_all(world: World) -> None:
    policy = mutating_policy("twice", applied("Object{data: {'n': '1'}}"), applied("Object{data: {'m': object.data.n + '2'}}"))
    await put_to_use(world, policy)
    await world.made(validating_policy("seen", {"expression": "object.data.m == '12'"}))
    await world.made(binding_of("seen"))
    assert (await world.made(config_map("a")))["data"] == {"n": "1", "m": "12"}


async def test_policies_run_in_the_order_of_their_names_and_again_if_needed(world: World) -> None:
    count = "Object{data: {'trace': object.data.trace + '%s'}}"
    await put_to_use(world, mutating_policy("a", applied(count % "a"), reinvocationPolicy="IfNeeded"))
    await put_to_use(world, mutating_policy("b", applied(count % "b")))
    assert (await world.made(config_map("x", trace="-")))["data"] == {"trace": "-aba"}


async def test_parameters_and_conditions(world: World) -> None:
    policy = mutating_policy(
        "labelled", applied("Object{metadata: Object.metadata{labels: params.data}}"), paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "no-team", "expression": "!has(object.metadata.labels) || !('team' in object.metadata.labels)"}],
    )  # fmt: skip
    await world.made(config_map("labels", {"team": "none"}, team="core", tier="web"))
    await put_to_use(world, policy, paramRef={"name": "labels", "namespace": "default", "parameterNotFoundAction": "Deny"})
    assert (await world.made(config_map("a")))["metadata"]["labels"] == {"team": "core", "tier": "web"}
    assert (await world.made(config_map("b", {"team": "own"})))["metadata"]["labels"] == {"team": "own"}


async def test_custom_resources_are_pruned_and_validated_after_mutation(world: World) -> None:
    spec = {"type": "object", "properties": {"color": {"type": "string", "enum": ["red", "blue"]}}}
    await world.install(widget_crd({"type": "object", "properties": {"spec": spec}}))
    rules = [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["widgets"]}]
    text = "[JSONPatch{op: 'add', path: '/spec/color', value: object.metadata.name}, JSONPatch{op: 'add', path: '/spec/unknown', value: 1}]"
    await put_to_use(world, mutating_policy("color", patched(text), rules=rules))
    assert (await world.made(widget("red")))["spec"] == {"color": "red"}
    assert 'spec.color: Unsupported value: "green"' in (await world.create(widget("green"))).message


async def test_nobody_renames_an_object_on_its_way(world: World) -> None:
    text = "[JSONPatch{op: 'replace', path: '/metadata/name', value: 'other'}, JSONPatch{op: 'replace', path: '/metadata/uid', value: 'x'}]"
    await put_to_use(world, mutating_policy("rename", patched(text)))
    made = await world.made(config_map("a"))
    assert made["metadata"]["name"] == "a"
    assert made["metadata"]["uid"] != "x"


@pytest.mark.parametrize(
    ("mutation", "shown"),
    [
        (applied("Object{data: {'x': object.nope}}"), "no such key: nope"),
        (applied("Object{spec: Object.wrong{}}"), 'unexpected type name "Object.wrong", expected "Object.spec"'),
        (applied("Object{nope: 1}"), "field not declared in schema"),
        (patched("[JSONPatch{op: 'test', path: '/data/x', value: 'y'}]"), "JSON Patch"),
        (patched("[JSONPatch{op: 'remove', path: '/data/absent'}]"), "JSON Patch"),
    ],
)
async def test_failures_are_refused_or_ignored_as_the_policy_says(world: World, mutation: dict[str, Any], shown: str) -> None:
    await put_to_use(world, mutating_policy("strict", mutation))
    refused = await world.create(config_map("a", x="1"))
    assert refused.status == 403
    assert refused.message.startswith("policy 'strict' with binding 'strict' denied request: ")
    assert shown in refused.message
    assert (await world.patch("MutatingAdmissionPolicy", "strict", {"spec": {"failurePolicy": "Ignore"}})).status == 200
    assert (await world.create(config_map("a", x="1"))).status == 201


async def test_atomic_lists_are_not_replaced_by_accident(world: World) -> None:
    inner = "Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'app', args: ['x']}]}"
    text = f"Object{{spec: Object.spec{{template: Object.spec.template{{spec: {inner}}}}}}}"
    await put_to_use(world, mutating_policy("args", applied(text), rules=[ON_DEPLOYMENTS]))
    assert (
        "may not mutate atomic arrays, maps or structs: .spec.template.spec.containers[0].args"
        in (await world.create(deployment("web"))).message
    )


@pytest.mark.parametrize(
    ("mutation", "shown"),
    [
        (applied("{'data': 1}"), "must evaluate to object"),
        (applied("Object.spec{}"), "must evaluate to Object"),
        (patched("object.data"), ""),
        (patched("'x'"), "must evaluate to list"),
        ({"patchType": "Nope"}, "spec.mutations[0].patchType: Unsupported value"),
    ],
)
async def test_mutations_that_cannot_be_are_refused(world: World, mutation: dict[str, Any], shown: str) -> None:
    answer = await world.create(mutating_policy("p", mutation))
    assert (answer.status == 422) is bool(shown)
    assert shown in answer.message


async def test_a_cluster_serves_no_beta_version_of_them(world: World) -> None:
    """Source: KEP-3136, beta APIs are off by default."""
    await world.made(mutating_policy("p", applied("Object{}")))
    assert (await world.call("GET", "/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies")).status == 404
