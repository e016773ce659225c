"""Values of CEL as Python holds them: JSON's own types as they are, and the few that JSON lacks.

    null None · bool · int · double float · string str · bytes · list · map dict · timestamp datetime (UTC) · uint UInt · duration Duration

Equality and order follow CEL: numbers of different types compare by value, a bool is no number, a missing order is an error.
Before: `plan`, `library`. Source: github.com/google/cel-go/common/types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from kcp.apimachinery.cel.errors import EvaluationError, no_such_overload
from kcp.apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    optional_of,
)

MAX_INT, MIN_INT, MAX_UINT = (1 << 63) - 1, -(1 << 63), (1 << 64) - 1


class UInt(int):
    """An unsigned integer."""

    __slots__ = ()


class Duration:
    """A span of time in nanoseconds."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not MIN_INT <= ns <= MAX_INT:
            raise EvaluationError("integer overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and other.ns == self.ns

    def __lt__(self, other: Duration) -> bool:
        return self.ns < other.ns

    def __le__(self, other: Duration) -> bool:
        return self.ns <= other.ns

    def __hash__(self) -> int:
        return hash(self.ns)

    def __str__(self) -> str:
        """As `string(duration)` writes it.

        >>> str(Duration(3_600_000_000_000)), str(Duration(1_500_000_000))
        ('3600s', '1.5s')
        """
        seconds, rest = divmod(abs(self.ns), 1_000_000_000)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{'-' if self.ns < 0 else ''}{seconds}{fraction}s"


class Optional:
    """A value that may be absent."""

    __slots__ = ("_value",)

    def __init__(self, *value: Any) -> None:
        self._value = value

    @property
    def has_value(self) -> bool:
        return bool(self._value)

    @property
    def value(self) -> Any:
        if not self._value:
            raise EvaluationError("optional.none() dereference")
        return self._value[0]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional) or self.has_value != other.has_value:
            return False
        return not self.has_value or equals(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.has_value)


NONE = Optional()


class Made(Mapping[str, Any]):
    """An object written in an expression: `Object.spec{replicas: 3}`."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.name = name
        self.fields = fields

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and self.name == other.name and equals(self.fields, other.fields)

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def cel_type(self) -> Type:
        return Type("object", self.name)


class TypeValue:
    """A type as a value, such as `type(x)` gives."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


@runtime_checkable
class Opaque(Protocol):
    """A value of a library's own type. Its equality is Python's."""

    @property
    def cel_type(self) -> Type: ...


_TYPES: dict[type[Any], Type] = {
    type(None): NULL,
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    datetime: TIMESTAMP,
    Duration: DURATION,
    list: list_of(DYN),
    dict: map_of(DYN, DYN),
    Optional: optional_of(DYN),
    TypeValue: Type("type"),
}
_NAMES = {NULL: "null_type", TIMESTAMP: "google.protobuf.Timestamp", DURATION: "google.protobuf.Duration"}
NUMBERS = frozenset((int, UInt, float))


def type_of(value: Any) -> Type:
    """The type of a value at run time, without its parameters."""
    found = _TYPES.get(type(value))
    if found is not None:
        return found
    return value.cel_type if isinstance(value, Opaque) else DYN


def type_value(value: Any) -> TypeValue:
    held = type_of(value)
    return TypeValue(_NAMES.get(held, "optional_type" if held.kind == "optional" else held.name))


def equals(left: Any, right: Any) -> bool:
    """CEL's `==`, which never fails."""
    kind = type(left)
    if kind is not type(right):
        return kind in NUMBERS and type(right) in NUMBERS and left == right
    if kind is list:
        return len(left) == len(right) and all(equals(a, b) for a, b in zip(left, right, strict=True))
    if kind is dict:
        return len(left) == len(right) and all(key in right and equals(held, right[key]) for key, held in left.items())
    return bool(left == right)


def contains(items: list[Any], wanted: Any) -> bool:
    """`wanted in items`."""
    if type(wanted) is str:
        return wanted in items
    return any(equals(item, wanted) for item in items)


_ORDERED = frozenset((int, float, UInt, str, bytes, bool, Duration, datetime))


def less(left: Any, right: Any) -> bool:
    """`left < right`. Raises EvaluationError where there is no order."""
    kind, other = type(left), type(right)
    if (kind is other and kind in _ORDERED) or (kind in NUMBERS and other in NUMBERS):
        return bool(left < right)
    raise no_such_overload()


def not_greater(left: Any, right: Any) -> bool:
    """`left <= right`, which is not the opposite of `right < left` for NaN."""
    kind, other = type(left), type(right)
    if (kind is other and kind in _ORDERED) or (kind in NUMBERS and other in NUMBERS):
        return bool(left <= right)
    raise no_such_overload()


def size_of(value: Any) -> int:
    """What `size()` gives where it is defined, else 1: the measure of all costs."""
    kind = type(value)
    return len(value) if kind is str or kind is list or kind is dict or kind is bytes else 1


def checked_int(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise EvaluationError("integer overflow")
    return value


def checked_uint(value: int) -> UInt:
    if not 0 <= value <= MAX_UINT:
        raise EvaluationError("unsigned integer overflow")
    return UInt(value)
