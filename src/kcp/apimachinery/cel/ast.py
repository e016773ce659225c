"""The syntax tree of an expression. The parser builds it, the checker writes types and overloads into it, the planner reads it.

Source: github.com/google/cel-spec/blob/master/doc/langdef.md; macros stay single nodes here, they are not expanded to folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kcp.apimachinery.cel.types import DYN, Type

if TYPE_CHECKING:
    from kcp.apimachinery.cel.overloads import Overload


@dataclass(slots=True, eq=False, kw_only=True)
class Node:
    pos: int
    """Offset in the text that errors point at."""
    depth: int = 1
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Literal(Node):
    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str


@dataclass(slots=True, eq=False)
class Select(Node):
    operand: Node
    field: str
    is_test: bool = False
    """`has(a.b)`."""
    is_optional: bool = False
    """`a.?b`."""
    qualified: str = ""
    """Set by the checker where the whole chain names one variable or type, such as `authorizer.requestResource`."""


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function, `target` set for a member call; operators are functions named like `_+_`."""

    function: str
    target: Node | None
    args: tuple[Node, ...]
    overloads: tuple[Overload, ...] = ()
    """Those that fit the static types; set by the checker."""

    @property
    def operands(self) -> tuple[Node, ...]:
        return self.args if self.target is None else (self.target, *self.args)


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    items: tuple[Node, ...]
    optional: frozenset[int] = frozenset()
    """Indexes of the items written `?item`."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    key: Node
    value: Node
    is_optional: bool = False


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FieldInit:
    pos: int
    name: str
    value: Node
    is_optional: bool = False


@dataclass(slots=True, eq=False)
class Struct(Node):
    """`Object.spec{replicas: 3}`."""

    name: str
    fields: tuple[FieldInit, ...]


@dataclass(slots=True, eq=False)
class Macro(Node):
    """`range.all(v, predicate)` and its like: `variables` are bound, `args` evaluated for each element."""

    name: str
    range: Node
    variables: tuple[str, ...]
    args: tuple[Node, ...]


def walk(root: Node) -> Iterator[Node]:
    """An expression's nodes, in no order that means anything."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case Select():
                waiting.append(node.operand)
            case Call():
                waiting += node.operands
            case Macro():
                waiting += (node.range, *node.args)
            case ListLiteral():
                waiting += node.items
            case MapLiteral():
                waiting += [part for entry in node.entries for part in (entry.key, entry.value)]
            case Struct():
                waiting += [init.value for init in node.fields]
