"""Which fields a schema knows: listing the others (field validation) and removing them (pruning).

An object where the schema wants a string is no matter of fields: it is left alone, for validation to name.
`apiVersion`, `kind` and `metadata` of an object, and of every embedded resource, are always known: `compile` puts them into the node.
Source: apiextensions-apiserver/pkg/apiserver/schema/pruning/algorithm.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcp.apimachinery.schema.node import Schema

_HAVE_FIELDS = frozenset(("object", ""))


def unknown_fields(node: Schema, value: Any) -> list[str]:
    """Paths below `value`, in document order; built from the inside out, so that a clean object costs no strings."""
    return [path[1:] if path[0] == "." else path for path in _unknown(node, value)]


def _unknown(node: Schema, value: Any) -> list[str]:
    found: list[str] = []
    if type(value) is dict:
        if node.type not in _HAVE_FIELDS:
            return found
        properties, rest = node.properties, node.additional
        for name, held in value.items():
            child = properties.get(name, rest)
            if child is None:
                if not node.preserve:
                    found.append("." + name)
            elif (type(held) is dict or type(held) is list) and (inner := _unknown(child, held)):
                found += [f".{name}{path}" for path in inner]
    elif type(value) is list and (items := node.items) is not None:
        for index, item in enumerate(value):
            if (type(item) is dict or type(item) is list) and (inner := _unknown(items, item)):
                found += [f"[{index}]{path}" for path in inner]
    return found


def prune(node: Schema, value: Any) -> None:
    """Remove unknown fields in place."""
    if type(value) is dict:
        if node.type not in _HAVE_FIELDS:
            return
        properties, rest = node.properties, node.additional
        unknown: list[str] = []
        for name, held in value.items():
            child = properties.get(name, rest)
            if child is None:
                if not node.preserve:
                    unknown.append(name)
            elif type(held) is dict or type(held) is list:
                prune(child, held)
        for name in unknown:
            del value[name]
    elif type(value) is list and (items := node.items) is not None:
        for item in value:
            if type(item) is dict or type(item) is list:
                prune(items, item)


def prune_embedded_metadata(node: Schema, value: Any) -> None:
    """Remove, in place, what the metadata of embedded objects has no place for. Source: schema/objectmeta/coerce.go."""
    if type(value) is dict:
        for name, held in value.items():
            child = node.properties.get(name, node.additional)
            if child is None:
                continue
            if node.embedded and name == "metadata":
                prune(child, held)
            elif type(held) is dict or type(held) is list:
                prune_embedded_metadata(child, held)
    elif type(value) is list and node.items is not None:
        for item in value:
            prune_embedded_metadata(node.items, item)
