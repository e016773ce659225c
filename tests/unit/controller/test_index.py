"""Indexes of an informer: one key, many keys, moving and leaving; order of answers."""

from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.controller.index import Index


def key(name: str) -> ObjectKey:
    return ObjectKey(ClusterName("c"), "", name)


def test_keys_are_found_in_order_and_leave_with_their_value() -> None:
    index = Index(lambda obj: obj["on"])
    for name in "cab":
        index.replace(key(name), None, {"on": ["x"]})
    assert index.keys("x") == [key("a"), key("b"), key("c")]
    index.replace(key("a"), {"on": ["x"]}, {"on": ["y", "z"]})
    assert index.keys("x") == [key("b"), key("c")]
    assert index.keys("y") == index.keys("z") == [key("a")]
    for name in "bc":
        index.replace(key(name), {"on": ["x"]}, None)
    assert index.keys("x") == []
    assert index.values() == ["y", "z"]


def test_the_same_value_again_changes_nothing() -> None:
    index = Index(lambda obj: obj["on"])
    index.replace(key("a"), None, {"on": ["x", "x"]})
    index.replace(key("a"), {"on": ["x"]}, {"on": ["x"]})
    assert index.keys("x") == [key("a")]
