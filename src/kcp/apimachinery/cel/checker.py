"""Types of every part of an expression, the overloads that fit, and every fault that can be known before it runs.

Before: `program`. After: `unify`, `overloads`. Source: github.com/google/cel-go/checker/checker.go, cel/validator.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery.cel.ast import Call, Ident, ListLiteral, Literal, Macro, MapLiteral, Node, Select, Struct
from kcp.apimachinery.cel.errors import CompileError, EvaluationError, Issue
from kcp.apimachinery.cel.overloads import Overload, standard
from kcp.apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    ERROR,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    opaque,
    optional_of,
    same,
    type_of_type,
)
from kcp.apimachinery.cel.unify import Bindings
from kcp.apimachinery.cel.values import type_of

TYPE_NAMES: Mapping[str, Type] = {
    "bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES, "null_type": NULL, "list": list_of(DYN),
    "map": map_of(DYN, DYN), "type": type_of_type(DYN), "dyn": DYN, "google.protobuf.Timestamp": TIMESTAMP,
    "google.protobuf.Duration": DURATION, "optional_type": optional_of(DYN), "net.IP": opaque("net.IP"), "net.CIDR": opaque("net.CIDR"),
    "kubernetes.URL": opaque("kubernetes.URL"), "kubernetes.Quantity": opaque("kubernetes.Quantity"),
    "kubernetes.Semver": opaque("kubernetes.Semver"), "kubernetes.NamedFormat": opaque("kubernetes.NamedFormat"),
}  # fmt: skip
"""Types that an expression can name."""


def _no_structs(name: str) -> Type | None:
    return None


@dataclass(frozen=True, slots=True)
class Environment:
    """What an expression may refer to beside the standard functions."""

    variables: Mapping[str, Type]
    structs: Callable[[str], Type | None] = _no_structs
    """The type that `Name{…}` makes."""
    functions: Mapping[str, tuple[Overload, ...]] = field(default_factory=standard)


def check(root: Node, environment: Environment, source: str) -> Type:
    """The expression's type; types and overloads are written into the tree. Raises CompileError."""
    checker = _Checker(environment)
    checker.of(root)
    if checker.issues:
        raise CompileError(source, checker.issues)
    checker.finish()
    return root.type


_VALIDATED = {"duration": 0, "timestamp": 0, "matches": -1}


