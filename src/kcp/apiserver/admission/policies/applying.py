"""What a mutation's expression gives, applied to the object: an apply configuration, or a JSON patch.

Before: `mutating`. After: `apimachinery.apply`, `apimachinery.patch`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch/{smd,json_patch}.go, pkg/cel/mutation/dynamic/objects.go.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.apply.merge import merge
from kcp.apimachinery.apply.typed import problems, splits_list, splits_map
from kcp.apimachinery.cel.asjson import as_json
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.values import Made
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.patch.errors import PatchError
from kcp.apimachinery.schema.node import Schema


class MutationError(Exception):
    """The result of an expression cannot be applied."""


def apply_configuration(obj: JSONObject, made: Any, schema: Schema | None) -> JSONObject:
    """`obj` with everything that `made`, an `Object`, says; `obj` is not changed."""
    if not isinstance(made, Made):
        raise MutationError(f"unsupported return type from ApplyConfiguration expression: {type(made).__name__}")
    _check_names(made, "Object")
    config = _json(made)
    assert isinstance(config, dict)
    config |= {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
    if wrong := problems(schema, config):
        raise MutationError(f"error applying patch: failed to convert patch object to typed object: {wrong[0]}")
    if atomics := _atomics(schema, config, ""):
        raise MutationError(
            f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {', '.join(atomics)}"
        )
    merged: JSONObject = copy_json(merge(schema, obj, config))
    return merged


def apply_json_patch(obj: JSONObject, made: Any) -> JSONObject:
    """`obj` after a list of `JSONPatch`; `obj` is not changed."""
    operations = _json(made)
    if not isinstance(operations, list):
        raise MutationError(f"type mismatch: JSONPatchType.expression should evaluate to array, got {type(made).__name__}")
    try:
        patched = json_patch.apply(obj, operations)
    except PatchError as error:
        raise MutationError(f"JSON Patch: {error}") from None
    if not isinstance(patched, dict):
        raise MutationError("JSON Patch: the result is not an object")
    return patched


def _check_names(made: Made, expected: str) -> None:
    """An `Object.spec` may only stand at field `spec` of an `Object`."""
    if made.name != expected:
        raise MutationError(
            f'type mismatch: unexpected type name "{made.name}", expected "{expected}", which matches field name path from root Object type'
        )
    for field, held in made.fields.items():
        for value in held if isinstance(held, list) else held.values() if type(held) is dict else (held,):
            if isinstance(value, Made):
                _check_names(value, f"{expected}.{field}")


def _json(value: Any) -> Any:
    try:
        return as_json(value)
    except EvaluationError as error:
        raise MutationError(str(error)) from None


def _atomics(node: Schema | None, value: Any, path: str) -> list[str]:
    """Where the configuration would replace a whole list or map at once, which is seldom what was meant."""
    found: list[str] = []
    if node is None:
        return found
    if type(value) is dict:
        if path and not splits_map(node):
            found.append(path)
        for name, held in value.items():
            if (child := node.child(name)) is not None:
                found += _atomics(child, held, f"{path}.{name}")
    elif type(value) is list:
        if not splits_list(node):
            found.append(path)
        for index, item in enumerate(value):
            found += _atomics(node.items, item, f"{path}[{index}]")
    return found
