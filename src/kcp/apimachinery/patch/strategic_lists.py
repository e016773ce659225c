"""Merging lists by key, for strategic merge patch: directives inside lists, matching, and the order of the result.

Before: `strategic`. Source: k8s.io/apimachinery/pkg/util/strategicpatch/patch.go (mergeSlice, normalizeElementOrder, mergeSortedSlice);
community/contributors/design-proposals/cli/preserve-order-in-strategic-merge-patch.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import orjson

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch.errors import PatchError


@dataclass(frozen=True, slots=True)
class ListPatch:
    """What a patch list of objects asks for."""

    items: list[JSONObject]
    """Items to merge or add, without their `$patch`."""
    deleted: list[Any]
    """Merge key values to delete."""
    replace: bool
    """`$patch: replace` stood in the list: `items` are the whole new list."""


def split(patch: list[Any], merge_key: str) -> ListPatch:
    """Sort a patch list's items by what they ask for."""
    items: list[JSONObject] = []
    deleted: list[Any] = []
    replace = False
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(f"a list merged by {merge_key} takes objects only, got {item!r}")
        directive = item.get("$patch")
        if "$patch" not in item or directive == "merge":
            items.append({key: value for key, value in item.items() if key != "$patch"})
        elif directive == "delete":
            deleted.append(_key_of(item, merge_key))
        elif directive == "replace":
            replace = True
            if len(item) > 1:
                items.append({key: value for key, value in item.items() if key != "$patch"})
        else:
            raise PatchError(f"unknown patch type: {directive} in list")
    return ListPatch(items, deleted, replace)


def _key_of(item: JSONObject, merge_key: str) -> Any:
    if item.get(merge_key) is None:
        raise PatchError(f"map: {item} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def identity(item: Any, merge_key: str) -> Hashable:
    """What an item is known by in a list: the value of its merge key, or itself. Lists of thousands are matched by it in one pass."""
    if isinstance(item, dict):
        return (_OF_OBJECT, _hashable(item.get(merge_key)))
    return _hashable(item)


_OF_OBJECT = object()
"""An object with the key "a" is not the text "a"."""


def _hashable(value: Any) -> Hashable:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if isinstance(value, (dict, list)) else value


def without(original: list[Any], deleted: list[Any], merge_key: str) -> list[Any]:
    """`original` without the objects that have one of these values as their key."""
    gone = {identity({merge_key: value}, merge_key) for value in deleted}
    return [item for item in original if identity(item, merge_key) not in gone] if gone else list(original)


def merge_items(merged: list[Any], items: list[JSONObject], merge_key: str, merge: Callable[[JSONObject, JSONObject], JSONObject]) -> None:
    """Merge each item into the first one with its key, or append it; changes `merged`."""
    positions = _positions(merged, merge_key)
    for item in items:
        _key_of(item, merge_key)
        known_by = identity(item, merge_key)
        at = positions.get(known_by)
        if at is None:
            positions[known_by] = len(merged)
            merged.append(merge({}, item))
        else:
            merged[at] = merge(merged[at], item)


def check_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """Items of the patch must stand in the order that `$setElementOrder` gives."""
    held = _positions(order, merge_key)
    positions = [held.get(identity(item, merge_key), -1) for item in patch]
    if any(position < 0 for position in positions) or positions != sorted(positions):
        raise PatchError(f"The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")


def reorder(merged: list[Any], patch: list[Any], order: list[Any], server: list[Any], merge_key: str) -> list[Any]:
    """Put `merged` in order: items named by `order` (or by the patch) as it says, the server's own kept in their places between them.

    The relative order of either group never changes. Args: server the list before the patch.
    """
    ordered, named, before = (_positions(items, merge_key) for items in (order, patch, server))
    known = [(identity(item, merge_key), item) for item in merged]
    placed = [(ordered.get(known_by, -1), known_by, item) for known_by, item in known if known_by in ordered or known_by in named]
    placed.sort(key=lambda entry: entry[0])
    own = [(before.get(known_by, -1), item) for known_by, item in known if known_by not in ordered and known_by not in named]
    own.sort(key=lambda entry: entry[0])
    result: list[Any] = []
    own_at = placed_at = 0
    while own_at < len(own) and placed_at < len(placed):
        mine, theirs = own[own_at][0], before.get(placed[placed_at][1], -1)
        if 0 <= mine < theirs:
            result.append(own[own_at][1])
            own_at += 1
        else:
            result.append(placed[placed_at][2])
            placed_at += 1
    result += [item for _, item in own[own_at:]]
    result += [item for _, _, item in placed[placed_at:]]
    return copy_json(result)  # type: ignore[no-any-return]


def _positions(items: list[Any], merge_key: str) -> dict[Hashable, int]:
    """Where each item stands first."""
    found: dict[Hashable, int] = {}
    for index, item in enumerate(items):
        found.setdefault(identity(item, merge_key), index)
    return found
