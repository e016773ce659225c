"""JSON Patch. Examples: RFC 6902 appendix A (numbered); texts of github.com/evanphx/json-patch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery.meta import copy_json
from kcp.apimachinery.patch import json_patch, pointer


@pytest.mark.parametrize(
    ("doc", "operations", "expected"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),  # A.1
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),  # A.2
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),  # A.3
        ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),  # A.4
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),  # A.5
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),  # A.6
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"baz": "qux", "foo": ["a", 2, "c"]}, [{"op": "test", "path": "/foo/1", "value": 2}], {"baz": "qux", "foo": ["a", 2, "c"]}),  # A.8
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
            {"foo": "bar", "child": {"grandchild": {}}},
        ),  # A.10
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),  # A.14
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc"]}], {"foo": ["bar", ["abc"]]}),  # A.16
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], {"a": 1}),
    ],
)
def test_operations_apply(doc: Any, operations: list[dict[str, Any]], expected: Any) -> None:
    before = copy_json(doc)
    assert json_patch.apply(doc, operations) == expected
    assert doc == before


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ({"op": "add", "path": "/a/b/c", "value": 1}, 'add operation does not apply: doc is missing path: "/a/b/c": missing value'),
        ({"op": "remove", "path": "/x"}, "remove operation does not apply: doc is missing key: /x: missing value"),
        ({"op": "remove", "path": "/list/7"}, "Unable to access invalid index: 7: invalid index referenced"),
        ({"op": "copy", "from": "/x", "path": "/y"}, 'copy operation does not apply: doc is missing from path: "/x": missing value'),
        ({"op": "test", "path": "/x", "value": 1}, "testing path /x failed: missing value"),
        ({"op": "test", "path": "/list/0", "value": True}, "testing value /list/0 failed: test failed"),
        ({"op": "explode", "path": "/x"}, "Unexpected kind: explode"),
        ({"op": "add", "value": 1}, "add operation failed to decode path: missing value"),
        ({"op": "move", "from": "/a", "path": "/a/b"}, 'move operation does not apply: "/a/b" lies inside "/a"'),
    ],
)
def test_what_does_not_apply_is_said_as_upstream(operation: dict[str, Any], text: str) -> None:
    with pytest.raises(json_patch.PatchError) as raised:
        json_patch.apply({"a": {}, "list": [1]}, [operation])
    assert str(raised.value) == text


def test_a_failed_test_has_its_own_class() -> None:
    with pytest.raises(json_patch.TestFailed):
        json_patch.apply({}, [{"op": "test", "path": "/metadata", "value": 1}])


def test_nothing_applies_when_one_operation_fails() -> None:
    doc = {"a": 1}
    with pytest.raises(json_patch.PatchError):
        json_patch.apply(doc, [{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}])
    assert doc == {"a": 1}


def test_too_many_operations_are_refused() -> None:
    with pytest.raises(json_patch.PatchError, match="allowed maximum operations in a JSON patch is 10000, got 10001"):
        json_patch.apply({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)


@given(st.lists(st.text(), min_size=1))
def test_a_pointer_round_trips_through_escaping(steps: list[str]) -> None:
    assert pointer.parse("".join("/" + pointer.escape(step) for step in steps)) == tuple(steps)


def test_replace_adds_a_missing_key_as_the_library_inside_kube_apiserver_does() -> None:
    assert json_patch.apply({"a": 1}, [{"op": "replace", "path": "/x", "value": 1}]) == {"a": 1, "x": 1}
