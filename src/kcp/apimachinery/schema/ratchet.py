"""What an update left as it was: parts of the new object beside their counterparts in the old one.

A field is found by its name, an entry of a map by its key, an item of a list of type `map` by its keys; items of other lists are not found.
Before: `validate`, `cel.rules`, `cel.equality`. Source: k8s.io/apiserver/pkg/cel/common/equality.go (CorrelatedObject), KEP-4008.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from kcp.apimachinery.schema.node import Schema


def is_unchanged(node: Schema | None, new: Any, old: Any) -> bool:
    """Whether two values are equal, but for the order of the items of lists that have keys."""
    if new == old:
        return type(new) is type(old) or not isinstance(new, bool) and not isinstance(old, bool)
    if node is None or type(new) is not type(old) or len(new := _sized(new)) != len(old := _sized(old)):
        return False
    if type(new) is dict:
        return all(name in old and is_unchanged(node.child(name), held, old[name]) for name, held in new.items())
    if not new or not (before := by_keys(node, old)):
        return False
    return all((key := keys_of(node, item)) in before and is_unchanged(node.items, item, before[key]) for item in new)


def _sized(value: Any) -> Any:
    return value if type(value) is dict or type(value) is list else ()


def by_keys(node: Schema, items: Any) -> Mapping[bytes, Any]:
    """The items of a list by what tells them apart; empty for a list without keys."""
    if node.list_type != "map" or type(items) is not list:
        return {}
    return {keys_of(node, item): item for item in items}


def keys_of(node: Schema, item: Any) -> bytes:
    """What tells an item of a list of type `map` from the others."""
    held = item if isinstance(item, dict) else {}
    return orjson.dumps([held.get(key) for key in node.list_keys], option=orjson.OPT_SORT_KEYS)
