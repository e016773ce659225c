"""x-kubernetes-validations: where rules apply, what they say, when they compare with the old value, and what is refused in a CRD."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.cel.rulecheck import rule_faults
from kcp.apimachinery.cel.rules import RuleNode, Verdict, compile_rules, validate
from kcp.apimachinery.schema.structural import compile_schema

STRING = {"type": "string", "maxLength": 20}
INTEGER = {"type": "integer"}


def rule(text: str, **more: Any) -> dict[str, Any]:
    return {"rule": text, **more}


def spec_with(*rules: dict[str, Any], **properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": list(rules)}
    return {"type": "object", "properties": {"spec": spec}}


def tree(openapi: dict[str, Any]) -> RuleNode:
    assert not rule_faults(openapi, "schema"), rule_faults(openapi, "schema")
    found = compile_rules(compile_schema(openapi))
    assert found is not None
    return found


def judge(openapi: dict[str, Any], spec: Any, old: Any = None) -> Verdict:
    named = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    return validate(tree(openapi), {**named, "spec": spec}, None if old is None else {**named, "spec": old})


def faults(openapi: dict[str, Any], spec: Any, old: Any = None) -> list[str]:
    return [str(cause) for cause in judge(openapi, spec, old).causes]


def test_a_schema_without_rules_has_no_tree() -> None:
    assert compile_rules(compile_schema(spec_with(a=INTEGER) | {"properties": {"spec": {"type": "object"}}})) is None


def test_a_broken_rule_is_told_with_its_text_or_its_message() -> None:
    plain = spec_with(rule("self.min <= self.max"), min=INTEGER, max=INTEGER)
    assert faults(plain, {"min": 2, "max": 1}) == ["spec: Invalid value: failed rule: self.min <= self.max"]
    worded = spec_with(rule("self.min <= self.max", message=" min is too large "), min=INTEGER, max=INTEGER)
    assert faults(worded, {"min": 2, "max": 1}) == ["spec: Invalid value: min is too large"]
    assert faults(worded, {"min": 1, "max": 1}) == []


def test_a_message_expression_wins_unless_it_fails() -> None:
    shown = rule("self.a < 3", message="static", messageExpression="'a is %d'.format([self.a])")
    assert faults(spec_with(shown, a=INTEGER), {"a": 5}) == ["spec: Invalid value: a is 5"]
    failing = rule("self.a < 3", message="static", messageExpression="self.b")
    assert faults(spec_with(failing, a=INTEGER, b=STRING), {"a": 5}) == ["spec: Invalid value: static"]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("FieldValueRequired", "spec.a: Required value: no"),
        ("FieldValueForbidden", "spec.a: Forbidden: no"),
        ("FieldValueDuplicate", "spec.a: Duplicate value"),
        ("FieldValueInvalid", "spec.a: Invalid value: no"),
    ],
)
def test_reason_and_field_path_word_the_fault(reason: str, shown: str) -> None:
    openapi = spec_with(rule("false", message="no", reason=reason, fieldPath=".a"), a=INTEGER)
    assert faults(openapi, {"a": 1}) == [shown]


def test_rules_apply_at_every_level() -> None:
    positive = {"type": "integer", "x-kubernetes-validations": [rule("self > 0")]}
    openapi = spec_with(
        list={"type": "array", "maxItems": 5, "items": {"type": "object", "properties": {"n": positive}}},
        map={"type": "object", "maxProperties": 5, "additionalProperties": positive},
    )
    found = faults(openapi, {"list": [{"n": 1}, {"n": -1}], "map": {"a.b": 0}})
    assert found == [
        "spec.list[1].n: Invalid value: -1: failed rule: self > 0",
        "spec.map[a.b]: Invalid value: 0: failed rule: self > 0",
    ]


def test_the_root_sees_names_and_nothing_else_of_metadata() -> None:
    openapi = {"type": "object", "x-kubernetes-validations": [rule("self.metadata.name.size() > 3 && self.kind == 'Widget'")]}
    assert faults(openapi, {}) == ["<nil>: Invalid value: failed rule: self.metadata.name.size() > 3 && self.kind == 'Widget'"]
    (refused,) = rule_faults({"type": "object", "x-kubernetes-validations": [rule("self.metadata.labels.size() > 3")]}, "s")
    assert "undefined field 'labels'" in refused.message


def test_embedded_resources_have_their_names_too() -> None:
    embedded = {
        "type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-validations": [rule("self.metadata.name == 'x' && self.apiVersion == 'v1'")],
    }  # fmt: skip
    openapi = spec_with(template=embedded)
    assert faults(openapi, {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}}) == []
    assert len(faults(openapi, {"template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "y"}}})) == 1


def test_names_that_are_no_identifiers_are_escaped() -> None:
    openapi = spec_with(
        rule("self.__namespace__ == 'a' && self.x__dash__y == 1 && self.namespace == 'a'"), **{"namespace": STRING, "x-y": INTEGER}
    )
    assert faults(openapi, {"namespace": "a", "x-y": 1}) == []


def test_values_have_the_types_that_formats_say() -> None:
    openapi = spec_with(
        rule("self.at > timestamp('2024-01-01T00:00:00Z')"), rule("self.span < duration('1h')"), rule("self.raw == b'hi'"), rule("self.num / 2.0 == 1.0"),
        rule("type(self.port) == int ? self.port > 0 : self.port == 'http'"), rule("self.ratios.sum() == 3.0"),
        at={"type": "string", "format": "date-time"}, span={"type": "string", "format": "duration"}, raw={"type": "string", "format": "byte"},
        num={"type": "number"}, port={"x-kubernetes-int-or-string": True, "maxLength": 10},
        ratios={"type": "array", "maxItems": 3, "items": {"type": "number"}},
    )  # fmt: skip
    spec = {"at": "2024-06-01T00:00:00Z", "span": "30m", "raw": "aGk=", "num": 2, "port": "http", "ratios": [1, 2]}
    assert faults(openapi, spec) == []
    assert (
        len(faults(openapi, {**spec, "at": "2023-06-01T00:00:00+02:00", "span": "2h", "raw": "aG8=", "num": 3, "port": 0, "ratios": [1]}))
        == 6
    )


def test_runtime_errors_are_faults_that_name_the_rule() -> None:
    openapi = spec_with(rule("self.a / self.b == 1"), a=INTEGER, b=INTEGER)
    assert faults(openapi, {"a": 1, "b": 0}) == ['spec: Invalid value: "object": division by zero evaluating rule: self.a / self.b == 1']
    assert faults(openapi, {"a": 1}) == ['spec: Invalid value: "object": no such key: b evaluating rule: self.a / self.b == 1']


# --- transitions ---


def test_a_transition_rule_applies_to_updates_only() -> None:
    openapi = spec_with(a={**STRING, "x-kubernetes-validations": [rule("self == oldSelf", message="immutable")]})
    assert faults(openapi, {"a": "x"}) == []
    assert faults(openapi, {"a": "y"}, {}) == []
    assert faults(openapi, {"a": "y"}, {"a": "x"}) == ['spec.a: Invalid value: "y": immutable']


def test_optional_old_self_applies_always() -> None:
    openapi = spec_with(a={**INTEGER, "x-kubernetes-validations": [rule("self > oldSelf.orValue(0)", optionalOldSelf=True)]})
    assert faults(openapi, {"a": 0}) != []
    assert faults(openapi, {"a": 1}) == []
    assert faults(openapi, {"a": 1}, {"a": 1}) != []


def test_list_elements_are_compared_by_their_keys() -> None:
    item = {
        "type": "object", "required": ["k"], "x-kubernetes-validations": [rule("self.v >= oldSelf.v")],
        "properties": {"k": STRING, "v": INTEGER},
    }  # fmt: skip
    openapi = spec_with(
        l={"type": "array", "maxItems": 9, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item}
    )
    old = {"l": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]}
    assert faults(openapi, {"l": [{"k": "b", "v": 1}, {"k": "a", "v": 6}, {"k": "c", "v": 0}]}, old) == []
    assert faults(openapi, {"l": [{"k": "b", "v": 1}, {"k": "a", "v": 4}]}, old) == [
        "spec.l[1]: Invalid value: failed rule: self.v >= oldSelf.v"
    ]


def test_old_values_of_other_lists_cannot_be_had() -> None:
    item = {"type": "object", "x-kubernetes-validations": [rule("self == oldSelf")]}
    (refused,) = rule_faults(spec_with(l={"type": "array", "maxItems": 9, "items": item}), "s")
    assert refused.message.endswith(
        "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[spec].properties[l]"
    )


def test_sets_and_maps_are_equal_in_any_order() -> None:
    keyed = {"type": "object", "required": ["k"], "properties": {"k": STRING}}
    openapi = spec_with(
        rule("self == oldSelf"),
        set={"type": "array", "maxItems": 9, "x-kubernetes-list-type": "set", "items": STRING},
        map={"type": "array", "maxItems": 9, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": keyed},
        plain={"type": "array", "maxItems": 9, "items": STRING},
    )
    old = {"set": ["a", "b"], "map": [{"k": "a"}, {"k": "b"}], "plain": ["a", "b"]}
    assert faults(openapi, {**old, "set": ["b", "a"], "map": [{"k": "b"}, {"k": "a"}]}, old) == []
    assert faults(openapi, {**old, "plain": ["b", "a"]}, old) != []
    assert faults(openapi, {**old, "set": ["a", "c"]}, old) != []


def test_a_fault_that_an_update_leaves_alone_is_a_warning() -> None:
    openapi = spec_with(a={**INTEGER, "x-kubernetes-validations": [rule("self < 3")]}, b=INTEGER)
    verdict = judge(openapi, {"a": 5, "b": 1}, {"a": 5})
    assert verdict.causes == []
    assert verdict.warnings == ["spec.a: Invalid value: 5: failed rule: self < 3"]
    assert faults(openapi, {"a": 6}, {"a": 5}) != []


# --- costs ---


def test_an_object_that_makes_a_rule_too_expensive_is_refused() -> None:
    numbers = {"type": "array", "items": INTEGER}
    openapi = spec_with(l={**numbers, "x-kubernetes-validations": [rule("self.all(x, self.all(y, x + y >= 0))")]})
    found = compile_rules(compile_schema(openapi))
    assert found is not None
    verdict = validate(found, {"spec": {"l": list(range(725))}}, None)
    assert [cause.message for cause in verdict.causes] == [
        "Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost "
        "exceeds limit for rule: self.all(x, self.all(y, x + y >= 0))"
    ]


def test_all_rules_of_an_object_share_a_budget() -> None:
    openapi = spec_with(l={"type": "array", "maxItems": 100, "items": {**INTEGER, "x-kubernetes-validations": [rule("self > 0")]}})
    verdict = validate(tree(openapi), {"spec": {"l": [1] * 100}}, None, budget=50)
    assert verdict.causes[0].message.endswith(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )
    assert len(verdict.causes) == 1


def test_a_rule_over_unbounded_lists_is_refused_with_upstreams_advice() -> None:
    nested = rule("self.all(x, self.all(y, x != y))")
    (cause, *_) = rule_faults(spec_with(l={"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [nested]}), "s")
    assert cause.field == "s.properties[spec].properties[l].x-kubernetes-validations[0].rule"
    assert cause.message.startswith(
        "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding"
    )


def test_joining_texts_of_unknown_length_is_too_dear_and_formatting_is_not() -> None:
    """As a real Kubernetes 1.36 answers."""
    joined = rule("self.min <= self.max", messageExpression="'min (' + string(self.min) + ') above max'")
    found = rule_faults(spec_with(joined, min=INTEGER, max=INTEGER), "s")
    where = "s.properties[spec].x-kubernetes-validations[0].messageExpression"
    total = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x"
    assert [(cause.field, cause.message.partition(" (try")[0]) for cause in found] == [
        (where, "Forbidden: estimated messageExpression cost exceeds budget by factor of more than 100x"),
        (where, "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
        ("s", f"Forbidden: {total}"),
    ]
    formatted = rule("self.min <= self.max", messageExpression="'min (%d) above max (%d)'.format([self.min, self.max])")
    assert rule_faults(spec_with(formatted, min=INTEGER, max=INTEGER), "s") == []


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        ({"min": 0, "max": 5}, ""),
        ({}, 'Invalid value: "object": no such key: min evaluating rule: self.min <= self.max'),
        ({"min": 6, "max": 5}, "Invalid value: failed rule: self.min <= self.max"),
    ],
)
def test_a_default_obeys_the_rules_as_it_stands(default: dict[str, int], shown: str) -> None:
    openapi = spec_with(rule("self.min <= self.max"), min={**INTEGER, "default": 0}, max={**INTEGER, "default": 5})
    openapi["properties"]["spec"]["default"] = default
    assert [str(cause) for cause in rule_faults(openapi, "s")] == ([f"s.properties[spec].default: {shown}"] if shown else [])


def test_a_rule_counts_as_often_as_its_place_can_occur() -> None:
    def limited(most: int) -> dict[str, Any]:
        item = {**STRING, "x-kubernetes-validations": [rule("self.matches('^[a-z]+([-a-z0-9]*[a-z0-9])?$')")]}
        return spec_with(l={"type": "array", "maxItems": most, "items": item})

    assert rule_faults(limited(1000), "s") == []
    assert any("estimated rule cost" in cause.message for cause in rule_faults(limited(1_000_000), "s"))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (rule(""), "Required value: rule is not specified"),
        (rule("true", message="a\nb"), 'Invalid value: "a\\nb": message must not contain line breaks'),
        (rule("true", message=" "), 'Invalid value: " ": message must be non-empty if specified'),
        (rule("true\n&& true"), "Required value: message must be specified if rule contains line breaks"),
        (rule("true", reason="Bad"), 'Unsupported value: "Bad": supported values: '),
        (rule("true", fieldPath=".nope"), 'Invalid value: ".nope": fieldPath must be a valid path'),
        (rule("true", optionalOldSelf=True), "may not be set if oldSelf is not used in rule"),
        (rule("self.a"), "cel expression must evaluate to a bool"),
        (rule("true", messageExpression="1"), "messageExpression must evaluate to a string"),
        (rule("self.z == 1"), "compilation failed: ERROR: <input>:1:5: undefined field 'z'"),
        (rule("self.a = 1"), "compilation failed: ERROR: <input>:1:8: Syntax error"),
        ({"rule": 1}, "must be a string"),
        ("text", "must be an object"),
    ],
)
def test_rules_that_cannot_be_are_refused(given: Any, shown: str) -> None:
    (cause, *_) = rule_faults(spec_with(given, a=INTEGER), "s")
    assert shown in cause.message
    assert cause.field.startswith("s.properties[spec].x-kubernetes-validations[0]")
