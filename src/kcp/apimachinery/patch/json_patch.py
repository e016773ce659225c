"""JSON Patch.

Before: the PATCH handler (`application/json-patch+json`). The texts are those of the library inside kube-apiserver: people search for them.
Source: RFC 6902; github.com/evanphx/json-patch v4 (patch.go); apiserver/pkg/endpoints/handlers/patch.go (limit of operations).
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import pointer
from kcp.apimachinery.patch.errors import PatchError, TestFailed

__all__ = ["MAX_OPERATIONS", "PatchError", "TestFailed", "apply"]

MAX_OPERATIONS = 10_000


def apply(doc: Any, operations: list[JSONObject]) -> Any:
    """The document after all operations; `doc` is not changed.

    Raises: TestFailed, PatchError. Either all operations apply, or none does.
    """
    _check(operations)
    result = copy_json(doc)
    for operation in operations:
        result = _apply_one(result, operation)
    return result


def _check(operations: Any) -> None:
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise PatchError("error decoding patch: a JSON patch must be an array of operations")
    if len(operations) > MAX_OPERATIONS:
        limit = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise PatchError(limit)


def _apply_one(document: Any, operation: JSONObject) -> Any:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchError(f"{kind} operation failed to decode path: missing value")
    steps = pointer.parse(path)
    if kind in ("add", "replace", "test"):
        if "value" not in operation and kind != "test":
            raise PatchError(f"{kind} operation at {path} has no value: missing value")
        value = copy_json(operation.get("value"))
        return {"add": _add, "replace": _replace, "test": _test}[kind](document, steps, path, value)
    if kind == "remove":
        return _remove(document, steps, path, "remove")
    if kind in ("move", "copy"):
        return _transfer(document, operation, steps, path)
    raise PatchError(f"Unexpected kind: {kind}" if kind else "Unexpected kind: unknown")


def _parent(document: Any, steps: tuple[str, ...], path: str, kind: str) -> Any:
    try:
        found = pointer.get(document, steps[:-1])
    except LookupError:
        found = None
    if not isinstance(found, (dict, list)):
        raise PatchError(f'{kind} operation does not apply: doc is missing path: "{path}": missing value')
    return found


def _add(document: Any, steps: tuple[str, ...], path: str, value: Any) -> Any:
    if not steps:
        return value
    parent = _parent(document, steps, path, "add")
    if isinstance(parent, list):
        parent.insert(pointer.index(steps[-1], len(parent), adding=True), value)
    else:
        parent[steps[-1]] = value
    return document


def _replace(document: Any, steps: tuple[str, ...], path: str, value: Any) -> Any:
    if not steps:
        return value
    parent = _parent(document, steps, path, "replace")
    if isinstance(parent, list):
        parent[pointer.index(steps[-1], len(parent))] = value
    elif steps[-1] in parent:
        parent[steps[-1]] = value
    else:
        raise PatchError(f"replace operation does not apply: doc is missing key: {path}: missing value")
    return document


def _remove(document: Any, steps: tuple[str, ...], path: str, kind: str) -> Any:
    if not steps:
        return None
    parent = _parent(document, steps, path, kind)
    if isinstance(parent, list):
        del parent[pointer.index(steps[-1], len(parent))]
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


def _transfer(document: Any, operation: JSONObject, steps: tuple[str, ...], path: str) -> Any:
    kind, source = operation["op"], operation.get("from")
    if not isinstance(source, str):
        raise PatchError(f"{kind} operation failed to decode from: missing value")
    source_steps = pointer.parse(source)
    try:
        value = copy_json(pointer.get(document, source_steps))
    except LookupError:
        raise PatchError(f'{kind} operation does not apply: doc is missing from path: "{source}": missing value') from None
    if kind == "copy":
        return _add(document, steps, path, value)
    if source_steps == steps:
        return document
    if steps[: len(source_steps)] == source_steps:
        raise PatchError(f'move operation does not apply: "{path}" lies inside "{source}"')
    return _add(_remove(document, source_steps, source, kind), steps, path, value)
