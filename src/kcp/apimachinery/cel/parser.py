"""From text to a syntax tree.

Precedence climbing, so that depth costs few Python frames; `&&` and `||` become balanced trees, other nesting is limited.
Before: `program`. After: `lexer`, `macros`. Source: github.com/google/cel-go/parser/{parser.go,gen/CEL.g4}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kcp.apimachinery.cel.ast import Call, Entry, FieldInit, Ident, ListLiteral, Literal, MapLiteral, Node, Select, Struct
from kcp.apimachinery.cel.errors import CompileError, Issue
from kcp.apimachinery.cel.lexer import LexError, Token, tokens
from kcp.apimachinery.cel.macros import expand
from kcp.apimachinery.cel.values import MAX_INT

DEEPEST = 200
"""Levels of the tree: each costs later stages a Python frame or two. cel-go allows 250 levels of recursion in its grammar."""
_NESTED = 64
"""Brackets within brackets."""

RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return", "var",
    "void", "while",
))  # fmt: skip
_CONSTANTS = {"true": True, "false": False, "null": None}
_PRECEDENCE = {
    "||": 1, "&&": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "==": 3, "!=": 3, "in": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5,
}  # fmt: skip
_T = TypeVar("_T")


def parse(text: str) -> Node:
    """Raises CompileError."""
    try:
        return _Parser(tokens(text)).whole()
    except LexError as error:
        raise CompileError(text, [error.issue]) from None
    except _SyntaxFault as fault:
        raise CompileError(text, [fault.issue]) from None


class _SyntaxFault(Exception):
    def __init__(self, pos: int, text: str) -> None:
        super().__init__(text)
        self.issue = Issue(pos, text)


class _Parser:
    def __init__(self, held: list[Token]) -> None:
        self._tokens = held
        self._at = 0
        self._nested = 0

    # --- tokens ---

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, kind: str) -> Token | None:
        return self._take() if self._next.kind == kind else None

    def _expect(self, kind: str) -> Token:
        if self._next.kind != kind:
            raise self._mismatch("IDENTIFIER" if kind == "ident" else f"'{kind}'")
        return self._take()

    def _mismatch(self, expected: str) -> _SyntaxFault:
        return _SyntaxFault(self._next.pos, f"Syntax error: mismatched input '{self._next.text}' expecting {expected}")

    # --- expressions ---

    def whole(self) -> Node:
        found = self._expression()
        if self._next.kind != "end":
            raise self._mismatch("<EOF>")
        return found

    def _expression(self) -> Node:
        self._nested += 1
        if self._nested > _NESTED:
            raise _SyntaxFault(self._next.pos, f"expression recursion limit exceeded: {_NESTED}")
        condition = self._binary(1)
        question = self._accept("?")
        if question is not None:
            then = self._binary(1)
            self._expect(":")
            condition = _call("_?_:_", question.pos, (condition, then, self._expression()))
        self._nested -= 1
        return condition

    def _operator(self) -> str:
        token = self._next
        return token.text if token.kind != "ident" or token.text == "in" else ""

    def _binary(self, level: int) -> Node:
        if level <= 2:
            return self._logical(level)
        left = self._unary()
        return self._climb(left, level)

    def _climb(self, left: Node, level: int) -> Node:
        while (found := _PRECEDENCE.get(self._operator(), 0)) >= level:
            token = self._take()
            right = self._unary()
            while _PRECEDENCE.get(self._operator(), 0) > found:
                right = self._climb(right, found + 1)
            left = _call("@in" if token.text == "in" else f"_{token.text}_", token.pos, (left, right))
        return left

    def _logical(self, level: int) -> Node:
        symbol = "||" if level == 1 else "&&"
        terms, positions = [self._binary(level + 1)], []
        while self._next.kind == symbol:
            positions.append(self._take().pos)
            terms.append(self._binary(level + 1))
        return _balanced(f"_{symbol}_", terms, positions)

    def _unary(self) -> Node:
        token = self._next
        if token.kind not in ("!", "-"):
            return self._member(self._primary())
        count = 0
        while self._next.kind == token.kind:
            self._take()
            count += 1
        negative = token.kind == "-" and count % 2 == 1
        if negative and self._next.kind in ("int", "float"):
            number = self._take()
            if number.kind == "int" and number.value > MAX_INT + 1:
                raise _SyntaxFault(number.pos, "invalid int literal")
            return self._member(Literal(-number.value, pos=token.pos))
        operand = self._member(self._primary())
        if count % 2 == 0:
            return operand
        return _call("!_" if token.kind == "!" else "-_", token.pos, (operand,))

    # --- members ---

    def _member(self, node: Node) -> Node:
        while True:
            token = self._next
            if token.kind == ".":
                node = self._select(node)
            elif token.kind == "[":
                self._take()
                optional = self._accept("?") is not None
                index = self._expression()
                self._expect("]")
                node = _call("_[?_]" if optional else "_[_]", token.pos, (node, index))
            elif token.kind == "{" and (name := _type_name(node)):
                node = self._struct(node, name)
            else:
                return node

    def _select(self, node: Node) -> Node:
        dot = self._take()
        optional = self._accept("?") is not None
        name = self._expect("ident")
        if name.text in _CONSTANTS or name.text == "in":
            raise _SyntaxFault(name.pos, f"Syntax error: no viable alternative at input '.{name.text}'")
        opening = self._next
        if opening.kind != "(" or optional:
            return _limited(Select(node, name.text, pos=dot.pos, is_optional=optional, depth=node.depth + 1))
        self._take()
        args = self._arguments(")")
        found = expand(name.text, node, args, opening.pos)
        if isinstance(found, Issue):
            raise _SyntaxFault(found.pos, found.text)
        return _limited(found) if found is not None else _call(name.text, opening.pos, args, target=node)

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        return tuple(self._listed(closing, self._expression))

    def _listed(self, closing: str, one: Callable[[], _T], *, may_trail: bool = False) -> list[_T]:
        found: list[_T] = []
        while self._next.kind != closing:
            found.append(one())
            if self._accept(",") is None:
                break
            if self._next.kind == closing and not may_trail:
                raise self._mismatch("an expression")
        self._expect(closing)
        return found

    # --- primaries ---

    def _primary(self) -> Node:
        token = self._take()
        match token.kind:
            case "int" if token.value > MAX_INT:
                raise _SyntaxFault(token.pos, "invalid int literal")
            case "int" | "uint" | "float" | "string" | "bytes":
                return Literal(token.value, pos=token.pos)
            case "ident":
                return self._name(token)
            case ".":
                return self._name(self._expect("ident"))
            case "(":
                inner = self._expression()
                self._expect(")")
                return inner
            case "[":
                return self._list(token)
            case "{":
                return self._map(token)
        self._at -= 1
        raise self._mismatch("an expression")

    def _name(self, token: Token) -> Node:
        name = token.text
        if name in _CONSTANTS:
            return Literal(_CONSTANTS[name], pos=token.pos)
        if name in RESERVED or name == "in":
            raise _SyntaxFault(token.pos, f"reserved identifier: {name}")
        if self._next.kind != "(":
            return Ident(name, pos=token.pos)
        opening = self._take()
        args = self._arguments(")")
        found = expand(name, None, args, opening.pos)
        if isinstance(found, Issue):
            raise _SyntaxFault(found.pos, found.text)
        return found if found is not None else _call(name, opening.pos, args)

    def _list(self, opening: Token) -> Node:
        def one() -> tuple[bool, Node]:
            return self._accept("?") is not None, self._expression()

        held = self._listed("]", one, may_trail=True)
        items = tuple(item for _, item in held)
        optional = frozenset(index for index, (is_optional, _) in enumerate(held) if is_optional)
        return _limited(ListLiteral(items, optional, pos=opening.pos, depth=_below(items)))

    def _map(self, opening: Token) -> Node:
        def one() -> Entry:
            optional = self._accept("?") is not None
            key = self._expression()
            self._expect(":")
            return Entry(key, self._expression(), optional)

        entries = tuple(self._listed("}", one, may_trail=True))
        depth = _below([part for entry in entries for part in (entry.key, entry.value)])
        return _limited(MapLiteral(entries, pos=opening.pos, depth=depth))

    def _struct(self, node: Node, name: str) -> Node:
        opening = self._take()

        def one() -> FieldInit:
            optional = self._accept("?") is not None
            field = self._expect("ident")
            colon = self._expect(":")
            return FieldInit(colon.pos, field.text, self._expression(), optional)

        fields = tuple(self._listed("}", one, may_trail=True))
        return _limited(Struct(name, fields, pos=opening.pos, depth=_below([field.value for field in fields])))


def _type_name(node: Node) -> str:
    """The dotted name that a chain of selections spells, "" for anything else."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.is_optional:
        parts.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, Ident) else ""


def _below(children: tuple[Node, ...] | list[Node]) -> int:
    return 1 + max((child.depth for child in children), default=0)


def _limited(node: Node) -> Node:
    if node.depth > DEEPEST:
        raise _SyntaxFault(node.pos, f"expression recursion limit exceeded: {DEEPEST}")
    return node


def _call(function: str, pos: int, args: tuple[Node, ...], *, target: Node | None = None) -> Node:
    operands = args if target is None else (target, *args)
    return _limited(Call(function, target, args, pos=pos, depth=_below(operands)))


def _balanced(function: str, terms: list[Node], positions: list[int]) -> Node:
    """Source: cel-go parser/helper.go (balancer)."""
    if len(terms) == 1:
        return terms[0]
    middle = (len(terms)) // 2
    left = _balanced(function, terms[:middle], positions[: middle - 1])
    right = _balanced(function, terms[middle:], positions[middle:])
    return _call(function, positions[middle - 1], (left, right))
