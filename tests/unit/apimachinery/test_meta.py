"""What keeps objects small in memory."""

from __future__ import annotations

import sys

import orjson

from kcp.apimachinery import meta


def test_encoded_objects_are_no_larger_than_their_text() -> None:
    obj = {"metadata": {"name": "a", "labels": {"app": "web"}}}
    encoded = meta.encode(obj)
    assert orjson.loads(encoded) == obj
    assert sys.getsizeof(encoded) == sys.getsizeof(b"") + len(encoded)