class _Checker:
    def __init__(self, environment: Environment) -> None:
        self._env = environment
        self._scope: dict[str, Type] = {}
        self._bindings = Bindings()
        self._seen: list[Node] = []
        self.issues: list[Issue] = []

    def finish(self) -> None:
        for node in self._seen:
            node.type = self._bindings.resolve(node.type, is_final=True)

    def of(self, node: Node) -> Type:
        """The type of a node, known as far as it can be by now."""
        match node:
            case Literal():
                found = type_of(node.value)
            case Ident():
                found = self._ident(node)
            case Select():
                found = self._select(node)
            case Call():
                found = self._call(node)
            case Macro():
                found = self._macro(node)
            case ListLiteral():
                found = self._list(node)
            case MapLiteral():
                found = self._map(node)
            case Struct():
                found = self._struct(node)
            case _:
                raise TypeError(node)
        node.type = found
        self._seen.append(node)
        return found

    def _fault(self, pos: int, text: str) -> Type:
        self.issues.append(Issue(pos, text))
        return ERROR

    def _undeclared(self, pos: int, name: str) -> Type:
        return self._fault(pos, f"undeclared reference to '{name}' (in container '')")

    # --- names and fields ---

    def _ident(self, node: Ident) -> Type:
        found = self._variable(node.name)
        return found if found is not None else self._undeclared(node.pos, node.name)

    def _variable(self, name: str) -> Type | None:
        found = self._scope.get(name) or self._env.variables.get(name)
        if found is None and name in TYPE_NAMES:
            return type_of_type(TYPE_NAMES[name])
        return found

    def _select(self, node: Select) -> Type:
        name = "" if node.is_test or node.is_optional else _qualified(node)
        if name and name.split(".")[0] not in self._scope and (found := self._variable(name)) is not None:
            node.qualified = name
            return found
        operand = self._bindings.resolve(self.of(node.operand))
        is_optional = node.is_optional or operand.kind == "optional"
        held = operand.params[0] if operand.kind == "optional" else operand
        found = self._field(node, self._bindings.resolve(held))
        if node.is_test:
            return BOOL
        return optional_of(found) if is_optional and found.kind != "error" else found

    def _field(self, node: Select, held: Type) -> Type:
        match held.kind:
            case "map":
                return held.params[1]
            case "object":
                known = held.fields.get(node.field) or held.fields.get(f"__{node.field}__")
                return known.type if known is not None else self._fault(node.pos, f"undefined field '{node.field}'")
            case "dyn" | "error" | "param":
                return DYN if held.kind != "error" else ERROR
        return self._fault(node.pos, f"type '{held}' does not support field selection")

    # --- calls ---

    def _call(self, node: Call) -> Type:
        if node.target is not None and (name := _qualified(node.target)) and f"{name}.{node.function}" in self._env.functions:
            if name.split(".")[0] not in self._scope and name not in self._env.variables:
                node.function, node.target = f"{name}.{node.function}", None
        given = [self.of(operand) for operand in node.operands]
        candidates = [o for o in self._env.functions.get(node.function, ()) if o.is_member == (node.target is not None)]
        if node.function not in self._env.functions:
            return self._undeclared(node.pos, node.function)
        if any(one.kind == "error" for one in given):
            return ERROR
        found, overloads = self._resolve(candidates, given)
        if found is None:
            return self._no_overload(node, given)
        node.overloads = overloads
        self._check_literal(node)
        return found

    def _resolve(self, candidates: list[Overload], given: list[Type]) -> tuple[Type | None, tuple[Overload, ...]]:
        result: Type | None = None
        fitting: list[Overload] = []
        for overload in candidates:
            if len(overload.params) != len(given):
                continue
            *params, declared = self._bindings.renamed((*overload.params, overload.result))
            if not self._bindings.accept(params, given):
                continue
            fitting.append(overload)
            found = self._bindings.resolve(declared)
            if result is None:
                result = found
            elif not result.is_dyn and not same(result, found):
                result = DYN
        return result, tuple(fitting)

    def _no_overload(self, node: Call, given: list[Type]) -> Type:
        shown = [str(self._bindings.resolve(one, is_final=True)) for one in given]
        applied = f"({', '.join(shown)})" if node.target is None else f"{shown[0]}.({', '.join(shown[1:])})"
        return self._fault(node.pos, f"found no matching overload for '{node.function}' applied to '{applied}'")

    def _check_literal(self, node: Call) -> None:
        """Durations, timestamps and patterns written out are checked ahead of time."""
        index = _VALIDATED.get(node.function)
        if index is None or not node.args:
            return
        arg = node.args[index]
        if not isinstance(arg, Literal) or type(arg.value) is not str:
            return
        from kcp.apimachinery.cel.library import regexes, times

        attempt: Any = {"duration": times.parse_duration, "timestamp": times.parse_timestamp, "matches": regexes.compiled}[node.function]
        try:
            attempt(arg.value)
        except EvaluationError:
            self._fault(arg.pos, f"invalid {node.function} argument")

    # --- literals ---

    def _list(self, node: ListLiteral) -> Type:
        item: Type | None = None
        for index, child in enumerate(node.items):
            found = self.of(child)
            if index in node.optional:
                found = self._unwrapped(child, found)
            item = self._joined(child.pos, item, found)
        return list_of(item if item is not None else self._bindings.fresh())

    def _map(self, node: MapLiteral) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self._joined(entry.key.pos, key, self.of(entry.key))
            found = self.of(entry.value)
            if entry.is_optional:
                found = self._unwrapped(entry.value, found)
            value = self._joined(entry.value.pos, value, found)
        return map_of(key or self._bindings.fresh(), value or self._bindings.fresh())

    def _unwrapped(self, node: Node, found: Type) -> Type:
        resolved = self._bindings.resolve(found)
        if resolved.kind == "optional":
            return resolved.params[0]
        return DYN if resolved.kind in ("dyn", "error") else self._expected(node.pos, optional_of(resolved), resolved)

    def _joined(self, pos: int, so_far: Type | None, found: Type) -> Type:
        """The common type of the parts of a literal, which must be all of one type."""
        if so_far is None:
            return found
        if not self._bindings.accept((so_far,), (found,)):
            return self._expected(pos, so_far, found)
        return DYN if so_far.is_dyn or self._bindings.resolve(found).is_dyn else so_far

    def _expected(self, pos: int, wanted: Type, found: Type) -> Type:
        shown = (self._bindings.resolve(one, is_final=True) for one in (wanted, found))
        return self._fault(pos, "expected type '{}' but found '{}'".format(*shown))

    def _struct(self, node: Struct) -> Type:
        made = self._env.structs(node.name)
        if made is None:
            return self._undeclared(node.pos, node.name)
        for init in node.fields:
            found = self.of(init.value)
            if init.is_optional:
                found = self._unwrapped(init.value, found)
            declared = made.fields.get(init.name)
            if declared is None:
                self._fault(init.pos, f"undefined field '{init.name}'")
            elif not self._bindings.accept((declared.type,), (found,)):
                shown = self._bindings.resolve(found, is_final=True)
                self._fault(init.pos, f"expected type of field '{init.name}' is '{declared.type}' but provided type is '{shown}'")
        return made

    # --- macros ---

    @contextmanager
    def _with(self, names: tuple[str, ...], types: tuple[Type, ...]) -> Any:
        before = dict(self._scope)
        self._scope.update(zip(names, types, strict=True))
        try:
            yield
        finally:
            self._scope = before

    def _macro(self, node: Macro) -> Type:
        over = self._bindings.resolve(self.of(node.range))
        if node.name in ("optMap", "optFlatMap"):
            return self._optional_map(node, over)
        key, value = self._elements(node, over)
        if len(node.variables) == 2:
            bound: tuple[Type, ...] = (INT if over.kind == "list" else key, value)
        else:
            bound = (value if over.kind == "list" else key,)
        with self._with(node.variables, bound):
            found = [self.of(arg) for arg in node.args]
        return self._macro_result(node, bound, found)

    def _elements(self, node: Macro, over: Type) -> tuple[Type, Type]:
        match over.kind:
            case "list":
                return INT, over.params[0]
            case "map":
                return over.params[0], over.params[1]
            case "dyn" | "error" | "param":
                return DYN, DYN
        text = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
        return self._fault(node.range.pos, text), ERROR

    def _macro_result(self, node: Macro, bound: tuple[Type, ...], found: list[Type]) -> Type:
        last = found[-1]
        match node.name:
            case "all" | "exists" | "exists_one" | "filter":
                self._predicate(node, node.args[0], last)
                return list_of(bound[0]) if node.name == "filter" else BOOL
            case "transformMapEntry":
                self._filtered(node, found)
                resolved = self._bindings.resolve(last)
                return resolved if resolved.kind == "map" else map_of(DYN, DYN)
        self._filtered(node, found)
        return map_of(bound[0], last) if node.name == "transformMap" else list_of(last)

    def _filtered(self, node: Macro, found: list[Type]) -> None:
        if len(found) == 2:
            self._predicate(node, node.args[0], found[0])

    def _predicate(self, node: Macro, arg: Node, found: Type) -> None:
        if found.kind == "error" or self._bindings.accept((BOOL,), (found,)):
            return
        shown = self._bindings.resolve(found, is_final=True)
        operator = {"all": "_&&_", "exists": "_||_"}.get(node.name)
        applied = f"(bool, {shown})" if operator else f"({shown}, _, _)"
        self._fault(node.pos, f"found no matching overload for '{operator or '_?_:_'}' applied to '{applied}'")

    def _optional_map(self, node: Macro, over: Type) -> Type:
        if over.kind not in ("optional", "dyn", "param", "error"):
            return self._fault(node.pos, f"found no matching overload for 'hasValue' applied to '{over}.()'")
        held = over.params[0] if over.kind == "optional" else DYN
        with self._with(node.variables, (held,)):
            found = self._bindings.resolve(self.of(node.args[0]))
        if node.name == "optMap":
            return optional_of(found)
        if found.kind not in ("optional", "dyn", "param", "error"):
            return self._expected(node.args[0].pos, optional_of(held), found)
        return found


def _qualified(node: Node) -> str:
    """`a.b.c` for a chain of plain selections from a name, else ""."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.is_test and not node.is_optional:
        parts.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(parts)]) if isinstance(node, Ident) else ""
