"""Calls at run time: the logical operators, which do not always evaluate both sides, quick ways for what rules do most, and the rest.

Before: `plan`. After: the functions of `overloads`. Source: github.com/google/cel-go/interpreter/interpretable.go.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from kcp.apimachinery.cel.ast import Call, Literal, Node
from kcp.apimachinery.cel.costs import COMPARE, WALK
from kcp.apimachinery.cel.equality import is_unordered, typed_equals
from kcp.apimachinery.cel.errors import EvaluationError, no_such_overload
from kcp.apimachinery.cel.overloads import Overload
from kcp.apimachinery.cel.run import Code, Planned, Run, charged
from kcp.apimachinery.cel.types import SCALARS
from kcp.apimachinery.cel.values import Optional, equals

Plan = Callable[[Node], Planned]


def plan_call(plan: Plan, node: Call) -> Planned:
    match node.function:
        case "_&&_" | "_||_":
            left, right = (plan(arg) for arg in node.args)
            return Planned(_logical(left.code, charged(right), decides=node.function == "_||_"), left.cost)
        case "_?_:_":
            condition, then, other = (plan(arg) for arg in node.args)
            return Planned(_conditional(condition.code, charged(then), charged(other)), condition.cost)
        case "_==_" | "_!=_":
            return _equality(plan, node)
        case "or" | "orValue" if node.target is not None:
            held, other = plan(node.target), plan(node.args[0])
            return Planned(_otherwise(held.code, charged(other), gives_value=node.function == "orValue"), held.cost + 1)
    parts = [plan(operand) for operand in node.operands]
    cost = sum(part.cost for part in parts)
    compare = _COMPARISONS.get(node.function)
    if compare is not None and {operand.type.kind for operand in node.args} in _PLAIN_ORDER:
        return Planned(_direct(compare, [part.code for part in parts]), cost + 1)
    return _general(node, [part.code for part in parts], cost)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge,
}  # fmt: skip
_PLAIN_ORDER = ({"int"}, {"double"}, {"int", "double"}, {"timestamp"})
"""Types whose values Python compares as CEL does."""


def _logical(left: Code, right: Code, *, decides: bool) -> Code:
    """`decides`: the value of either side that settles it, even if the other side fails."""

    answer, other_answer = decides, not decides

    def run_logical(run: Run) -> bool:
        try:
            found = left(run)
        except EvaluationError:
            if right(run) is decides:
                return answer
            raise
        if found is decides:
            return answer
        other = right(run)
        if other is decides:
            return answer
        if found is not other_answer or other is not other_answer:
            raise no_such_overload()
        return not answer

    return run_logical


def _conditional(condition: Code, then: Code, other: Code) -> Code:
    def run_conditional(run: Run) -> Any:
        found = condition(run)
        if found is True:
            return then(run)
        if found is False:
            return other(run)
        raise no_such_overload()

    return run_conditional


def _otherwise(held: Code, other: Code, *, gives_value: bool) -> Code:
    """`a.or(b)`, `a.orValue(b)`: the other is evaluated only where it is needed."""

    def run_otherwise(run: Run) -> Any:
        found = held(run)
        if type(found) is not Optional:
            raise no_such_overload()
        if not found.has_value:
            return other(run)
        return found.value if gives_value else found

    return run_otherwise


# --- equality ---


def _equality(plan: Plan, node: Call) -> Planned:
    left, right = node.args
    first, second = plan(left), plan(right)
    cost, wanted = first.cost + second.cost, node.function == "_==_"
    literal = _short_literal(right)
    if literal is not None:
        return Planned(_equals_literal(first.code, literal, wanted=wanted), cost + 1)
    kinds = {left.type.kind, right.type.kind}
    if len(kinds) == 1 and kinds <= SCALARS:
        return Planned(_same_kind(first.code, second.code, wanted=wanted), cost + 1)
    if kinds == {"string"}:
        return Planned(_equal_strings(first.code, second.code, wanted=wanted), cost)
    schema = left.type.schema if left.type is right.type else None
    unordered = schema if schema is not None and is_unordered(schema) else None
    return Planned(_equal_values(first.code, second.code, node.overloads, unordered, wanted=wanted), cost)


def _short_literal(node: Node) -> Any:
    """A literal that comparing with costs 1 whatever stands on the other side."""
    if not isinstance(node, Literal):
        return None
    value = node.value
    return value if type(value) in (bool, int) or (type(value) is str and 0 < len(value) * WALK <= 1) else None


def _equals_literal(code: Code, literal: Any, *, wanted: bool) -> Code:
    kind = type(literal)
    if kind is str:
        return (lambda run: bool(code(run) == literal)) if wanted else (lambda run: bool(code(run) != literal))
    if kind is bool:
        return (lambda run: code(run) is literal) if wanted else (lambda run: code(run) is not literal)

    def equals_number(run: Run) -> bool:
        value = code(run)
        return (value == literal and type(value) is not bool) is wanted

    return equals_number


def _same_kind(left: Code, right: Code, *, wanted: bool) -> Code:
    return (lambda run: bool(left(run) == right(run))) if wanted else (lambda run: bool(left(run) != right(run)))


def _equal_strings(left: Code, right: Code, *, wanted: bool) -> Code:
    def equal_strings(run: Run) -> bool:
        a, b = left(run), right(run)
        run.charge(COMPARE.actual((a, b)) if COMPARE.actual else 1)
        return (a == b) is wanted

    return equal_strings


def _equal_values(left: Code, right: Code, overloads: tuple[Overload, ...], schema: Any, *, wanted: bool) -> Code:
    """`schema`: of lists on both sides, or objects with such lists in them, whose order means nothing."""

    def equal_values(run: Run) -> bool:
        a, b = left(run), right(run)
        run.charge(COMPARE.actual((a, b)) if COMPARE.actual else 1)
        return (equals(a, b) if schema is None else typed_equals(schema, a, b)) is wanted

    return equal_values


# --- everything else ---


def _general(node: Call, codes: list[Code], cost: int) -> Planned:
    overloads = node.overloads
    functions = {overload.run for overload in overloads}
    models = {id(overload.cost) for overload in overloads}
    is_certain = len(functions) == 1 and len(models) == 1 and (node.function in _OPERATORS or _is_typed(node))
    if is_certain:
        overload = overloads[0]
        if overload.cost.actual is None:
            return Planned(_direct(overload.run, codes), cost + overload.cost.fixed)
        return Planned(_measured(overload, codes), cost)
    return Planned(_dispatched(overloads, codes), cost)


_OPERATORS = frozenset((
    "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "!_", "_<_", "_<=_", "_>_", "_>=_", "_[_]", "_[?_]", "@in", "size", "int", "uint", "double",
    "bool", "dyn", "type",
))  # fmt: skip
"""Their functions look at the types of the values themselves."""


def _is_typed(node: Call) -> bool:
    """Whether the values are bound to be of the declared types."""
    return all(
        param.kind in ("dyn", "param") or operand.type.kind == param.kind
        for param, operand in zip(node.overloads[0].params, node.operands, strict=True)
    )


def _direct(function: Callable[..., Any], codes: Sequence[Code]) -> Code:
    if len(codes) == 1:
        (only,) = codes
        return lambda run: function(only(run))
    if len(codes) == 2:
        first, second = codes
        return lambda run: function(first(run), second(run))
    return lambda run: function(*[code(run) for code in codes])


def _measured(overload: Overload, codes: Sequence[Code]) -> Code:
    function, actual = overload.run, overload.cost.actual
    assert actual is not None

    def run_measured(run: Run) -> Any:
        args = [code(run) for code in codes]
        run.charge(actual(args))
        return function(*args)

    return run_measured


def _dispatched(overloads: tuple[Overload, ...], codes: Sequence[Code]) -> Code:
    """The overload is found by the values."""

    def run_dispatched(run: Run) -> Any:
        args = tuple(code(run) for code in codes)
        for overload in overloads:
            if overload.fits(args):
                run.charge(overload.cost.fixed if overload.cost.actual is None else overload.cost.actual(args))
                return overload.run(*args)
        raise no_such_overload()

    return run_dispatched
