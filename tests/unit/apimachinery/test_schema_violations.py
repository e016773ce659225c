"""Whether a CRD's schema is structural. Cases from kubernetes.io/docs, "Specifying a structural schema"."""

from __future__ import annotations

import pytest

from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.structural import structural_violations


def violated(schema: JSONObject) -> list[tuple[str, str]]:
    return [(cause.field, cause.reason) for cause in structural_violations({"type": "object", "properties": {"spec": schema}}, "s")]


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
