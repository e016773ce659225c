"""The macros: calls that bind variables or look at syntax, told apart by name and number of arguments while parsing.

Before: `parser`. After: `ast.Macro`. Source: github.com/google/cel-go/parser/macro.go, ext/comprehensions.go, cel/library.go (optMap).
"""

from __future__ import annotations

from kcp.apimachinery.cel.ast import Ident, Macro, Node, Select
from kcp.apimachinery.cel.errors import Issue

_ONE_VARIABLE = {
    ("all", 2): 1, ("exists", 2): 1, ("exists_one", 2): 1, ("existsOne", 2): 1, ("map", 2): 1, ("map", 3): 1, ("filter", 2): 1,
    ("optMap", 2): 1, ("optFlatMap", 2): 1,
}  # fmt: skip
_TWO_VARIABLES = {
    ("all", 3): 2, ("exists", 3): 2, ("exists_one", 3): 2, ("existsOne", 3): 2, ("transformList", 3): 2, ("transformList", 4): 2,
    ("transformMap", 3): 2, ("transformMap", 4): 2, ("transformMapEntry", 3): 2, ("transformMapEntry", 4): 2,
}  # fmt: skip
_VARIABLES = {**_ONE_VARIABLE, **_TWO_VARIABLES}
_CANONICAL = {"existsOne": "exists_one"}


def expand(name: str, target: Node | None, args: tuple[Node, ...], pos: int) -> Node | Issue | None:
    """The macro that this call is, what is wrong with it, or None for an ordinary call."""
    if target is None:
        return _has(args, pos) if name == "has" and len(args) == 1 else None
    count = _VARIABLES.get((name, len(args)))
    if count is None:
        return None
    bound: list[str] = []
    for arg in args[:count]:
        if not isinstance(arg, Ident):
            return Issue(arg.pos, "argument must be a simple name" if count == 1 else "argument is not an identifier")
        if arg.name in bound:
            return Issue(arg.pos, f"duplicate variable name: {arg.name}")
        bound.append(arg.name)
    depth = 1 + max(node.depth for node in (target, *args))
    return Macro(_CANONICAL.get(name, name), target, tuple(bound), args[count:], pos=pos, depth=depth)


def _has(args: tuple[Node, ...], pos: int) -> Node | Issue:
    (arg,) = args
    if not isinstance(arg, Select) or arg.is_test:
        return Issue(arg.pos, "invalid argument to has() macro")
    return Select(arg.operand, arg.field, pos=pos, depth=arg.depth, is_test=True, is_optional=arg.is_optional)
