"""What calls cost: the amount charged while an expression runs, and the range it may come to, worked out before.

The units are cel-go's: 1 for a look-up or a simple call, a tenth per character that is walked over. Kubernetes' limits are in these units.
Before: `overloads`, `plan`, `estimate`.
Source: github.com/google/cel-go/{checker/cost.go,interpreter/runtimecost.go,common/cost.go}, k8s.io/apiserver/pkg/cel/library/cost.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from kcp.apimachinery.cel.types import Type
from kcp.apimachinery.cel.values import size_of

PER_CALL = 1_000_000
"""Of one expression while it runs. Source: k8s.io/apiserver/pkg/apis/cel/config.go (PerCallLimit)."""
PER_OBJECT = 10_000_000
"""Of all rules on one object, or all expressions of one policy (RuntimeCELCostBudget)."""
PER_MATCH_CONDITIONS = 2_500_000
"""Of one webhook's or policy's match conditions (RuntimeCELCostBudgetMatchConditions)."""
ESTIMATED_RULE = 10_000_000
"""Of one rule in a CRD, times how often it may apply (StaticEstimatedCostLimit)."""
ESTIMATED_CRD = 100_000_000
"""Of all rules of one version of a CRD (StaticEstimatedCRDCostLimit)."""

UNBOUNDED = (1 << 64) - 1
WALK = 0.1
REGEX = 0.25
LIST_BASE, MAP_BASE, STRUCT_BASE = 10, 30, 40


class Range(NamedTuple):
    """From the least to the most a size or a cost may be."""

    low: int
    high: int

    def plus(self, other: Range) -> Range:
        return Range(min(self.low + other.low, UNBOUNDED), min(self.high + other.high, UNBOUNDED))

    def times(self, other: Range) -> Range:
        return Range(min(self.low * other.low, UNBOUNDED), min(self.high * other.high, UNBOUNDED))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.low, factor), _scaled(self.high, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


def _scaled(value: int, factor: float) -> int:
    return UNBOUNDED if value == UNBOUNDED and factor else min(math.ceil(value * factor), UNBOUNDED)


def exactly(value: int) -> Range:
    return Range(value, value)


ONE = exactly(1)
ZERO = exactly(0)
ANY_SIZE = Range(0, UNBOUNDED)


@dataclass(frozen=True, slots=True)
class Operand:
    """What the estimate knows about one operand, the target of a member call being the first."""

    type: Type
    size: Range
    cost: Range
    literal: Any = None
    item_size: Range = ANY_SIZE
    """Of the elements, where the operand is a list."""


class Estimated(NamedTuple):
    cost: Range
    """Beside that of the operands."""
    size: Range | None = None
    """Of the result, where it has one."""


Actual: TypeAlias = Callable[[Sequence[Any]], int]
"""Arguments → cost, charged before the call is made: what would cost too much is never begun."""
Estimate: TypeAlias = Callable[[Sequence[Operand]], Estimated]


@dataclass(frozen=True, slots=True)
class CostModel:
    """What one function costs."""

    actual: Actual | None
    """None: always `fixed`."""
    estimate: Estimate
    fixed: int = 1


def walked(length: int, times: float = 1) -> int:
    return math.ceil(length * WALK * times)


def fixed(cost: int) -> CostModel:
    return CostModel(None, lambda operands: Estimated(exactly(cost)), cost)


CONSTANT = fixed(1)
AUTHORIZATION = fixed(350_000)


def walk(index: int = 0, *, times: float = 1, keeps_size: bool = False) -> CostModel:
    """Proportional to the length of one operand, which may be the size of the result too."""

    def actual(args: Sequence[Any]) -> int:
        return walked(size_of(args[index]), times)

    def estimate(operands: Sequence[Operand]) -> Estimated:
        size = operands[index].size
        return Estimated(size.scaled(times * WALK), size if keeps_size else None)

    return CostModel(actual, estimate)


def _regex_actual(args: Sequence[Any]) -> int:
    return math.ceil((1 + size_of(args[0])) * WALK) * math.ceil(size_of(args[1]) * REGEX)


def _regex_cost(operands: Sequence[Operand]) -> Range:
    return operands[0].size.plus(ONE).scaled(WALK).times(operands[1].size.scaled(REGEX))


MATCHES = CostModel(_regex_actual, lambda operands: Estimated(_regex_cost(operands)))
FIND = CostModel(_regex_actual, lambda operands: Estimated(_regex_cost(operands), Range(0, operands[0].size.high)))


def _contains_actual(args: Sequence[Any]) -> int:
    return walked(size_of(args[0])) * walked(size_of(args[1]))


CONTAINS = CostModel(_contains_actual, lambda operands: Estimated(operands[0].size.scaled(WALK).times(operands[1].size.scaled(WALK))))


def weight(value: Any) -> int:
    """How many values a value is made of, itself included; counting stops at `_MOST_WEIGHED`.

    Values can share parts, so a small expression can make one that is larger than memory: whatever walks over one weighs it first.
    """
    kind = type(value)
    if kind is not list and kind is not dict:
        return 1
    total, waiting = 1, [value]
    while waiting and total < _MOST_WEIGHED:
        held = waiting.pop()
        total += len(held)
        waiting += [item for item in (held.values() if type(held) is dict else held) if type(item) is list or type(item) is dict]
    return total


_MOST_WEIGHED = 20_000_000


def _compare_actual(args: Sequence[Any]) -> int:
    left, right = args
    if type(left) in (list, dict) and type(right) is type(left):
        return 1 if len(left) != len(right) else 1 + weight(left) // 2
    return walked(min(size_of(left), size_of(right)))


def _compare_estimate(operands: Sequence[Operand]) -> Estimated:
    most = min(operands[0].size.high, operands[1].size.high)
    return Estimated(Range(1 if most else 0, most).scaled(WALK))


COMPARE = CostModel(_compare_actual, _compare_estimate)


def _joined_size(operands: Sequence[Operand]) -> Range:
    return operands[0].size.plus(operands[1].size)


CONCATENATE = CostModel(
    lambda args: walked(size_of(args[0]) + size_of(args[1])),
    lambda operands: Estimated(_joined_size(operands).scaled(WALK), _joined_size(operands)),
)
APPEND = CostModel(
    lambda args: max(1, walked(size_of(args[0]) + size_of(args[1]))), lambda operands: Estimated(ONE, _joined_size(operands))
)
"""Upstream joins lists without copying, for 1; the copy made here is charged when it is made."""


def _in_list_actual(args: Sequence[Any]) -> int:
    wanted, items = args
    return max(size_of(items), walked(weight(items))) if type(wanted) in (list, dict) else size_of(items)


IN_LIST = CostModel(_in_list_actual, lambda operands: Estimated(operands[1].size.scaled(1)))


def _tree(value: Any) -> int:
    """The cost of walking over everything in a value: a tenth per character, 1 for anything else."""
    kind = type(value)
    if kind is str or kind is bytes:
        return int(len(value) * WALK)
    if kind is not list and kind is not dict:
        return 1
    total, waiting = 0, [value]
    while waiting and total < _MOST_WEIGHED:
        held = waiting.pop()
        for item in (*held, *held.values()) if type(held) is dict else held:
            if type(item) is list or type(item) is dict:
                waiting.append(item)
                total += 1
            else:
                total += int(len(item) * WALK) if type(item) is str or type(item) is bytes else 1
    return total


def _list_estimate(operands: Sequence[Operand]) -> Estimated:
    target = operands[0]
    if target.type.kind != "list":
        return Estimated(target.size.scaled(WALK))
    each = ONE
    if target.type.params[0].kind in ("string", "bytes"):
        each = each.plus(target.item_size.scaled(WALK))
    return Estimated(target.size.times(each))


LIST_WALK = CostModel(lambda args: _tree(args[0]), _list_estimate)


def _split_estimate(operands: Sequence[Operand]) -> Estimated:
    target, most = operands[0], operands[0].size.high
    if len(operands) > 2 and type(operands[2].literal) is int and operands[2].literal >= 0:
        most = operands[2].literal
    return Estimated(target.size.scaled(2 * WALK), Range(0, most))


SPLIT = CostModel(lambda args: walked(size_of(args[0]), 2), _split_estimate)


def _join_estimate(operands: Sequence[Operand]) -> Estimated:
    target = operands[0]
    size = target.size.times(target.item_size)
    if len(operands) > 1:
        between = Range(max(target.size.low - 1, 0), max(target.size.high - 1, 0) if target.size.high != UNBOUNDED else UNBOUNDED)
        size = size.plus(operands[1].size.times(between))
    return Estimated(size.scaled(WALK), size)


def _join_actual(args: Sequence[Any]) -> int:
    items = args[0]
    between = size_of(args[1]) if len(args) > 1 else 0
    return walked(sum(map(size_of, items)) + between * len(items), 2)


JOIN = CostModel(_join_actual, _join_estimate)


def _replaced_size(text: Range, old: Range, new: Range) -> Range:
    """Upstream's: the shortest and the longest that replacing can make a string."""
    if old.low == 0:
        high = min((text.high + 1) * new.high + text.high, UNBOUNDED)
    elif new.high <= old.low:
        high = text.high
    else:
        high = min(-(-text.high // old.low) * new.high, UNBOUNDED)
    if old.high == 0:
        low = (text.low + 1) * new.low + text.low
    elif old.high <= new.low:
        low = text.low
    else:
        low = -(-text.low // old.high) * new.low
    return Range(min(low, UNBOUNDED), high)


def _replace_actual(args: Sequence[Any]) -> int:
    text, old, new = args[:3]
    longer = text.count(old) * max(len(new) - len(old), 0)
    return walked(max(2 * len(text), len(text) + longer))


REPLACE = CostModel(
    _replace_actual,
    lambda operands: Estimated(operands[0].size.scaled(2 * WALK), _replaced_size(operands[0].size, operands[1].size, operands[2].size)),
)


def _format_estimate(operands: Sequence[Operand]) -> Estimated:
    return Estimated(operands[0].size.scaled(WALK), operands[0].size)


FORMAT = CostModel(lambda args: walked(len(args[0])) + _tree(args[1]), _format_estimate)

_ADDRESS = Range(4, 16)


def network(compared: float, extra: int, *, parses: bool) -> CostModel:
    """Comparing two addresses (4 or 16 bytes), `compared` times a walk over both; `parses`: the argument is text."""

    def actual(args: Sequence[Any]) -> int:
        return walked(16, compared) + extra + (walked(size_of(args[1])) if parses else 0)

    def estimate(operands: Sequence[Operand]) -> Estimated:
        cost = _ADDRESS.scaled(compared * WALK).plus(exactly(extra))
        return Estimated(cost.plus(operands[1].size.scaled(WALK)) if parses else cost)

    return CostModel(actual, estimate)


def sets(factor: int) -> CostModel:
    """Every element of one list compared with every one of another. Source: cel-go ext/sets.go."""

    def actual(args: Sequence[Any]) -> int:
        left, right = args
        compared = size_of(left) * size_of(right)
        nested = any(type(item) in (list, dict) for item in left[:1])
        return 1 + factor * (max(compared, walked(weight(left) * size_of(right))) if nested else compared)

    def estimate(operands: Sequence[Operand]) -> Estimated:
        return Estimated(operands[0].size.times(operands[1].size).times(exactly(factor)).plus(ONE))

    return CostModel(actual, estimate)
