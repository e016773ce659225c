"""Field sets: the FieldsV1 form, set operations, printed paths."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery.apply.fields import FieldSet, item_key, item_value, path_text
from kcp.apimachinery.meta import copy_json

STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', "v:1", "i:0"])
PATHS = st.lists(STEPS, min_size=1, max_size=3).map(tuple)
SETS = st.lists(PATHS, max_size=6)


def test_fields_v1_is_read_and_written() -> None:
    # kubernetes.io/docs/reference/using-api/server-side-apply, first example.
    v1 = {"f:metadata": {"f:labels": {".": {}, "f:test-label": {}}}, "f:data": {".": {}, "f:key": {}}}
    fields = FieldSet.from_v1(v1)
    assert list(fields) == [("f:data",), ("f:data", "f:key"), ("f:metadata", "f:labels"), ("f:metadata", "f:labels", "f:test-label")]
    assert fields.to_v1() == v1


@given(SETS)
def test_a_set_survives_the_round_trip_through_fields_v1(paths: list[tuple[str, ...]]) -> None:
    fields = FieldSet.of(*paths)
    assert set(fields) == set(paths)
    assert FieldSet.from_v1(orjson.loads(orjson.dumps(fields.to_v1()))) == fields
    assert all(path in fields for path in paths)


@given(SETS, SETS)
def test_set_operations_agree_with_sets_of_paths(left: list[Any], right: list[Any]) -> None:
    a, b = FieldSet.of(*left), FieldSet.of(*right)
    before = copy_json([a.tree, b.tree])
    assert set(a | b) == set(left) | set(right)
    assert set(a & b) == set(left) & set(right)
    assert set(a - b) == set(left) - set(right)
    assert bool(a - b) == bool(set(left) - set(right))
    assert set(a.without(b)) == {p for p in left if not any(p[: len(q)] == q for q in right)}
    assert [a.tree, b.tree] == before


@given(SETS, SETS)
def test_equal_sets_have_one_form(left: list[Any], right: list[Any]) -> None:
    joined = FieldSet.of(*left) | FieldSet.of(*right)
    assert joined == FieldSet.of(*right, *left)
    assert (joined - FieldSet.of(*right)) == FieldSet.of(*(set(left) - set(right)))


def test_keys_are_written_in_one_form_whoever_wrote_them() -> None:
    written = item_key({"protocol": "TCP", "containerPort": 80})
    assert written == 'k:{"containerPort":80,"protocol":"TCP"}'
    assert FieldSet.from_v1({'k:{"protocol": "TCP", "containerPort": 80}': {}}).tree == {written: {}}
    assert item_value("a") == 'v:"a"'


def test_paths_are_printed_as_upstream() -> None:
    port = 'k:{"containerPort":80,"protocol":"TCP"}'
    assert path_text(("f:spec", "f:ports", port, "f:name")) == '.spec.ports[containerPort=80,protocol="TCP"].name'
    assert path_text(("f:metadata", "f:finalizers", 'v:"x"')) == '.metadata.finalizers[="x"]'
    assert path_text(("f:list", "i:3")) == ".list[3]"


@pytest.mark.parametrize("bad", [{"x:a": {}}, {"k:{": {}}, {"i:x": {}}, {"f:a": 1}])
def test_a_step_that_is_none_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="FieldsV1"):
        FieldSet.from_v1(bad)
