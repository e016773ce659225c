"""Structural schemas: faults and their texts, unknown fields, pruning, defaulting, interning."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.structural import compile_schema


def crd(spec: JSONObject) -> JSONObject:
    return {"type": "object", "properties": {"spec": spec}}


def texts(spec: JSONObject, value: Any) -> list[str]:
    return [str(cause) for cause in compile_schema(crd(spec)).validate({"spec": value})]


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        ({"type": "integer"}, "x", 'spec: Invalid value: "string": spec in body must be of type integer: "string"'),
        ({"type": "string"}, 1, 'spec: Invalid value: "integer": spec in body must be of type string: "integer"'),
        ({"type": "string"}, None, 'spec: Invalid value: "null": spec in body must be of type string: "null"'),
        ({"type": "boolean"}, 1, 'spec: Invalid value: "integer": spec in body must be of type boolean: "integer"'),
        ({"type": "integer"}, True, 'spec: Invalid value: "boolean": spec in body must be of type integer: "boolean"'),
        ({"type": "integer"}, 1.5, 'spec: Invalid value: "number": spec in body must be of type integer: "number"'),
        ({"type": "array", "items": {"type": "string"}}, {}, 'spec: Invalid value: "object": spec in body must be of type array: "object"'),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'spec: Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "string", "pattern": "^[0-9]+$"}, "x", "spec: Invalid value: \"x\": spec in body should match '^[0-9]+$'"),
        ({"type": "integer", "minimum": 1}, 0, "spec: Invalid value: 0: spec in body should be greater than or equal to 1"),
        ({"type": "integer", "maximum": 1}, 2, "spec: Invalid value: 2: spec in body should be less than or equal to 1"),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": True}, 1, "spec: Invalid value: 1: spec in body should be less than 1"),
        ({"type": "integer", "multipleOf": 3}, 4, "spec: Invalid value: 4: spec in body should be a multiple of 3"),
        ({"type": "string", "maxLength": 2}, "abc", "spec: Too long: may not be more than 2 bytes"),
        ({"type": "string", "minLength": 2}, "a", 'spec: Invalid value: "a": spec in body should be at least 2 chars long'),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, [1, 2], "spec: Too many: 2: must have at most 1 items"),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            [],
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            {"type": "string", "format": "date-time"},
            "noon",
            'spec: Invalid value: "noon": spec in body must be of type date-time: "noon"',
        ),
        ({"type": "string", "format": "byte"}, "*", 'spec: Invalid value: "*": spec in body must be of type byte: "*"'),
        ({"type": "string", "format": "ipv4"}, "::1", 'spec: Invalid value: "::1": spec in body must be of type ipv4: "::1"'),
        ({"type": "integer", "format": "int32"}, 2**31, "spec: Invalid value: 2147483648: spec in body must be of type int32: 2147483648"),
        ({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, ["a", "a"], 'spec[1]: Duplicate value: "a"'),
        (
            {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            1.5,
            'spec: Invalid value: "number": spec in body must be of type integer,string: "number"',
        ),
    ],
)
def test_a_faulty_value_is_worded_as_upstream(spec: JSONObject, value: Any, expected: str) -> None:
    assert texts(spec, value) == [expected]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"type": "string", "nullable": True}, None),
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 2),
        ({"x-kubernetes-int-or-string": True}, "25%"),
        ({"x-kubernetes-int-or-string": True}, 3),
        ({"type": "string", "format": "date-time"}, "2024-01-01T00:00:00.5+02:00"),
        ({"type": "string", "format": "byte"}, "aGk="),
        ({"type": "string", "format": "made-up"}, "anything"),
        ({"type": "string", "pattern": "[[:alpha:]]\\z"}, "1a"),
        ({"x-kubernetes-preserve-unknown-fields": True}, {"a": [1, None]}),
    ],
)
def test_a_fitting_value_has_no_fault(spec: JSONObject, value: Any) -> None:
    assert texts(spec, value) == []


def test_a_dollar_does_not_match_before_a_trailing_newline() -> None:
    assert texts({"type": "string", "pattern": "^a$"}, "a\n")


def test_all_faults_are_reported_at_once_with_their_paths() -> None:
    item = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer", "minimum": 0}}}
    spec = {"type": "object", "required": ["kind"], "properties": {"items": {"type": "array", "items": item}}}
    causes = compile_schema(crd(spec)).validate({"spec": {"items": [{"name": 1}, {"size": -1}]}})
    assert [(cause.field, cause.reason) for cause in causes] == [
        ("spec.kind", "FieldValueRequired"),
        ("spec.items[0].name", "FieldValueTypeInvalid"),
        ("spec.items[1].name", "FieldValueRequired"),
        ("spec.items[1].size", "FieldValueInvalid"),
    ]


def test_list_map_items_with_equal_keys_are_duplicates() -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}
    spec = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    assert texts(spec, [{"name": "a", "port": 1}, {"name": "b"}, {"name": "a", "port": 2}]) == ['spec[2]: Duplicate value: {"name":"a"}']


def test_junctors_are_worded_as_upstream() -> None:
    both = {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    spec = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, **both}
    assert texts(spec, {"a": "x"}) == []
    assert texts(spec, {"a": "x", "b": "y"}) == [
        'spec: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    assert texts(spec, {})[0].endswith("(oneOf). Found none valid")
    assert texts({"type": "integer", "not": {"enum": [3]}}, 3) == ['spec: Invalid value: "": "spec" must not validate the schema (not)']
    assert texts({"type": "integer", "allOf": [{"minimum": 3}]}, 1)[0].startswith("spec: Invalid value: 1: spec in body should be greater")


def test_an_object_in_place_of_a_string_is_a_wrong_type_and_no_unknown_field() -> None:
    schema = compile_schema(crd({"type": "object", "properties": {"image": {"type": "string"}, "size": {"type": "integer"}}}))
    obj = {"metadata": {"name": "a"}, "spec": {"image": {"a": "b"}, "size": [1]}}
    assert schema.unknown_fields(obj) == []
    schema.prune(obj)
    assert obj["spec"] == {"image": {"a": "b"}, "size": [1]}
    assert [c.field for c in schema.validate(obj)] == ["spec.image", "spec.size"]


def test_unknown_fields_are_listed_with_their_paths() -> None:
    spec = {
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}},
    }
    obj = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "nick": "y"}, "spec": {"foo": 1, "items": [{"a": "b", "bar": 1}]}}
    assert compile_schema(crd(spec)).unknown_fields(obj) == ["metadata.nick", "spec.foo", "spec.items[0].bar"]


def test_pruning_keeps_what_is_known_preserved_or_identity() -> None:
    schema = compile_schema(
        crd(
            {
                "type": "object",
                "properties": {
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"tight": {"type": "object"}}},
                    "closed": {"type": "object"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
                },
            }
        )
    )
    embedded = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "other": 1}
    obj: JSONObject = {
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"}, "extra": 1,
        "spec": {"free": {"any": 1, "tight": {"x": 1}}, "closed": {"x": 1}, "labels": {"k": "v"}, "template": embedded},
    }  # fmt: skip
    schema.prune(obj)
    assert obj == {
        "apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n"},
        "spec": {
            "free": {"any": 1, "tight": {}}, "closed": {}, "labels": {"k": "v"},
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
        },
    }  # fmt: skip


def test_pruning_leaves_no_unknown_field_and_is_idempotent() -> None:
    schema = compile_schema(crd({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}}}))
    obj: JSONObject = {"spec": {"a": [{"x": 1}, {}], "b": {"c": 1}}, "status": {}}
    schema.prune(obj)
    once = copy_json(obj)
    schema.prune(obj)
    assert obj == once
    assert schema.unknown_fields(obj) == []


def test_defaults_apply_outside_in_and_replace_forbidden_nulls() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}
    spec = {
        "type": "object",
        "default": {},
        "properties": {
            "a": {**inner, "default": {}},
            "items": {"type": "array", "items": inner},
            "keep": {"type": "string", "nullable": True, "default": "x"},
            "none": {"type": "string", "default": "y"},
        },
    }
    schema = compile_schema(crd(spec))
    obj: JSONObject = {"spec": {"items": [{}], "keep": None, "none": None}}
    schema.default(obj)
    assert obj == {"spec": {"items": [{"b": 1}], "keep": None, "none": "y", "a": {"b": 1}}}
    empty: JSONObject = {}
    schema.default(empty)
    assert empty == {"spec": {"a": {"b": 1}, "keep": "x", "none": "y"}}


def test_defaulted_values_are_not_shared_between_objects() -> None:
    schema = compile_schema(crd({"type": "object", "default": {"list": []}, "x-kubernetes-preserve-unknown-fields": True}))
    first: JSONObject = {}
    second: JSONObject = {}
    schema.default(first)
    first["spec"]["list"].append(1)
    schema.default(second)
    assert second == {"spec": {"list": []}}


def test_equal_schemas_are_one_node() -> None:
    spec = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}
    assert compile_schema(crd(spec)) is compile_schema(crd(copy_json(spec)))
    assert compile_schema(crd(spec)) is not compile_schema(crd({**spec, "nullable": True}))


def test_rules_in_cel_are_kept_as_they_are() -> None:
    rules = [{"rule": "self.a > 0", "message": "must be positive"}]
    schema = compile_schema(crd({"type": "object", "x-kubernetes-validations": rules}))
    assert schema.properties["spec"].validations == tuple(rules)


def test_a_reference_is_looked_up_when_first_needed_and_may_be_recursive() -> None:
    asked: list[str] = []

    def resolve(name: str) -> JSONObject:
        asked.append(name)
        return {"type": "object", "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/components/schemas/x.Node"}}}

    schema = compile_schema({"type": "object", "properties": {"head": {"$ref": "#/definitions/x.Node"}}}, resolve=resolve)
    assert asked == []
    causes = schema.validate({"head": {"value": 1, "next": {"next": {"value": "x"}}}})
    assert [cause.field for cause in causes] == ["head.next.next.value"]
    assert asked == ["x.Node"]


def test_a_reference_without_definitions_says_what_is_missing() -> None:
    schema = compile_schema({"type": "object", "properties": {"a": {"$ref": "#/definitions/x.Y"}}})
    with pytest.raises(ValueError, match=r"refers to x\.Y"):
        schema.validate({"a": {}})
