"""How a schema divides a value into fields: what is one field as a whole, and which step leads to each part.

Before: `walk`, `merge`. Without a schema, types are deduced: every map is granular, every list atomic.
Source: structured-merge-diff typed/helpers.go, schema/elements.go; kube-openapi pkg/schemaconv (deduced and atomic untyped values).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from operator import is_
from typing import Any

from kcp.apimachinery.apply.fields import item_key, item_value, step_text
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.remember import LONGEST
from kcp.apimachinery.schema.structural import Schema


class NotKeyed(ValueError):
    """A list item that the list's type gives no step to."""


def child(node: Schema | None, name: str) -> Schema | None:
    """The schema of one entry of a map; None means deduced."""
    return None if node is None else node.properties.get(name, node.additional)


def is_named(node: Schema | None, name: str) -> bool:
    """Whether `name` is a field of a struct, not a key of a map: only keys, like list items, can be owned apart from what they hold."""
    return node is not None and name in node.properties


def splits_map(node: Schema | None) -> bool:
    """Whether a map's entries are owned one by one."""
    return node is None or node.map_type != "atomic"


def splits_list(node: Schema | None) -> bool:
    """Whether a list's items are owned one by one."""
    return node is not None and node.list_type in ("map", "set")


def step_of(node: Schema, item: Any) -> str:
    """The step of an item of a granular list. Raises: NotKeyed."""
    if node.list_type == "map":
        return _keyed_step(node, item)
    if isinstance(item, dict):
        raise NotKeyed("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise NotKeyed("not supported: associative list with lists as elements")
    if item is None:
        raise NotKeyed("associative list without keys has an element that's an explicit null")
    return item_value(item)


def _keyed_step(node: Schema, item: Any) -> str:
    """Keys that an item leaves out take their default; without one they are left out of the step too."""
    if item is None:
        raise NotKeyed("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise NotKeyed("associative list with keys may not have non-map elements")
    names = node.list_keys
    if len(names) == 1 and type(value := item.get(names[0])) is str and len(value) <= LONGEST:
        return _single_key_step(names[0], value)
    keys: JSONObject = {name: item[name] for name in names if item.get(name) is not None}
    if len(keys) < len(names) and node.items is not None:
        keys |= {name: value for name, value, _ in node.items.defaults if name in names and name not in keys}
    if not keys:
        listed = ", ".join(f'"{name}"' for name in names)
        raise NotKeyed(f"associative list with keys has an element that omits key field {listed} (and doesn't have default value)")
    return item_key(keys)


@lru_cache(maxsize=4096)
def _single_key_step(name: str, value: str) -> str:
    """By far the most common step: containers, volumes, environment variables, conditions. The same few names come again and again."""
    return item_key({name: value})


def steps(node: Schema | None, items: list[Any]) -> list[str] | None:
    """The step of every item, or None for a list that counts as one field: by its type, or because some item has no step."""
    if node is None or node.list_type not in ("map", "set"):
        return None
    try:
        return [step_of(node, item) for item in items]
    except NotKeyed:
        return None


def problems(node: Schema | None, value: Any, path: str = "") -> list[str]:
    """Why `value` cannot be applied: undeclared fields, list items without their keys, two items with the same keys, another type."""
    if node is None:
        return []
    wanted = _TYPES.get(node.type)
    if wanted is not None and type(value) not in wanted:
        return [f"{path}: {_wrong_type(node, value)}"]
    if isinstance(value, dict):
        return _map_problems(node, value, path)
    return _list_problems(node, value, path) if isinstance(value, list) else []


def _map_problems(node: Schema, value: JSONObject, path: str) -> list[str]:
    found: list[str] = []
    for name, held in value.items():
        inner = child(node, name)
        if inner is not None:
            if type(held) is not inner.plain:
                found += problems(inner, held, f"{path}.{name}")
        elif not node.preserve:
            found.append(f"{path}.{name}: field not declared in schema")
    return found


def _list_problems(node: Schema, value: list[Any], path: str) -> list[str]:
    found: list[str] = []
    seen: set[str] = set()
    is_split = splits_list(node)
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        if is_split:
            try:
                step = step_of(node, item)
            except NotKeyed as e:
                found.append(f"{path}: element {index}: {e}")
                continue
            where = path + step_text(step)
            if step in seen:
                found.append(f"{path}: duplicate entries for key {step_text(step)}")
            seen.add(step)
        found += problems(node.items, item, where)
    return found


_NONE = type(None)
_NUMBERS: frozenset[type] = frozenset((int, float, _NONE))
_TYPES: Mapping[str, frozenset[type]] = {
    "object": frozenset((dict, _NONE)), "array": frozenset((list, _NONE)), "string": frozenset((str, _NONE)),
    "boolean": frozenset((bool, _NONE)), "integer": _NUMBERS, "number": _NUMBERS,
}  # fmt: skip
_SHOWN = {"object": "map", "array": "list", "boolean": "boolean"}


def _wrong_type(node: Schema, value: Any) -> str:
    """Source: structured-merge-diff typed/validate.go, validateScalar; typed/helpers.go, listValue, mapValue."""
    if node.type in _SHOWN:
        return f"expected {_SHOWN[node.type]}, got &{{{as_go(value)}}}"
    if node.type == "string":
        return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    names = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
    return f"expected numeric (int or float), got {names[type(value)]}"


def as_go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{as_go(held)}" for key, held in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(as_go, value)) + "]"
    return {None: "<nil>", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def _go_syntax(value: Any) -> str:
    """A value as Go's %#v prints it."""
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{_quoted(key)}:{_go_syntax(held)}" for key, held in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(_go_syntax, value)) + "}"
    if isinstance(value, str):
        return _quoted(value)
    if value is None:
        return "interface {}(nil)"
    return as_go(int(value) if isinstance(value, float) and value.is_integer() else value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def without_absent(node: Schema | None, value: Any, *, keep_empty: bool = False) -> Any:
    """`value` without the nulls, empty lists and empty maps that mean "absent" in a built-in type: they are never stored.

    Returns `value` itself, or what of it needs no change, wherever there is nothing to remove.
    """
    if type(value) is dict:
        changed: dict[str, Any] = {}
        absent: list[str] = []
        for name, held in value.items():
            if held is None or held == {} or held == []:
                inner = child(node, name)
                if node is None or inner is None or (keep_empty and held is not None):
                    continue
                if _means_absent(inner, held, required=name in node.required):
                    absent.append(name)
            elif type(held) is dict or type(held) is list:
                clean = without_absent(child(node, name), held, keep_empty=keep_empty)
                if clean is not held:
                    changed[name] = clean
        if not changed and not absent:
            return value
        return {name: changed.get(name, held) for name, held in value.items() if name not in absent}
    if type(value) is list and node is not None and not _is_plain(node.items):
        items = [without_absent(node.items, item, keep_empty=keep_empty) for item in value]
        return value if all(map(is_, items, value)) else items
    return value


def _means_absent(node: Schema, value: Any, *, required: bool) -> bool:
    return node.drop_null if value is None else node.drop_empty and not required


def _is_plain(node: Schema | None) -> bool:
    return node is None or not (node.properties or node.additional or node.items)
