"""Equality of values that a schema describes: lists that are sets or maps are equal whatever their order.

Before: `operations`. Source: k8s.io/apiserver/pkg/cel/common/values.go (unstructuredSetList, unstructuredMapList).
"""

from __future__ import annotations

from typing import Any

import orjson

from kcp.apimachinery.schema.node import Schema
from kcp.apimachinery.schema.ratchet import keys_of


def is_unordered(schema: Schema) -> bool:
    """Whether a value of this schema may hold a list whose order means nothing."""
    return _is_unordered(schema, 40)


def _is_unordered(schema: Schema, depth: int) -> bool:
    if schema.list_type in ("set", "map"):
        return True
    if not depth:
        return False
    below = (*schema.properties.values(), schema.items, schema.additional)
    return any(_is_unordered(child, depth - 1) for child in below if child is not None)


def typed_equals(schema: Schema | None, left: Any, right: Any) -> bool:
    """Whether two JSON values of one schema mean the same."""
    if schema is None or type(left) is not type(right) or left == right:
        return bool(left == right)
    if type(left) is list:
        return _equal_lists(schema, left, right)
    if type(left) is dict:
        return left.keys() == right.keys() and all(typed_equals(schema.child(key), held, right[key]) for key, held in left.items())
    return False


def _equal_lists(schema: Schema, left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    if schema.list_type == "set":
        return sorted(map(_encoded, left)) == sorted(map(_encoded, right))
    if schema.list_type == "map":
        others = {keys_of(schema, item): item for item in right}
        return all((key := keys_of(schema, item)) in others and typed_equals(schema.items, item, others[key]) for item in left)
    return all(typed_equals(schema.items, a, b) for a, b in zip(left, right, strict=True))


def _encoded(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
