"""Rules of an APIConversion: what they do to one object, what is kept for the way back, and what is wrong with rules.

Source: kcp pkg/conversion/{converter,conversion_rules}_test.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.errors import Unexplained
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.structural import compile_schema
from kcp.exports.apiconversion import PRESERVED, RuleConversion, compile_conversion

TEXT = {"type": "string"}


def of(**properties: Any) -> JSONObject:
    return {"type": "object", "properties": properties}


V1 = of(
    apiVersion=TEXT, spec=of(firstName=TEXT, lastName=TEXT, tags={"type": "array", "items": TEXT}, since={**TEXT, "format": "date-time"})
)
V2 = of(spec=of(name=of(first=TEXT, last=TEXT), new=of(hello=TEXT)))
SCHEMAS = {"v1": lambda: compile_schema(V1), "v2": lambda: compile_schema(V2)}


def rule(field: str, destination: str, transformation: str = "") -> JSONObject:
    return {"field": field, "destination": destination, **({"transformation": transformation} if transformation else {})}


def conversion(*rules: JSONObject, preserve: tuple[str, ...] = (), start: str = "v1", to: str = "v2") -> JSONObject:
    first = {"from": start, "to": to, "rules": list(rules), **({"preserve": list(preserve)} if preserve else {})}
    return {"metadata": {"name": "c"}, "spec": {"conversions": [first]}}


BACK = {"from": "v2", "to": "v1", "rules": [rule(".spec.name.first", "spec.firstName")], "preserve": [".spec.new"]}


def both(*rules: JSONObject) -> JSONObject:
    made = conversion(*rules)
    made["spec"]["conversions"].append(BACK)
    return made


def widget(version: str, spec: JSONObject, **annotations: str) -> JSONObject:
    metadata: JSONObject = {"name": "w"} | ({"annotations": annotations} if annotations else {})
    return {"apiVersion": f"example.io/{version}", "kind": "Widget", "metadata": metadata, "spec": spec}


def convert(rules: JSONObject, obj: JSONObject, to: str = "v2", timeout_s: float = 1.0) -> JSONObject:
    return RuleConversion(rules, SCHEMAS, timeout_s=timeout_s)(obj, f"example.io/{to}")


def test_values_are_copied_and_transformed() -> None:
    rules = conversion(
        rule("spec.firstName", ".spec.name.first"),
        rule(".spec.lastName", "spec.name.last", "self.upperAscii()"),
        rule(".spec.tags", "spec.counted", "{'first': self[0]}"),
        rule(".spec.since", "spec.year", "self.getFullYear()"),
    )
    given = widget("v1", {"firstName": "Bob", "lastName": "Jones", "tags": ["a", "b"], "since": "2024-05-06T07:08:09Z"})
    made = convert(rules, given)["spec"]
    assert (made["name"], made["counted"], made["year"]) == ({"first": "Bob", "last": "JONES"}, {"first": "a"}, 2024)
    assert "name" not in given["spec"]


def test_fields_that_are_not_there_go_nowhere() -> None:
    made = convert(conversion(rule("spec.firstName", "spec.name.first"), rule("spec.lastName", "spec.name.last", "self")), widget("v1", {}))
    assert made["spec"] == {}


def test_what_the_other_version_has_no_field_for_comes_back() -> None:
    rules = both(rule("spec.firstName", "spec.name.first"))
    given = widget("v2", {"name": {"first": "Bob"}, "new": {"hello": "world"}})
    old = convert(rules, given, "v1")
    assert old["metadata"]["annotations"] == {PRESERVED + "v2": '{"spec.new":{"hello":"world"}}'}
    assert old["spec"]["firstName"] == "Bob"
    del old["spec"]["new"]
    back = convert(rules, {**old, "apiVersion": "example.io/v1"})
    assert back["spec"]["new"] == {"hello": "world"}
    assert back["metadata"] == {"name": "w"}


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"metadata.uid":"mine","spec.other":1}'])
def test_an_annotation_puts_back_only_what_the_rules_name(text: str) -> None:
    made = convert(both(), widget("v1", {"firstName": "Bob"}, **{PRESERVED + "v2": text}))
    assert (made["metadata"], made["spec"]) == ({"name": "w"}, {"firstName": "Bob"})


def test_versions_without_rules_differ_in_their_names_only() -> None:
    assert convert(conversion(), widget("v2", {"a": 1}), "v1")["spec"] == {"a": 1}


@pytest.mark.parametrize(
    ("rules", "timeout_s", "told"),
    [
        (rule("spec.tags", "spec.x", "self[7]"), 1.0, "error executing transformation of spec.tags: index out of bounds: 7"),
        (rule("spec.firstName", "spec.lastName.x"), 1.0, 'error setting destination field "spec.lastName.x"'),
        (
            rule("spec.tags", "spec.x", "self.map(a, self.map(b, a + b))"),
            0.00001,
            "took longer than --conversion-cel-transformation-timeout",
        ),
    ],
)
def test_an_object_that_cannot_be_converted_says_why(rules: JSONObject, timeout_s: float, told: str) -> None:
    given = widget("v1", {"firstName": "Bob", "lastName": "Jones", "tags": ["a"] * 5})
    with pytest.raises(Unexplained) as failed:
        convert(conversion(rules), given, timeout_s=timeout_s)
    assert 'error converting Widget "w" from v1 to v2 by APIConversion "c"' in str(failed.value)
    assert told in str(failed.value)


def test_faulty_rules_convert_nothing() -> None:
    with pytest.raises(Unexplained, match="error compiling conversion rules"):
        convert(conversion(rule("none", "spec.x")), widget("v1", {}))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (conversion(start="v9"), 'spec.conversions[0].from: Invalid value: "v9": unable to find structural schema for version'),
        (conversion(to="v9"), 'spec.conversions[0].to: Invalid value: "v9": unable to find structural schema for version'),
        (conversion(rule("none", "spec.x")), 'spec.conversions[0].rules[0].field: Invalid value: "none": field "none" doesn\'t exist'),
        (conversion(rule("spec.some.where", "spec.x")), 'field "spec.some" doesn\'t exist'),
        (conversion(rule("apiVersion.foo", "spec.x")), 'expected field "apiVersion" to be an object'),
        (
            conversion(rule("spec.firstName", "spec.x", "self.foo was here")),
            'spec.conversions[0].rules[0].transformation: Invalid value: "self.foo was here": error compiling CEL program: ERROR: <input>',
        ),
        (conversion(rule("spec.firstName", "spec.x", "self + 1")), "found no matching overload"),
        (conversion(rule("spec.firstName", ".metadata.uid")), "must not be apiVersion, kind or part of metadata"),
        (conversion(rule("spec.firstName", "spec..x")), "must be the path of a field"),
        (conversion(preserve=("metadata.name",)), 'spec.conversions[0].preserve[0]: Invalid value: "metadata.name": must not be'),
    ],
)
def test_rules_that_cannot_work_are_faults(made: JSONObject, told: str) -> None:
    _, faults = compile_conversion(made, SCHEMAS)
    assert len(faults) == 1
    assert told in str(faults[0])
