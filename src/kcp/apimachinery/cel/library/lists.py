"""Functions of lists, and lists as sets.

Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/library/lists.go, github.com/google/cel-go/ext/sets.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcp.apimachinery.cel.costs import LIST_WALK, sets
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.library.operators import add
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.values import Duration, UInt, contains, equals, less


def is_sorted(items: list[Any]) -> bool:
    return all(not less(right, left) for left, right in zip(items, items[1:], strict=False))


def _sum(zero: Any) -> Callable[[list[Any]], Any]:
    def total(items: list[Any]) -> Any:
        if not items:
            return zero
        found = items[0]
        for item in items[1:]:
            found = add(found, item)
        return found

    return total


def smallest(items: list[Any]) -> Any:
    return _best(items, "min", lambda item, best: less(item, best))


def greatest(items: list[Any]) -> Any:
    return _best(items, "max", lambda item, best: less(best, item))


def _best(items: list[Any], name: str, is_better: Callable[[Any, Any], bool]) -> Any:
    if not items:
        raise EvaluationError(f"{name} called on empty list")
    best = items[0]
    for item in items[1:]:
        if is_better(item, best):
            best = item
    return best


def position(items: list[Any], wanted: Any) -> int:
    return next((index for index, item in enumerate(items) if equals(item, wanted)), -1)


def last_position(items: list[Any], wanted: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equals(items[index], wanted)), -1)


def includes(items: list[Any], wanted: list[Any]) -> bool:
    return all(contains(items, item) for item in wanted)


def is_equivalent(left: list[Any], right: list[Any]) -> bool:
    return includes(left, right) and includes(right, left)


def intersects(left: list[Any], right: list[Any]) -> bool:
    return any(contains(right, item) for item in left)


_ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMED = {"int": 0, "uint": UInt(0), "double": 0.0, "duration": Duration(0)}

OVERLOADS: tuple[Overload, ...] = (
    *(declare(f"list({t}).isSorted() -> bool", is_sorted, LIST_WALK) for t in _ORDERED),
    *(declare(f"list({t}).sum() -> {t}", _sum(zero), LIST_WALK) for t, zero in _SUMMED.items()),
    *(declare(f"list({t}).min() -> {t}", smallest, LIST_WALK) for t in _ORDERED),
    *(declare(f"list({t}).max() -> {t}", greatest, LIST_WALK) for t in _ORDERED),
    declare("list(A).indexOf(A) -> int", position, LIST_WALK),
    declare("list(A).lastIndexOf(A) -> int", last_position, LIST_WALK),
    declare("sets:contains(list(A), list(A)) -> bool", includes, sets(1)),
    declare("sets:equivalent(list(A), list(A)) -> bool", is_equivalent, sets(2)),
    declare("sets:intersects(list(A), list(A)) -> bool", intersects, sets(1)),
)
