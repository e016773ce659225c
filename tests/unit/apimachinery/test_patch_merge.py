"""JSON merge patch. Examples: RFC 7386 appendix A."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery.meta import copy_json
from kcp.apimachinery.patch import merge_patch

SCALARS = st.booleans() | st.integers() | st.text(max_size=3)
KEYS = st.sampled_from(["a", "b", "c"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=3)
PATCHES = st.dictionaries(KEYS, st.none() | JSON | st.dictionaries(KEYS, st.none() | JSON, max_size=3), max_size=3)


@pytest.mark.parametrize(
    ("doc", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_examples_of_the_rfc(doc: Any, patch: Any, expected: Any) -> None:
    assert merge_patch.apply(doc, patch) == expected


@given(OBJECTS, OBJECTS)
def test_a_difference_leads_from_old_to_new(old: Any, new: Any) -> None:
    assert merge_patch.apply(old, merge_patch.diff(old, new)) == new


@given(OBJECTS)
def test_no_difference_is_an_empty_patch(doc: Any) -> None:
    assert merge_patch.diff(doc, copy_json(doc)) == {}


@given(OBJECTS, PATCHES)
def test_applying_twice_is_applying_once_and_changes_no_argument(doc: Any, patch: Any) -> None:
    before = copy_json([doc, patch])
    once = merge_patch.apply(doc, patch)
    assert merge_patch.apply(once, patch) == once
    assert [doc, patch] == before


def test_true_and_one_differ() -> None:
    assert merge_patch.diff({"a": 1}, {"a": True}) == {"a": True}
