"""Defaulting, in place: a missing field gets its schema's default, and nulls, empty lists and empty maps that mean "absent" go.

Source: apiextensions-apiserver/pkg/apiserver/schema/defaulting/algorithm.go, defaulting/prunenulls.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcp.apimachinery.meta import copy_json

if TYPE_CHECKING:
    from kcp.apimachinery.schema.node import Schema


def default(node: Schema, value: Any) -> None:
    """Fill in `value`, outer levels first, so that defaults inside a defaulted object apply too."""
    if type(value) is dict:
        _default_object(node, value)
    elif type(value) is list:
        items = node.items
        if items is None:
            return
        if items.drop_null and None in value:
            value[:] = [zero(items) if item is None else item for item in value]
        if items.defaulting:
            for item in value:
                if type(item) is dict or type(item) is list:
                    default(items, item)


def zero(node: Schema) -> Any:
    """What Go makes of a null in a list: there is no leaving it out."""
    if node.int_or_string or node.quantity:
        return 0
    return {"object": {}, "array": [], "string": "", "boolean": False, "integer": 0, "number": 0}.get(node.type)


_SCALARS = frozenset(("string", "boolean", "integer", "number"))


def fill_required(node: Schema, value: Any) -> None:
    """Give scalars that a Go struct always has their zero values; times are left out, whose zero value is null."""
    if type(value) is list and node.items is not None:
        for item in value:
            fill_required(node.items, item)
    if type(value) is not dict:
        return
    for name in node.required:
        child = node.properties.get(name)
        if (
            name not in value
            and child is not None
            and child.type in ("string", "boolean", "integer", "number")
            and child.format != "date-time"
        ):
            value[name] = zero(child)
    for name, held in value.items():
        child = node.properties.get(name, node.additional)
        if child is not None:
            fill_required(child, held)


def prune_nulls(node: Schema, value: Any) -> bool:
    """Remove the nulls of fields that are not nullable and have no default. Returns whether there were any.

    Only looked for where validation has found fault: hardly any object has one. Source: defaulting/prunenulls.go.
    """
    found = False
    if type(value) is dict:
        for name in list(value):
            child = node.properties.get(name, node.additional)
            if child is None:
                continue
            if value[name] is not None:
                found |= prune_nulls(child, value[name])
            elif not child.nullable and not child.has_default:
                del value[name]
                found = True
    elif type(value) is list and node.items is not None:
        for item in value:
            found |= prune_nulls(node.items, item)
    return found


def _default_object(node: Schema, value: dict[str, Any]) -> None:
    for name, content, nullable in node.defaults:
        if name not in value or (value[name] is None and not nullable):
            value[name] = copy_json(content)
    properties, rest = node.properties, node.additional
    absent: list[str] = []
    for name, held in value.items():
        kind = type(held)
        if kind is str:
            continue
        child = properties.get(name, rest)
        if child is None:
            continue
        if kind is dict or kind is list:
            if not held and child.drop_empty and name not in node.required:
                absent.append(name)
            elif child.defaulting:
                default(child, held)
        elif held is None and child.drop_null:
            absent.append(name)
    for name in absent:
        del value[name]
