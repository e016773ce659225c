"""The types of CEL, and those declared by a schema, which also say how large a value can get.

Before: `checker`, `estimate`, `declared`. Source: github.com/google/cel-go/common/types/types.go, k8s.io/apiserver/pkg/cel/types.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcp.apimachinery.schema.node import Schema


class Type:
    """One type. Objects are equal only to themselves; all others by their name and parameters."""

    __slots__ = ("_fields", "convert", "kind", "max_size", "name", "params", "schema")

    def __init__(
        self,
        kind: str,
        name: str = "",
        params: tuple[Type, ...] = (),
        *,
        max_size: int | None = None,
        fields: Callable[[], Mapping[str, Field]] | None = None,
        schema: Schema | None = None,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        self.kind = kind
        """dyn, null, bool, int, uint, double, string, bytes, timestamp, duration, list, map, object, opaque, optional, type, param."""
        self.name = name or kind
        self.params = params
        self.max_size = max_size
        """The largest `size()` that the schema allows; None where no schema says."""
        self.schema = schema
        """The schema behind a list or object, for comparisons that depend on it."""
        self.convert = convert
        """From JSON's value to CEL's, where they differ: a time is a string in JSON."""
        self._fields: Callable[[], Mapping[str, Field]] | Mapping[str, Field] | None = fields

    @property
    def fields(self) -> Mapping[str, Field]:
        """Of an object, by the name used in expressions; worked out when first asked for."""
        held = self._fields
        if held is None:
            return {}
        if callable(held):
            held = self._fields = held()
        return held

    @property
    def is_dyn(self) -> bool:
        return self.kind == "dyn"

    def __str__(self) -> str:
        if self.kind == "optional":
            return f"optional_type({self.params[0]})"
        if self.params:
            return f"{self.name}({', '.join(map(str, self.params))})"
        return self.name


class Field:
    """One field of an object type."""

    __slots__ = ("key", "type")

    def __init__(self, key: str, type_: Type) -> None:
        self.key = key
        """The name in JSON."""
        self.type = type_


DYN = Type("dyn")
NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")
ERROR = Type("error", "!error!")

_WORDS = {
    t.kind: t for t in (DYN, NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION)
}  # fmt: skip

SCALARS = frozenset(("bool", "int", "uint", "double", "timestamp", "duration", "null", "type"))


def list_of(item: Type) -> Type:
    return Type("list", params=(item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", params=(key, value))


def optional_of(held: Type) -> Type:
    return Type("optional", params=(held,))


def type_of_type(held: Type) -> Type:
    return Type("type", params=(held,))


def opaque(name: str) -> Type:
    return Type("opaque", name)


def same(left: Type, right: Type) -> bool:
    """Whether two types are exactly the same."""
    if left is right:
        return True
    if left.kind != right.kind or left.name != right.name or left.kind == "object" or len(left.params) != len(right.params):
        return False
    return all(same(a, b) for a, b in zip(left.params, right.params, strict=True))


def parse_type(text: str) -> Type:
    """The type that a declaration writes; a single capital letter is a type parameter.

    >>> str(parse_type("map(string, list(A))"))
    'map(string, list(A))'
    """
    text = text.strip()
    head, _, rest = text.partition("(")
    if not rest:
        if head in _WORDS:
            return _WORDS[head]
        return Type("param", head) if len(head) == 1 else opaque(head)
    params = tuple(parse_type(part) for part in split_types(rest[:-1]))
    return Type(head, params=params)


def split_types(text: str) -> list[str]:
    """At the commas outside of parentheses."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]
