"""JSON Patch.

Before: the PATCH handler (`application/json-patch+json`). The texts are those of the library inside kube-apiserver: people search for them.
Source: RFC 6902; github.com/evanphx/json-patch v4 (patch.go); apiserver/pkg/endpoints/handlers/patch.go (limit of operations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import pointer
from kcp.apimachinery.patch.errors import PatchError, TestFailed

__all__ = ["MAX_OPERATIONS", "PatchError", "TestFailed", "apply"]

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024
"""What all `copy` operations of a patch may add. Source: apiserver/pkg/server/config.go (JSONPatchMaxCopyBytes)."""
_MOST_SHIFTED = 50_000_000
"""List items that insertions and removals may move along; some 50 ms."""


@dataclass(slots=True)
class _Spent:
    """What a patch has cost so far."""

    copied_bytes: int = 0
    shifted: int = 0

    def copy(self, value: Any) -> Any:
        """A copy. Raises PatchError beyond what all copies together may add."""
        try:
            self.copied_bytes += len(orjson.dumps(value))
        except TypeError as error:  # the copy of a copy of a copy …
            raise PatchError(f"Unable to complete the copy: {error}") from error
        if self.copied_bytes > MAX_COPIED_BYTES:
            raise PatchError(
                f"Unable to complete the copy, the accumulated size increase of copy is {self.copied_bytes}, "
                f"exceeding the limit {MAX_COPIED_BYTES}"
            )
        return copy_json(value)

    def shift(self, items: int) -> None:
        self.shifted += items
        if self.shifted > _MOST_SHIFTED:
            raise PatchError(f"the operations move more than {_MOST_SHIFTED} list items in all")


def apply(doc: Any, operations: list[JSONObject]) -> Any:
    """The document after all operations; `doc` is not changed.

    Raises: TestFailed, PatchError. Either all operations apply, or none does.
    """
    _check(operations)
    result, spent = copy_json(doc), _Spent()
    for operation in operations:
        result = _apply_one(result, operation, spent)
    return result


def _check(operations: Any) -> None:
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise PatchError("error decoding patch: a JSON patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        limit = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise PatchError(limit)


def _apply_one(document: Any, operation: JSONObject, spent: _Spent) -> Any:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchError(f"{kind} operation failed to decode path: missing value")
    steps = pointer.parse(path)
    if kind in ("add", "replace", "test"):
        if "value" not in operation and kind != "test":
            raise PatchError(f"{kind} operation at {path} has no value: missing value")
        if kind == "test":
            return _test(document, steps, path, operation.get("value"))
        value = copy_json(operation["value"])
        return _add(document, steps, path, value, spent) if kind == "add" else _replace(document, steps, path, value)
    if kind == "remove":
        return _remove(document, steps, path, "remove", spent)
    if kind in ("move", "copy"):
        return _transfer(document, operation, steps, path, spent)
    raise PatchError(f"Unexpected kind: {kind}" if kind else "Unexpected kind: unknown")


def _parent(document: Any, steps: tuple[str, ...], path: str, kind: str) -> Any:
    try:
        found = pointer.get(document, steps[:-1])
    except LookupError:
        found = None
    if not isinstance(found, (dict, list)):
        raise PatchError(f'{kind} operation does not apply: doc is missing path: "{path}": missing value')
    return found


def _add(document: Any, steps: tuple[str, ...], path: str, value: Any, spent: _Spent) -> Any:
    if not steps:
        return value
    parent = _parent(document, steps, path, "add")
    if isinstance(parent, list):
        at = pointer.index(steps[-1], len(parent), adding=True)
        spent.shift(len(parent) - at)
        parent.insert(at, value)
    else:
        parent[steps[-1]] = value
    return document


def _replace(document: Any, steps: tuple[str, ...], path: str, value: Any) -> Any:
    if not steps:
        return value
    parent = _parent(document, steps, path, "replace")
    if isinstance(parent, list):
        parent[pointer.index(steps[-1], len(parent))] = value
    else:
        parent[steps[-1]] = value  # though RFC 6902 wants it to be there: v4 does not look, and clients rely on that
    return document


def _remove(document: Any, steps: tuple[str, ...], path: str, kind: str, spent: _Spent) -> Any:
    if not steps:
        return None
    parent = _parent(document, steps, path, kind)
    if isinstance(parent, list):
        at = pointer.index(steps[-1], len(parent))
        spent.shift(len(parent) - at)
        del parent[at]
    elif steps[-1] in parent:
        del parent[steps[-1]]
    else:
        raise PatchError(f"{kind} operation does not apply: doc is missing key: {path}: missing value")
    return document


def _test(document: Any, steps: tuple[str, ...], path: str, value: Any) -> Any:
    try:
        found = pointer.get(document, steps)
    except LookupError:
        if value is None:
            return document
        raise TestFailed(f"testing path {path} failed: missing value") from None
    if not _equal(found, value):
        raise TestFailed(f"testing value {path} failed: test failed")
    return document


def _equal(left: Any, right: Any) -> bool:
    """JSON equality: numbers by value, and true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _transfer(document: Any, operation: JSONObject, steps: tuple[str, ...], path: str, spent: _Spent) -> Any:
    kind, source = operation["op"], operation.get("from")
    if not isinstance(source, str):
        raise PatchError(f"{kind} operation failed to decode from: missing value")
    source_steps = pointer.parse(source)
    try:
        value = pointer.get(document, source_steps)
    except LookupError:
        raise PatchError(f'{kind} operation does not apply: doc is missing from path: "{source}": missing value') from None
    if kind == "copy":
        return _add(document, steps, path, spent.copy(value), spent)
    if source_steps == steps:
        return document
    if steps[: len(source_steps)] == source_steps:
        raise PatchError(f'move operation does not apply: "{path}" lies inside "{source}"')
    return _add(_remove(document, source_steps, source, kind, spent), steps, path, value, spent)
