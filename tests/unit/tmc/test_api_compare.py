"""Schemas of one API, in a workspace and in clusters."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apis.kubernetes.compute import compute_schemas
from kcp.tmc.apis.compare import KEEPS_ALL, Incompatible, lowest_common, refusals

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def obj(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields} | ({"required": list(required)} if required else {})


@pytest.mark.parametrize(
    ("wanted", "offered", "told"),
    [
        (obj(a=TEXT), obj(a=TEXT, b=TEXT), []),
        (obj(a=TEXT), obj(a=NUMBER), [".a: is integer there, not string"]),
        (obj(a={"type": "integer"}), obj(a={"type": "number"}), []),
        (obj(spec=obj(a=TEXT, b=TEXT)), obj(spec=obj(a=TEXT)), [".spec.b: is not known there"]),
        (obj(spec=obj(a=TEXT)), obj(spec=KEEPS_ALL), []),
        (obj(a=TEXT), KEEPS_ALL, []),
        (obj(a=TEXT), obj(("a",), a=TEXT), [".a: is required there"]),
        (obj(("a",), a=TEXT), obj(a=TEXT), []),
        (obj(a={**TEXT, "enum": ["x", "y"]}), obj(a={**TEXT, "enum": ["x"]}), [".a: does not take y there"]),
        (obj(a={**TEXT, "enum": ["x"]}), obj(a={**TEXT, "enum": ["x", "y"]}), []),
        (obj(a=TEXT), obj(a={**TEXT, "maxLength": 3}), [".a: maxLength is 3 there"]),
        (obj(a={**TEXT, "maxLength": 2}), obj(a={**TEXT, "maxLength": 3}), []),
        (obj(a={"type": "array", "items": TEXT}), obj(a={"type": "array", "items": NUMBER}), [".a[]: is integer there, not string"]),
        (obj(a={"type": "object", "additionalProperties": TEXT}), obj(a={"type": "object", "additionalProperties": NUMBER}),
         [".a.*: is integer there, not string"]),
        (obj(a={"x-kubernetes-int-or-string": True}), obj(a={"x-kubernetes-int-or-string": True}), []),
        (obj(metadata={"type": "object"}, a=TEXT), obj(a=TEXT), []),
    ],
)  # fmt: skip
def test_why_a_cluster_may_refuse(wanted: dict[str, Any], offered: dict[str, Any], told: list[str]) -> None:
    assert refusals(wanted, offered, is_native=False) == told


def test_an_older_cluster_may_lack_a_newer_field_of_kubernetes_itself() -> None:
    assert refusals(obj(a=TEXT, b=TEXT), obj(a=TEXT), is_native=True) == []
    assert refusals(obj(a=TEXT), obj(a=NUMBER), is_native=True)


def test_every_compute_schema_is_compatible_with_itself() -> None:
    for schema in compute_schemas():
        own = schema["spec"]["versions"][0]["schema"]
        assert refusals(own, own, is_native=False) == []
        assert refusals(own, lowest_common(own, own), is_native=False) == []


def test_what_two_clusters_have_in_common_is_taken_by_both() -> None:
    first = obj(("a",), a={**TEXT, "maxLength": 5, "enum": ["x", "y"]}, b=TEXT, c=NUMBER)
    second = obj(a={**TEXT, "maxLength": 3, "enum": ["y", "z"]}, c={"type": "number"}, d=TEXT)
    common = lowest_common(first, second)
    assert common == obj(("a",), a={**TEXT, "maxLength": 3, "enum": ["y"]}, c=NUMBER)
    for schema in (first, second):
        assert refusals(common, schema, is_native=False) == []


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (obj(a=TEXT), obj(a=NUMBER), r"\.a: is string in one cluster and integer in another"),
        (obj(("a",), a=TEXT), obj(b=TEXT), r"\.a: is required in one cluster and not known in another"),
        (obj(a={"enum": ["x"]}), obj(a={"enum": ["y"]}), "no value in common"),
        (obj(a={"pattern": "^x"}), obj(a={"pattern": "^y"}), "pattern"),
    ],
)
def test_what_has_nothing_in_common_is_told(first: dict[str, Any], second: dict[str, Any], told: str) -> None:
    with pytest.raises(Incompatible, match=told):
        lowest_common(first, second)


def test_what_schemas_of_kubernetes_own_kinds_say_is_required_does_not_matter() -> None:
    wanted, offered = obj(spec=obj(a=TEXT)), obj(("spec",), spec=obj(("a",), a=TEXT))
    assert refusals(wanted, offered, is_native=True) == []
    assert refusals(wanted, offered, is_native=False) == [".spec.a: is required there", ".spec: is required there"]
