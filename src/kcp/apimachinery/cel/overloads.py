"""The functions an expression may call: their declarations, and the table that the libraries fill.

A declaration is written as it would be documented, `string.split(string) -> list(string)`, and comes with the Python function that does it
and with what it costs.
Before: `checker` (which overloads fit), `plan` (calls them), `estimate`. After: `library.*`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kcp.apimachinery.cel.costs import CONSTANT, CostModel
from kcp.apimachinery.cel.types import Type, parse_type, split_types
from kcp.apimachinery.cel.values import type_of


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One way to call one function."""

    function: str
    is_member: bool
    params: tuple[Type, ...]
    """The target first, if it is a member call."""
    result: Type
    run: Callable[..., Any]
    cost: CostModel = CONSTANT

    def fits(self, args: tuple[Any, ...]) -> bool:
        """Whether values may be passed, as far as their outermost type tells."""
        return len(args) == len(self.params) and all(_fits(param, value) for param, value in zip(self.params, args, strict=True))


def _fits(param: Type, value: Any) -> bool:
    if param.kind in ("dyn", "param"):
        return True
    held = type_of(value)
    return held.kind == param.kind and (held.kind != "opaque" or held.name == param.name)


def declare(text: str, run: Callable[..., Any], cost: CostModel = CONSTANT) -> Overload:
    """An overload from its declaration.

    >>> overload = declare("string.split(string) -> list(string)", str.split)
    >>> overload.function, overload.is_member, [str(p) for p in overload.params]
    ('split', True, ['string', 'string'])
    """
    name, is_member, params, result = _parsed(text)
    return Overload(name, is_member, params, result, run, cost)


def _parsed(text: str) -> tuple[str, bool, tuple[Type, ...], Type]:
    head, _, result = text.rpartition(" -> ")
    opening = _opening(head)
    inner = head[opening + 1 : -1]
    params = tuple(parse_type(part) for part in split_types(inner)) if inner else ()
    target, _, name = _before_name(head[:opening])
    if not target:
        return name, False, params, parse_type(result)
    return name, True, (parse_type(target), *params), parse_type(result)


def _opening(head: str) -> int:
    """Where the parameters' bracket opens: the partner of the closing one at the end."""
    depth = 0
    for index in range(len(head) - 1, -1, -1):
        depth += (head[index] == ")") - (head[index] == "(")
        if not depth:
            return index
    raise ValueError(head)


def _before_name(text: str) -> tuple[str, str, str]:
    """Namespaced functions (`ip.isCanonical`) are written with a colon, `ip:isCanonical`, so that a dot always means a target."""
    target, dot, name = text.rpartition(".")
    return target, dot, name.replace(":", ".") if ":" in name and "?" not in name else name


def table(overloads: Iterable[Overload]) -> dict[str, tuple[Overload, ...]]:
    found: dict[str, list[Overload]] = {}
    for overload in overloads:
        found.setdefault(overload.function, []).append(overload)
    return {name: tuple(held) for name, held in found.items()}


@cache
def standard() -> Mapping[str, tuple[Overload, ...]]:
    """Every function of Kubernetes' environment, by name; namespaced ones by their whole name."""
    from kcp.apimachinery.cel import library

    return table(library.overloads())
