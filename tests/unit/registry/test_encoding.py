"""The stored form: its order, its size limit, other versions."""

from __future__ import annotations

import orjson
import pytest

from kcp.apimachinery.errors import RequestEntityTooLarge
from kcp.apimachinery.keys import LOCAL, ObjectKey
from kcp.registry.encoding import encode, stored_item, with_api_version

OBJ = {"data": {"x": "1"}, "metadata": {"name": "a", "resourceVersion": "9", "labels": {"l": "v"}}, "kind": "K", "apiVersion": "g/v2"}
KEY = ObjectKey(LOCAL, "", "a")


def test_a_stored_object_begins_with_version_kind_and_an_empty_revision() -> None:
    expected = b'{"apiVersion":"g/v1","kind":"K","metadata":{"resourceVersion":"","labels":{"l":"v"},"name":"a"},"data":{"x":"1"}}'
    assert encode(OBJ, "g/v1") == expected
    assert OBJ["metadata"] == {"name": "a", "resourceVersion": "9", "labels": {"l": "v"}}, "the argument is left alone"


def test_the_revision_is_put_in_or_left_out() -> None:
    value = encode(OBJ, "g/v1")
    item = stored_item(KEY, value, 12)
    assert (item.decode()["metadata"]["resourceVersion"], item.revision, item.labels) == ("12", 12, {"l": "v"})
    assert "resourceVersion" not in stored_item(KEY, value, 0).decode()["metadata"]


def test_the_version_is_swapped_without_decoding() -> None:
    raw = encode(OBJ, "g/v1")
    assert orjson.loads(with_api_version(raw, "g/v1beta1"))["apiVersion"] == "g/v1beta1"
    assert with_api_version(raw, "g/v1") is raw


def test_an_object_that_is_too_large_is_refused() -> None:
    with pytest.raises(RequestEntityTooLarge):
        encode({**OBJ, "data": "x" * (1536 * 1024)}, "g/v1")
