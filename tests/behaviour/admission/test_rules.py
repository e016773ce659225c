"""Validation rules of CRDs on the write path: create, update, apply, status; defaults before, wrong shapes first; and CRDs that are refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.admission.conftest import World
from tests.behaviour.admission.objects import widget, widget_crd

OPENAPI: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-validations": [{"rule": "self.min <= self.max", "messageExpression": "'%d is more than %d'.format([self.min, self.max])"}],
            "required": ["max"],
            "properties": {
                "min": {"type": "integer", "default": 1},
                "max": {"type": "integer"},
                "owner": {
                    "type": "string", "maxLength": 20,
                    "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "owner is immutable", "reason": "FieldValueForbidden"}],
                },
                "size": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 10"}]},
            },
        },
        "status": {"type": "object", "properties": {"ready": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= 0"}]}}},
    },
}  # fmt: skip


@pytest.fixture
async def served(world: World) -> World:
    await world.install(widget_crd(OPENAPI))
    return world


async def test_create_update_and_apply_obey_the_rules(served: World) -> None:
    refused = await served.create(widget("a", min=5, max=3))
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message == 'Widget.example.com "a" is invalid: spec: Invalid value: 5 is more than 3'
    await served.made(widget("a", min=1, max=3, owner="me"))
    assert "4 is more than 3" in (await served.patch("Widget", "a", {"spec": {"min": 4}})).message
    assert "9 is more than 3" in (await served.apply(widget("a", min=9, max=3))).message
    assert (await served.patch("Widget", "a", {"spec": {"min": 2}})).status == 200


async def test_rules_see_defaults(served: World) -> None:
    assert "1 is more than 0" in (await served.create(widget("a", max=0))).message


async def test_objects_of_the_wrong_shape_are_told_so_first(served: World) -> None:
    answer = await served.create(widget("a", min=5))
    assert [(cause["field"], cause["reason"]) for cause in answer.body["details"]["causes"]] == [
        ("spec.max", "FieldValueRequired"),
        ("<nil>", "FieldValueInvalid"),
    ]
    assert "some validation rules were not checked because the object was invalid" in answer.message


async def test_transition_rules_compare_with_the_stored_object(served: World) -> None:
    await served.made(widget("a", max=3, owner="me"))
    refused = await served.patch("Widget", "a", {"spec": {"owner": "you"}})
    assert refused.message == 'Widget.example.com "a" is invalid: spec.owner: Forbidden: owner is immutable'
    assert (await served.patch("Widget", "a", {"spec": {"max": 4}})).status == 200


async def test_status_has_its_rules(served: World) -> None:
    await served.made(widget("a", max=3))
    assert "spec" not in (await served.patch("Widget", "a", {"status": {"ready": -1}}, subresource="status")).message
    assert (await served.patch("Widget", "a", {"status": {"ready": -1}}, subresource="status")).status == 422
    assert (await served.patch("Widget", "a", {"status": {"ready": 1}}, subresource="status")).status == 200


async def test_a_rule_added_later_only_warns_about_what_stays_as_it_was(served: World) -> None:
    lenient = {
        **OPENAPI,
        "properties": {**OPENAPI["properties"], "spec": {**OPENAPI["properties"]["spec"], "x-kubernetes-validations": []}},
    }
    del lenient["properties"]["spec"]["properties"]
    lenient["properties"]["spec"] |= {"properties": {**OPENAPI["properties"]["spec"]["properties"], "size": {"type": "integer"}}}
    crd = "widgets.example.com"
    assert (await served.patch("CustomResourceDefinition", crd, {"spec": widget_crd(lenient)["spec"]})).status == 200
    await served.made(widget("a", max=3, size=50))
    assert (await served.patch("CustomResourceDefinition", crd, {"spec": widget_crd(OPENAPI)["spec"]})).status == 200
    kept = await served.patch("Widget", "a", {"spec": {"max": 4}})
    assert kept.status == 200
    assert "failed rule: self < 10" in kept.warnings
    assert (await served.patch("Widget", "a", {"spec": {"size": 60}})).status == 422


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ({"rule": "self.spec.nope == 1"}, "compilation failed: ERROR: <input>:1:10: undefined field 'nope'"),
        ({"rule": "self.spec ="}, "Syntax error"),
        ({"rule": "self.spec"}, "cel expression must evaluate to a bool"),
        ({"rule": "oldSelf.spec.max == 1", "message": "a\nb"}, "message must not contain line breaks"),
    ],
)
async def test_a_crd_whose_rules_do_not_compile_is_refused(world: World, rule: dict[str, Any], shown: str) -> None:
    answer = await world.create(widget_crd({**OPENAPI, "x-kubernetes-validations": [rule]}))
    assert answer.status == 422
    assert "spec.validation.openAPIV3Schema.x-kubernetes-validations[0]" in answer.message
    assert shown in answer.message


async def test_a_crd_whose_rules_may_cost_too_much_is_refused(world: World) -> None:
    openapi = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}},
        "x-kubernetes-validations": [{"rule": "self.spec.names.all(x, self.spec.names.all(y, x == y))"}],
    }
    answer = await world.create(widget_crd(openapi))
    assert "Forbidden: estimated rule cost exceeds budget by factor of more than 100x" in answer.message
    assert "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema" in answer.message
