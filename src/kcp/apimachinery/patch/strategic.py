"""Strategic merge patch: a merge patch that knows, from the schema, which lists are merged by a key.

Before: the PATCH handler (`application/strategic-merge-patch+json`) for built-in kinds. After: `strategic_lists` for lists.
Fields that the schema does not know merge as in a JSON merge patch.
Source: k8s.io/apimachinery/pkg/util/strategicpatch/patch.go; community/contributors/devel/sig-api-machinery/strategic-merge-patch.md.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import strategic_lists as lists
from kcp.apimachinery.patch.errors import PatchError
from kcp.apimachinery.schema.structural import Schema

__all__ = ["PatchError", "apply"]

_DIRECTIVE, _RETAIN_KEYS = "$patch", "$retainKeys"
_DELETE_FROM, _SET_ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def apply(doc: JSONObject, patch: JSONObject, schema: Schema) -> JSONObject:
    """The patched document; neither argument is changed.

    Raises: PatchError for an unknown directive, a list item without its merge key, or a `$setElementOrder` that contradicts the patch.
    """
    return merge_map(copy_json(doc), patch, schema)


def merge_map(original: JSONObject, patch: JSONObject, schema: Schema | None) -> JSONObject:
    """`original`, changed by `patch`. What is returned may share parts with `original`, never with `patch`."""
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return copy_json({key: value for key, value in patch.items() if key != _DIRECTIVE})  # type: ignore[no-any-return]
    if directive == "delete":
        return {}
    if _DIRECTIVE in patch and directive != "merge":
        raise PatchError(f"unknown patch type: {directive} in map")
    _retain_keys(original, patch)
    orders = {key.removeprefix(_SET_ORDER): value for key, value in patch.items() if key.startswith(_SET_ORDER)}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN_KEYS) or key.startswith(_SET_ORDER):
            continue
        if key.startswith(_DELETE_FROM):
            _delete_from(original, key.removeprefix(_DELETE_FROM), value)
        elif value is None:
            original.pop(key, None)
        else:
            _merge_field(original, key, value, schema, order=orders.pop(key, None))
    for key, order in orders.items():
        held = original.get(key)
        if isinstance(held, list):
            original[key] = lists.reorder(held, [], _checked_order(order), held, _merge_key(schema, key))
    return original


def _merge_field(original: JSONObject, key: str, value: Any, schema: Schema | None, *, order: Any) -> None:
    field = schema.child(key) if schema is not None else None
    held = original.get(key)
    if isinstance(value, dict) and isinstance(held, dict):
        replaces = field is not None and "replace" in field.patch_strategy
        original[key] = without_directives(value) if replaces else merge_map(held, value, field)
    elif isinstance(value, list) and isinstance(held, list) and _merges(field):
        assert field is not None
        original[key] = _merge_list(held, value, field, None if order is None else _checked_order(order))
    elif isinstance(value, list) and _merges(field) and key not in original:
        assert field is not None
        original[key] = _merge_list([], value, field, None)
    else:
        original[key] = without_directives(value)


def _merges(field: Schema | None) -> bool:
    return field is not None and "merge" in field.patch_strategy


def _merge_key(schema: Schema | None, key: str) -> str:
    field = schema.child(key) if schema is not None else None
    return field.merge_key if field is not None else ""


def _merge_list(original: list[Any], patch: list[Any], field: Schema, order: list[Any] | None) -> list[Any]:
    """Items matched by the merge key (objects) or by value (scalars). Without an order, the patch's own is one: new items come first."""
    merge_key, items = field.merge_key, field.items
    if not any(isinstance(item, (dict, list)) for item in [*original, *patch]):
        merged = list(dict.fromkeys([*original, *patch]))
        named = list(patch)
    else:
        if not merge_key:
            raise PatchError("cannot merge a list of objects without a merge key")
        step = lists.split(patch, merge_key)
        if step.replace:
            return [without_directives(item) for item in step.items]
        merged = lists.without(original, step.deleted, merge_key)
        lists.merge_items(merged, step.items, merge_key, lambda held, change: merge_map(held, change, items))
        named = step.items
    if order is None:
        return lists.reorder(merged, named, named, original, merge_key)
    lists.check_order(named, order, merge_key)
    return lists.reorder(merged, named, order, original, merge_key)


def _checked_order(order: Any) -> list[Any]:
    if not isinstance(order, list):
        raise PatchError("invalid $setElementOrder: it must be a list")
    return order


def _delete_from(original: JSONObject, key: str, values: Any) -> None:
    """`$deleteFromPrimitiveList/<key>`: these scalars go; an emptied list stays, as an empty list."""
    if not isinstance(values, list):
        raise PatchError(f"invalid {_DELETE_FROM}{key}: it must be a list")
    held = original.get(key)
    if isinstance(held, list):
        gone = {lists.identity(value, "") for value in values}
        original[key] = [item for item in held if lists.identity(item, "") not in gone]


def _retain_keys(original: JSONObject, patch: JSONObject) -> None:
    """`$retainKeys`: fields that are not listed go. What the patch sets must be listed."""
    if _RETAIN_KEYS not in patch:
        return
    kept = patch[_RETAIN_KEYS]
    if not isinstance(kept, list):
        raise PatchError("the value of $retainKeys must be a list")
    names = {key for key in kept if isinstance(key, str)}
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in names:
            raise PatchError(f"bad $retainKeys: {key} is patched but not in the list {kept}")
    for key in [key for key in original if key not in names]:
        del original[key]


def without_directives(value: Any) -> Any:
    """A value that is set as a whole: directives mean nothing there and are dropped, and so are nulls in objects."""
    if isinstance(value, dict):
        if value.get(_DIRECTIVE) == "delete":
            return {}
        return {key: without_directives(inner) for key, inner in value.items() if inner is not None and not _is_directive(key)}
    if isinstance(value, list):
        return [without_directives(item) for item in value if not (isinstance(item, dict) and _only_directs(item))]
    return value


def _only_directs(item: JSONObject) -> bool:
    """Whether a list item stands for an instruction, not for an item."""
    return item.get(_DIRECTIVE) == "delete" or item.keys() == {_DIRECTIVE}


def _is_directive(key: str) -> bool:
    return key in (_DIRECTIVE, _RETAIN_KEYS) or key.startswith((_DELETE_FROM, _SET_ORDER))
