"""Optional values, and `jsonpatch.escapeKey`.

Before: `overloads.standard`. Source: github.com/google/cel-go/cel/library.go (optionalLib), k8s.io/apiserver/pkg/cel/library/jsonpatch.go.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kcp.apimachinery.cel.costs import walk
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.values import NONE, Duration, Optional


def of_non_zero(value: Any) -> Optional:
    return NONE if _is_zero(value) else Optional(value)


def _is_zero(value: Any) -> bool:
    if value is None or type(value) in (bool, int, float, str, bytes, list, dict):
        return not value
    if type(value) is Duration:
        return bool(value.ns == 0)
    if type(value) is datetime:
        return value == datetime(1, 1, 1, tzinfo=UTC)
    return isinstance(value, int) and value == 0


def first(items: list[Any]) -> Optional:
    return Optional(items[0]) if items else NONE


def last(items: list[Any]) -> Optional:
    return Optional(items[-1]) if items else NONE


def unwrap(items: list[Any]) -> list[Any]:
    return [item.value for item in items if item.has_value]


def or_value(held: Optional, other: Any) -> Any:
    return held.value if held.has_value else other


def either(held: Optional, other: Optional) -> Optional:
    return held if held.has_value else other


def escape_key(key: str) -> str:
    """A map key as one step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


OVERLOADS: tuple[Overload, ...] = (
    declare("optional:of(A) -> optional(A)", Optional),
    declare("optional:ofNonZeroValue(A) -> optional(A)", of_non_zero),
    declare("optional:none() -> optional(A)", lambda: NONE),
    declare("optional:unwrap(list(optional(A))) -> list(A)", unwrap),
    declare("list(optional(A)).unwrapOpt() -> list(A)", unwrap),
    declare("optional(A).value() -> A", lambda held: held.value),
    declare("optional(A).hasValue() -> bool", lambda held: held.has_value),
    declare("optional(A).or(optional(A)) -> optional(A)", either),
    declare("optional(A).orValue(A) -> A", or_value),
    declare("list(A).first() -> optional(A)", first),
    declare("list(A).last() -> optional(A)", last),
    declare("jsonpatch:escapeKey(string) -> string", escape_key, walk(keeps_size=True)),
)
