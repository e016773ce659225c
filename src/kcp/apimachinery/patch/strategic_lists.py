"""Merging lists by key, for strategic merge patch: directives inside lists, matching, and the order of the result.

Before: `strategic`. Source: k8s.io/apimachinery/pkg/util/strategicpatch/patch.go (mergeSlice, normalizeElementOrder, mergeSortedSlice);
community/contributors/design-proposals/cli/preserve-order-in-strategic-merge-patch.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


def without(original: list[Any], deleted: list[Any], merge_key: str) -> list[Any]:
    return [item for item in original if not (isinstance(item, dict) and item.get(merge_key) in deleted)] if deleted else list(original)


def merge_item(merged: list[Any], item: JSONObject, merge_key: str, merge: Callable[[JSONObject, JSONObject], JSONObject]) -> None:
    """Merge `item` into the first item with its key, or append it."""
    wanted = _key_of(item, merge_key)
    for index, held in enumerate(merged):
        if isinstance(held, dict) and held.get(merge_key) == wanted:
            merged[index] = merge(held, item)
            return
    merged.append(merge({}, item))


def check_order(patch: list[Any], order: list[Any], merge_key: str) -> None:
    """Items of the patch must stand in the order that `$setElementOrder` gives."""
    positions = [_position(order, item, merge_key) for item in patch]
    if any(position < 0 for position in positions) or positions != sorted(positions):
        raise PatchError(f"The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")


def reorder(merged: list[Any], patch: list[Any], order: list[Any], server: list[Any], merge_key: str) -> list[Any]:
    """Put `merged` in order: items named by `order` (or by the patch) as it says, the server's own kept in their places between them.

    The relative order of either group never changes. Args: server the list before the patch.
    """
    placed = [item for item in merged if _position(order, item, merge_key) >= 0 or _position(patch, item, merge_key) >= 0]
    placed.sort(key=lambda item: _position(order, item, merge_key))
    own = [item for item in merged if not any(item is other for other in placed)] if merge_key else [i for i in merged if i not in placed]
    own.sort(key=lambda item: _position(server, item, merge_key))
    result: list[Any] = []
    while own and placed:
        mine, theirs = _position(server, own[0], merge_key), _position(server, placed[0], merge_key)
        result.append(own.pop(0) if 0 <= mine < theirs else placed.pop(0))
    return copy_json([*result, *own, *placed])  # type: ignore[no-any-return]


def _position(items: list[Any], item: Any, merge_key: str) -> int:
    """Where the item with the same key (or value) stands, or -1."""
    for index, other in enumerate(items):
        if isinstance(item, dict) and isinstance(other, dict):
            if other.get(merge_key) == item.get(merge_key):
                return index
        elif other == item:
            return index
    return -1
