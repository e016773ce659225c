"""Served items: the spliced resourceVersion, labels read without decoding, shared frames."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.storage.item import WatchEvent, at_revision, labels_of, make_item

KEY = ObjectKey(ClusterName("root"), "default", "a")


def encode(metadata: dict[str, Any], **rest: Any) -> bytes:
    return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "", **metadata}, **rest})


def test_the_resource_version_is_filled_in_once_and_nowhere_else() -> None:
    item = make_item(
        KEY, encode({"name": "a"}, data={"x": '"metadata":{"resourceVersion":""'}, spec={"metadata": {"resourceVersion": ""}}), 42
    )
    obj = item.decode()
    assert obj["metadata"] == {"resourceVersion": "42", "name": "a"}
    assert obj["spec"] == {"metadata": {"resourceVersion": ""}}
    assert item.revision == 42


def test_an_item_at_another_revision_keeps_its_content() -> None:
    item = make_item(KEY, encode({"name": "a", "labels": {"x": "y"}}), 42)
    moved = at_revision(item, 1234)
    assert moved.decode() == {**item.decode(), "metadata": {"resourceVersion": "1234", "name": "a", "labels": {"x": "y"}}}
    assert (moved.key, moved.revision, moved.labels) == (KEY, 1234, {"x": "y"})


@pytest.mark.parametrize(
    ("metadata", "rest", "labels"),
    [
        ({"name": "a"}, {}, {}),
        ({"name": "a", "labels": {}}, {}, {}),
        ({"name": "a", "labels": None}, {}, {}),
        ({"name": "a", "labels": {"app": "web", "example.com/x": ""}}, {}, {"app": "web", "example.com/x": ""}),
        ({"annotations": {"a": "{}"}, "labels": {"app": "web"}}, {}, {"app": "web"}),
        ({"annotations": {"labels": '"labels":{"no":"no"}'}}, {}, {}),
        ({"managedFields": [{"fieldsV1": {"f:metadata": {"f:labels": {"f:x": {}}}}}], "labels": {"x": "1"}}, {}, {"x": "1"}),
        ({"ownerReferences": [{"name": "labels"}]}, {"spec": {"template": {"metadata": {"labels": {"no": "no"}}}}}, {}),
        ({"labels": {"yes": "1"}}, {"spec": {"template": {"metadata": {"labels": {"no": "no"}}}}}, {"yes": "1"}),
        ({"name": "a"}, {"labels": {"no": "no"}}, {}),
    ],
)
def test_labels_are_those_of_the_metadata(metadata: dict[str, Any], rest: dict[str, Any], labels: dict[str, str]) -> None:
    assert labels_of(encode(metadata, **rest)) == labels


def test_labels_of_an_object_whose_metadata_comes_last_are_found() -> None:
    assert labels_of(b'{"spec":{"labels":{"no":"no"}},"metadata":{"labels":{"yes":"1"}}}') == {"yes": "1"}
    assert labels_of(b'{"labels":{"no":"no"},"metadata":{}}') == {}
    assert labels_of(b'{"labels":{"no":"no"}}') == {}


def test_a_frame_is_encoded_once() -> None:
    event = WatchEvent("ADDED", make_item(KEY, encode({"name": "a"}), 7), 7)
    assert orjson.loads(event.frame) == {"type": "ADDED", "object": event.item.decode()} if event.item else False
    assert event.frame.endswith(b"}\n")
    assert event.frame is event.frame


def test_objects_with_the_same_labels_share_one_map_that_nobody_can_change() -> None:
    first, second = (labels_of(b'{"metadata":{"resourceVersion":"","labels":{"app":"web"},"name":"%d"}}' % n) for n in range(2))
    assert first is second
    with pytest.raises(TypeError):
        first["app"] = "db"  # type: ignore[index]


def test_an_event_is_encoded_once_for_all_who_want_the_same_form_and_keeps_few_forms() -> None:
    event = WatchEvent("ADDED", None, 1)
    first = event.in_form("metadata", lambda _: b"a")
    assert event.in_form("metadata", lambda _: b"b") is first
    assert event.in_form("table", lambda _: b"c") == b"c"
    for second in range(100):
        event.in_form(second, lambda _: b"row")
    assert event.in_form("metadata", lambda _: b"b") == b"b", "made anew"
