"""From a checked tree to nested closures, which is what evaluates it.

Names become slots, fields their JSON names, calls with known types the bare Python function; the fixed cost of everything that runs
unconditionally is added up here, so that the closures only charge what depends on values.
Before: `program`. After: `operations` (calls), `loops` (macros), `run`. Source: github.com/google/cel-go/interpreter/planner.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kcp.apimachinery.cel import loops, operations
from kcp.apimachinery.cel.ast import Call, Ident, ListLiteral, Literal, Macro, MapLiteral, Node, Select, Struct
from kcp.apimachinery.cel.checker import TYPE_NAMES
from kcp.apimachinery.cel.costs import LIST_BASE, MAP_BASE, STRUCT_BASE
from kcp.apimachinery.cel.errors import EvaluationError, no_such_key, no_such_overload
from kcp.apimachinery.cel.run import Code, Planned, Run
from kcp.apimachinery.cel.types import Type
from kcp.apimachinery.cel.values import NONE, Made, Optional, TypeValue


class Planner:
    def __init__(self, slots: Mapping[str, int]) -> None:
        """`slots`: where each declared variable's value stands in `Run.values`."""
        self._slots = dict(slots)
        self.width = len(slots)
        """How many values a run needs room for."""
        self._used = len(slots)

    def plan(self, node: Node) -> Planned:
        match node:
            case Literal():
                value = node.value
                return Planned(lambda run: value, 0)
            case Ident():
                return self._name(node.name)
            case Select():
                return self._select(node)
            case Call():
                return operations.plan_call(self.plan, node)
            case Macro():
                return self._macro(node)
            case ListLiteral():
                return self._list(node)
            case MapLiteral():
                return self._map(node)
            case Struct():
                return self._struct(node)
        raise TypeError(node)

    def _name(self, name: str) -> Planned:
        slot = self._slots.get(name)
        if slot is None:
            value = TypeValue(_type_name(name))
            return Planned(lambda run: value, 1)
        return Planned(lambda run: run.values[slot], 1)

    # --- fields ---

    def _select(self, node: Select) -> Planned:
        if node.qualified:
            return self._name(node.qualified)
        code, cost = self.plan(node.operand)
        held = node.operand.type
        if node.is_test:
            return Planned(_test(code, _key_of(held, node.field), is_optional=node.is_optional), cost)
        key, convert = _key_of(held, node.field), _convert_of(held, node.field)
        if node.is_optional or held.kind == "optional":
            return Planned(_select_optional(code, key, convert), cost + 1)
        return Planned(_select(code, key, convert), cost + 1)

    # --- macros ---

    def _macro(self, node: Macro) -> Planned:
        over = self.plan(node.range)
        before, used = dict(self._slots), self._used
        slots = []
        for name in node.variables:
            self._slots[name] = self._used
            slots.append(self._used)
            self._used += 1
        self.width = max(self.width, self._used)
        args = [self.plan(arg) for arg in node.args]
        self._slots, self._used = before, used
        return loops.plan_macro(node, over, slots, args)

    # --- literals ---

    def _list(self, node: ListLiteral) -> Planned:
        parts = [self.plan(item) for item in node.items]
        if all(isinstance(item, Literal) for item in node.items) and not node.optional:
            fixed = [item.value for item in node.items if isinstance(item, Literal)]
            return Planned(lambda run: fixed, LIST_BASE)
        codes, optional = [part.code for part in parts], node.optional
        cost = LIST_BASE + sum(part.cost for part in parts)
        if not optional:
            return Planned(lambda run: [code(run) for code in codes], cost)

        def build(run: Run) -> list[Any]:
            made = []
            for index, code in enumerate(codes):
                value = code(run)
                if index not in optional:
                    made.append(value)
                elif _present(value):
                    made.append(value.value)
            return made

        return Planned(build, cost)

    def _map(self, node: MapLiteral) -> Planned:
        planned = [(self.plan(entry.key), self.plan(entry.value), entry.is_optional) for entry in node.entries]
        cost = MAP_BASE + sum(key.cost + value.cost for key, value, _ in planned)
        codes = [(key.code, value.code, is_optional) for key, value, is_optional in planned]

        def build(run: Run) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for key_code, value_code, is_optional in codes:
                key, value = key_code(run), value_code(run)
                if type(key) is list or type(key) is dict or key is None:
                    raise EvaluationError("unsupported key type")
                if key in made:
                    raise EvaluationError(f"Failed with repeated key: {key}")
                if not is_optional:
                    made[key] = value
                elif _present(value):
                    made[key] = value.value
            return made

        return Planned(build, cost)

    def _struct(self, node: Struct) -> Planned:
        planned = [(init.name, self.plan(init.value), init.is_optional) for init in node.fields]
        cost = STRUCT_BASE + sum(part.cost for _, part, _ in planned)
        codes, name = [(field, part.code, is_optional) for field, part, is_optional in planned], node.name

        def build(run: Run) -> Made:
            made: dict[str, Any] = {}
            for field, code, is_optional in codes:
                value = code(run)
                if not is_optional:
                    made[field] = value
                elif _present(value):
                    made[field] = value.value
            return Made(name, made)

        return Planned(build, cost)


def _type_name(name: str) -> str:
    return name if name in TYPE_NAMES else ""


def _present(value: Any) -> bool:
    if type(value) is not Optional:
        raise no_such_overload()
    return value.has_value


def _held(held: Type) -> Type:
    return held.params[0] if held.kind == "optional" else held


def _key_of(held: Type, name: str) -> str:
    """The JSON name of a field."""
    inner = _held(held)
    if inner.kind != "object":
        return name
    known = inner.fields.get(name) or inner.fields.get(f"__{name}__")
    return known.key if known is not None else name


def _convert_of(held: Type, name: str) -> Callable[[Any], Any] | None:
    inner = _held(held)
    if inner.kind != "object":
        return None
    known = inner.fields.get(name) or inner.fields.get(f"__{name}__")
    return known.type.convert if known is not None else None


def _select(code: Code, key: str, convert: Callable[[Any], Any] | None) -> Code:
    def select(run: Run) -> Any:
        held = code(run)
        if type(held) is dict:
            try:
                return held[key]
            except KeyError:
                raise no_such_key(key) from None
        return _field(held, key)

    if convert is None:
        return select

    def select_converted(run: Run) -> Any:
        value = select(run)
        return value if value is None else convert(value)

    return select_converted


def _field(held: Any, key: str) -> Any:
    """A field of what is no plain map."""
    if type(held) is Optional:
        return _optional_field(held, key, None)
    if isinstance(held, Mapping):  # an object made in the expression, or variables that are worked out when they are read
        if key in held:
            return held[key]
        raise no_such_key(key)
    raise no_such_overload()


def _test(code: Code, key: str, *, is_optional: bool) -> Code:
    def test(run: Run) -> bool:
        held = code(run)
        if type(held) is dict:
            return key in held
        if type(held) is Optional:
            return held.has_value and isinstance(held.value, Mapping) and key in held.value
        if isinstance(held, Mapping):
            return key in held
        if is_optional and held is None:
            return False
        raise no_such_overload()

    return test


def _select_optional(code: Code, key: str, convert: Callable[[Any], Any] | None) -> Code:
    return lambda run: _optional_field(code(run), key, convert)


def _optional_field(held: Any, key: str, convert: Callable[[Any], Any] | None) -> Optional:
    if type(held) is Optional:
        if not held.has_value:
            return NONE
        held = held.value
    if not isinstance(held, Mapping):
        raise no_such_overload()
    if key not in held:
        return NONE
    value = held[key]
    return Optional(value if convert is None or value is None else convert(value))
