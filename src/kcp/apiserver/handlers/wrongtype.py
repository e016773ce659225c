"""A built-in object with a value of the wrong JSON type, told as a Go decoder tells it: such a body never becomes an object.

Before: `create`, `update`, `patchfault`. After: `apis.kubernetes.definitions`, for the names of Go's types.
Source: k8s.io/apiserver/pkg/endpoints/handlers/create.go (transformDecodeError); encoding/json, UnmarshalTypeError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import quantity
from kcp.apimachinery.errors import BadRequest, Cause, Invalid
from kcp.apis.kubernetes.definitions import load
from kcp.registry.backend import Scope
from kcp.registry.resource import Origin
from kcp.registry.writes import WrongType

_STEP = re.compile(r"[^.\[\]]+|\[\d+\]")
_FOUND = re.compile(r'must be of type ([a-z0-9,-]+): "?(.*?)"?$', re.DOTALL)
_JSON_NAMES = {"integer": "number", "float": "number", "boolean": "bool"}
_GO_NAMES = {"boolean": "bool", "number": "float64", "object": "map[string]string"}
_QUANTITY_FAULTS = (quantity.WRONG_FORMAT, quantity.WRONG_NUMBER, quantity.WRONG_SUFFIX)
_TIME = "2006-01-02T15:04:05Z07:00"


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value that Go cannot put where it stands."""

    steps: tuple[str, ...]
    """The way to it from the object: names, and indexes in brackets."""
    go_type: str
    """Of the place; "" where a text of the right type says nothing that can be read."""
    told: str
    """What a decoder of JSON says."""


def as_decode_error(error: WrongType, scope: Scope) -> BadRequest | Invalid:
    """What the client is told: BadRequest for a Kubernetes kind, whose server decodes into Go structs; Invalid for a custom one."""
    kind, found = scope.resource.kind, misfit(error.wrong, scope)
    if found is None:
        return error
    return BadRequest(f'{kind} in version "{scope.resource.gvr.version}" cannot be handled as a {kind}: {found.told}')


def misfit(wrong: Cause, scope: Scope) -> Misfit | None:
    """None for a custom kind, of which no Go struct is made."""
    name = load().of_kind(scope.resource.gvk) if scope.resource.origin is Origin.BUILTIN and not scope.subresource else None
    return None if name is None else misfit_in(wrong, name)


def misfit_in(cause: Cause, definition: str) -> Misfit:
    """Args: cause: its field is counted from an object of `definition`."""
    steps = tuple(_STEP.findall(cause.field))
    if cause.message.endswith(_QUANTITY_FAULTS):
        return Misfit(steps, "", cause.message.rpartition(": ")[2])
    found = _FOUND.search(cause.message)
    wanted, held = (found[1], found[2]) if found is not None else ("", "")
    if wanted == "date-time":
        return Misfit(steps, "", f'parsing time "{held}" as "{_TIME}": cannot parse "{held}" as "2006"')
    struct, go_type = _go_types(definition, list(steps))
    fields = ".".join(step for step in steps if not step.startswith("["))
    told = f"json: cannot unmarshal {_JSON_NAMES.get(held, held)} into Go struct field {struct}.{fields} of type {go_type}"
    return Misfit(steps, go_type, told)


def _go_types(definition: str, steps: list[str]) -> tuple[str, str]:
    """The innermost struct on the way, and the type of what stands at its end."""
    held = load()
    struct, node = definition, held.raw(definition)
    for step in steps:
        if step.startswith("["):
            node = node.get("items") or {}
        else:
            node = (node.get("properties") or {}).get(step) or node.get("additionalProperties") or {}
        if (name := _referred(node)) and name in held:
            inner = held.raw(name)
            if inner.get("properties"):
                struct = name if step != steps[-1] else struct
            node = {**inner, "name": name}
    return struct.rpartition(".")[2], _go_type(node)


def _referred(node: Mapping[str, Any]) -> str:
    reference = str(node.get("$ref") or "")
    return reference.rpartition("/")[2]


def _go_type(node: Mapping[str, Any]) -> str:
    if name := node.get("name") or _referred(node):
        return ".".join(str(name).rsplit(".", 2)[-2:])
    declared = node.get("type")
    kind = next((t for t in declared if t != "null"), "") if isinstance(declared, list) else str(declared or "")
    if kind == "array":
        return "[]" + _go_type(node.get("items") or {})
    if kind == "integer":
        return str(node.get("format") or "int64")
    return _GO_NAMES.get(kind, kind)
