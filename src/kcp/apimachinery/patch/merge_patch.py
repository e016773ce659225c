"""JSON merge patch: applying one, and finding the one between two documents.

Before: the PATCH handler (`application/merge-patch+json`), controllers' `commit`. Source: RFC 7386.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.meta import copy_json


def apply(doc: Any, patch: Any) -> Any:
    """The patched document; neither argument is changed and the result shares nothing with them.

    >>> apply({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    if not isinstance(patch, dict):
        return copy_json(patch)
    old = doc if isinstance(doc, dict) else {}
    result = {key: value if key in patch else copy_json(value) for key, value in old.items()}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(result.get(key), value)
    return result


def diff(old: Any, new: Any) -> Any:
    """The merge patch that turns `old` into `new`; {} when they are equal.

    A merge patch cannot set null: where `new` has a null that `old` lacks, the patch leaves the field out.

    >>> diff({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4, "d": 3}})
    {'a': None, 'b': {'c': 4}}
    """
    if not isinstance(old, dict) or not isinstance(new, dict):
        return _without_nulls(new)
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = _without_nulls(value)
        elif not _same(old[key], value):
            patch[key] = diff(old[key], value) if isinstance(old[key], dict) and isinstance(value, dict) else _without_nulls(value)
    return patch


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _without_nulls(value: Any) -> Any:
    """A value to be set by a patch; applying would drop its nulls anyway."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return copy_json(value)
