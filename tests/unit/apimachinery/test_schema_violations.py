"""Whether a CRD's schema is structural, and what else it may say. Cases from kubernetes.io/docs, "Specifying a structural schema".

Source: apiextensions-apiserver/pkg/apis/apiextensions/validation/validation_test.go, pkg/apiserver/schema/validation_test.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.declarations import schema_faults
from kcp.apimachinery.schema.structural import structural_violations


def violated(schema: JSONObject) -> list[tuple[str, str]]:
    found = schema_faults({"type": "object", "properties": {"spec": schema}}, "s", has_status=False)
    return [(cause.field, cause.reason) for cause in found]


def told(schema: JSONObject, *, has_status: bool = False) -> list[str]:
    return [str(cause) for cause in schema_faults(schema, "s", has_status=has_status)]


def with_spec(**spec: Any) -> JSONObject:
    return {"type": "object", "properties": {"spec": {"type": "object", **spec}}}


def test_a_structural_schema_breaks_no_rule() -> None:
    # Example 1 of the documentation, in its corrected form.
    foo = {"type": "string", "minLength": 1}
    spec: JSONObject = {
        "type": "object",
        "properties": {"foo": foo, "bar": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}},
    }
    spec["anyOf"] = [{"properties": {"foo": {"pattern": "abc"}}, "required": ["foo"]}]
    assert violated(spec) == []


@pytest.mark.parametrize(
    ("schema", "field", "reason"),
    [
        ({"properties": {}}, "s.properties[spec].type", "FieldValueRequired"),
        ({"type": "thing"}, "s.properties[spec].type", "FieldValueNotSupported"),
        ({"type": "array"}, "s.properties[spec].items", "FieldValueRequired"),
        ({"type": "string", "uniqueItems": True}, "s.properties[spec].uniqueItems", "FieldValueForbidden"),
        ({"type": "object", "additionalProperties": False}, "s.properties[spec].additionalProperties", "FieldValueForbidden"),
        ({"type": "string", "x-kubernetes-int-or-string": True}, "s.properties[spec].type", "FieldValueForbidden"),
        ({"type": "string", "pattern": "("}, "s.properties[spec].pattern", "FieldValueInvalid"),
        ({"type": "string", "$ref": "#/x"}, "s.properties[spec].$ref", "FieldValueForbidden"),
        ({"type": "object", "x-kubernetes-map-type": "odd"}, "s.properties[spec].x-kubernetes-map-type", "FieldValueNotSupported"),
        ({"type": "string", "anyOf": [{"type": "string"}]}, "s.properties[spec].anyOf[0].type", "FieldValueForbidden"),
        ({"type": "object", "not": {"properties": {"a": {"enum": [1]}}}}, "s.properties[spec].properties[a]", "FieldValueRequired"),
        (
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
            "s.properties[spec].x-kubernetes-list-map-keys",
            "FieldValueRequired",
        ),
        (
            {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
            "s.properties[spec].items.properties[a].default",
            "FieldValueRequired",
        ),
    ],
)  # fmt: skip
def test_each_broken_rule_is_named(schema: JSONObject, field: str, reason: str) -> None:
    assert (field, reason) in violated(schema)


def test_the_root_must_be_an_object() -> None:
    assert [cause.message for cause in structural_violations({})] == ["Required value: must not be empty at the root"]
    assert structural_violations({"type": "array", "items": {"type": "string"}})[0].message.endswith("must be object at the root")


def test_metadata_may_only_narrow_names() -> None:
    narrow = {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}}}
    assert structural_violations(narrow) == []
    wide = {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}
    assert [cause.field for cause in structural_violations(wide)] == ["openAPIV3Schema.properties[metadata]"]


_TEXT = {"type": "string"}
_WHY = "this property is in x-kubernetes-list-map-keys, so it"
_KEYED = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"properties": {"a": {"type": "array", "items": {"properties": {}}}}}, "properties[a].items.type: Required value: must not be empty for specified array items"),
        ({"properties": {"a": {"x-kubernetes-embedded-resource": True}}}, "properties[a].type: Required value: must be object if x-kubernetes-embedded-resource is true"),
        ({"properties": {"a": {"type": "object", "x-kubernetes-embedded-resource": True}}}, "properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"),
        ({"properties": {"a": {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}}}, "properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true"),
        ({"properties": {"a": _TEXT}, "additionalProperties": _TEXT}, "additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        ({"properties": {"a": {"type": "string", "x-kubernetes-list-type": "set"}}}, "properties[a].type: Invalid value: \"string\": must be array if x-kubernetes-list-type is specified"),
        ({"properties": {"a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}}}, "properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"),
        ({"properties": {"a": {"type": "array", "x-kubernetes-list-type": "set", "items": {**_TEXT, "nullable": True}}}}, "properties[a].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set"),
        ({"properties": {"a": {**_KEYED, "items": {"type": "object", "properties": {"a": _TEXT}}}}}, f"properties[a].items.properties[a].default: Required value: {_WHY} must have a default or be a required property"),
        ({"properties": {"a": {**_KEYED, "items": {"type": "object", "required": ["a"], "properties": {"a": {**_TEXT, "nullable": True}}}}}}, f"properties[a].items.properties[a].nullable: Forbidden: {_WHY} cannot be nullable"),
        ({"properties": {"a": {**_KEYED, "items": {"type": "object"}}}}, "properties[a].x-kubernetes-list-map-keys: Invalid value: [\"a\"]: entries must all be names of item properties"),
        ({"properties": {"a": {"type": "array", "x-kubernetes-list-map-keys": ["a"], "items": _TEXT}}}, "properties[a].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "properties[a].default: Invalid value: \"string\": s.properties[spec].properties[a].default in body must be of type integer: \"string\""),
        ({"default": {"b": 1}, "properties": {"a": _TEXT}}, "default: Invalid value: {\"b\":1}: must not have unknown fields"),
        ({"properties": {"a": {**_TEXT, "enum": ["x"], "default": "y"}}}, "properties[a].default: Unsupported value: \"y\": supported values: \"x\""),
        ({"properties": {"a": _TEXT}, "anyOf": [{"properties": {"a": {"default": "x"}}}]}, "anyOf[0].properties[a].default: Forbidden: must be undefined to be structural"),
        ({"allOf": [{"properties": {"b": {"minLength": 1}}}]}, "properties[b]: Required value: because it is defined in s.properties[spec].allOf[0].properties[b]"),
    ],
)  # fmt: skip
def test_a_fault_is_told_in_upstreams_words(spec: dict[str, Any], fault: str) -> None:
    assert f"s.properties[spec].{fault}" in told(with_spec(**spec))


def test_the_root_says_less_where_status_is_apart() -> None:
    assert told({"type": "object", "nullable": True}) == ["s.nullable: Forbidden: nullable cannot be true at the root"]
    schema = {"type": "object", "properties": {"a": _TEXT}, "anyOf": [{"required": ["a"]}]}
    assert told(schema) == []
    (fault,) = told(schema, has_status=True)
    assert "only [Description Type Format Title Maximum" in fault
    assert fault.endswith(
        "XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled"
    )


def test_defaults_are_forbidden_in_the_metadata_of_the_root() -> None:
    metadata = {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}
    assert told({"type": "object", "properties": {"metadata": metadata}}) == [
        "s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"
    ]


def test_every_fault_is_told_at_once() -> None:
    faults = told(with_spec(properties={"a": {"type": "thing"}, "b": {}, "c": {"type": "array"}}))
    assert [fault.partition(": ")[0] for fault in faults] == [
        f"s.properties[spec].properties[{part}" for part in ("b].type", "c].items", "a].type")
    ]
