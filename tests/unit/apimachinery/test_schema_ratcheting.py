"""What an update of a custom resource may leave as it was, though its schema forbids it by now.

Source: KEP-4008; apiextensions-apiserver/pkg/apiserver/validation/ratcheting_test.go, k8s.io/apiserver/pkg/cel/common/equality.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.compile import compile_schema

SHORT: JSONObject = {"type": "string", "maxLength": 3}
ITEM: JSONObject = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "value": SHORT, "other": SHORT},
}
SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "text": SHORT,
            "other": {"type": "string"},
            "map": {"type": "object", "additionalProperties": SHORT, "maxProperties": 2},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": ITEM},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": SHORT},
            "atomic": {"type": "array", "items": SHORT},
            "few": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
            "part": {"type": "object", "required": ["must"], "properties": {"must": SHORT, "may": SHORT}},
            "any": {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "allOf": [{"properties": {"a": {"maxLength": 3}}}],
                "anyOf": [{"properties": {"b": {"enum": ["x"]}}}, {"properties": {"b": {"enum": ["y"]}}}],
            },
        },
    }
)
LONG = "too long"


def faults(old: JSONObject, new: JSONObject) -> list[str]:
    return [cause.field for cause in SCHEMA.validate_update(new, old)]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        pytest.param({"text": LONG}, {"text": LONG, "other": "a"}, [], id="an unchanged field"),
        pytest.param({"text": LONG}, {"text": LONG + "!"}, ["text"], id="a changed field"),
        pytest.param({}, {"text": LONG}, ["text"], id="a new field"),
        pytest.param({"map": {"a": LONG}}, {"map": {"a": LONG, "b": "ok"}}, [], id="an unchanged value in a changed map"),
        pytest.param({"map": {"a": LONG}}, {"map": {"a": LONG, "b": LONG}}, ["map.b"], id="a new value in a map"),
        pytest.param(
            {"map": {"a": "1", "b": "2", "c": "3"}}, {"map": {"a": "1", "b": "2", "c": "4"}}, ["map"], id="a changed map's own limit"
        ),
        pytest.param({"map": {"a": "1", "b": "2", "c": "3"}}, {"map": {"c": "3", "b": "2", "a": "1"}}, [], id="a map is not ordered"),
        pytest.param({"part": {"may": "a"}}, {"part": {"may": "b"}}, ["part.must"], id="a changed object must have what is required"),
        pytest.param({"part": {"may": "a"}}, {"part": {"may": "a"}, "other": "a"}, [], id="an unchanged object need not"),
        pytest.param(
            {"keyed": [{"name": "a", "value": LONG}]},
            {"keyed": [{"name": "b", "value": "ok"}, {"name": "a", "value": LONG}]},
            [],
            id="an item is found by its keys",
        ),
        pytest.param(
            {"keyed": [{"name": "a", "value": LONG}]},
            {"keyed": [{"name": "a", "value": LONG, "other": "ok"}]},
            [],
            id="a field of a changed item",
        ),
        pytest.param(
            {"keyed": [{"name": "a", "value": LONG}]},
            {"keyed": [{"name": "b", "value": LONG}]},
            ["keyed[0].value"],
            id="an item under another key is new",
        ),
        pytest.param({"set": [LONG]}, {"set": [LONG]}, [], id="an unchanged set"),
        pytest.param({"set": [LONG]}, {"set": [LONG, "ok"]}, ["set[0]"], id="items of a changed set are not found"),
        pytest.param({"atomic": [LONG]}, {"atomic": [LONG], "other": "a"}, [], id="an unchanged atomic list"),
        pytest.param({"atomic": [LONG]}, {"atomic": [LONG, "ok"]}, ["atomic[0]"], id="items of a changed atomic list are not found"),
        pytest.param({"few": ["a", "b"]}, {"few": ["a", "c"]}, ["few"], id="a changed list's own limit, word for word"),
        pytest.param({"any": {"a": LONG, "b": "x"}}, {"any": {"a": LONG, "b": "y"}}, [], id="below allOf"),
        pytest.param({"any": {"a": "ok", "b": "z"}}, {"any": {"a": "no", "b": "z"}}, [], id="below anyOf"),
        pytest.param({"text": 5}, {"text": 5, "other": "a"}, [], id="an unchanged value of another type"),
    ],
)
def test_only_what_changed_is_validated(old: JSONObject, new: JSONObject, found: list[str]) -> None:
    assert faults(old, new) == found


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"set": ["a"]}, {"set": ["a", "a"]}, ["set[1]"]),
        ({"set": ["a", "a"]}, {"set": ["a", "a", "b"]}, []),
        ({"set": ["a", "a"]}, {"set": ["a", "a"], "keyed": [{"name": "a"}, {"name": "a"}]}, []),
    ],
)
def test_repeated_items_are_let_through_where_there_were_some(old: Any, new: Any, found: list[str]) -> None:
    # customresource/strategy.go, ValidateUpdate: ratcheting of x-kubernetes-list-type.
    assert faults(old, new) == found


def test_items_of_a_keyed_list_in_another_order_are_unchanged() -> None:
    held = [{"name": "a", "value": LONG}, {"name": "b", "value": LONG}]
    assert faults({"keyed": held}, {"keyed": held[::-1]}) == []
