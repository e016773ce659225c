"""Resource quantities.

Before: `overloads.standard`. After: `apimachinery.quantity`. Source: k8s.io/apiserver/pkg/cel/library/quantity.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kcp.apimachinery import quantity
from kcp.apimachinery.cel.costs import walk
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.types import Type, opaque
from kcp.apimachinery.cel.values import MAX_INT, MIN_INT

TYPE = opaque("kubernetes.Quantity")


@dataclass(frozen=True, slots=True)
class Quantity:
    amount: Fraction

    @property
    def cel_type(self) -> Type:
        return TYPE

    def __str__(self) -> str:
        return quantity.format(self.amount)


def parse(text: str) -> Quantity:
    try:
        return Quantity(quantity.parse(text))
    except quantity.QuantityError as error:
        raise EvaluationError(str(error)) from None


def _is_integer(amount: Fraction) -> bool:
    return amount.denominator == 1 and MIN_INT <= amount.numerator <= MAX_INT


def _as_integer(held: Quantity) -> int:
    if not _is_integer(held.amount):
        raise EvaluationError("cannot convert value to integer")
    return held.amount.numerator


def _amount(value: Any) -> Fraction:
    return value.amount if isinstance(value, Quantity) else Fraction(value)


def _compare(left: Quantity, right: Quantity) -> int:
    return (left.amount > right.amount) - (left.amount < right.amount)


OVERLOADS: tuple[Overload, ...] = (
    declare("quantity(string) -> kubernetes.Quantity", parse, walk()),
    declare("isQuantity(string) -> bool", lambda text: not quantity.fault(text), walk()),
    declare("kubernetes.Quantity.sign() -> int", lambda held: (held.amount > 0) - (held.amount < 0)),
    declare("kubernetes.Quantity.isInteger() -> bool", lambda held: _is_integer(held.amount)),
    declare("kubernetes.Quantity.asInteger() -> int", _as_integer),
    declare("kubernetes.Quantity.asApproximateFloat() -> double", lambda held: float(held.amount)),
    declare("kubernetes.Quantity.isGreaterThan(kubernetes.Quantity) -> bool", lambda left, right: left.amount > right.amount),
    declare("kubernetes.Quantity.isLessThan(kubernetes.Quantity) -> bool", lambda left, right: left.amount < right.amount),
    declare("kubernetes.Quantity.compareTo(kubernetes.Quantity) -> int", _compare),
    *(declare(f"kubernetes.Quantity.add({t}) -> kubernetes.Quantity", lambda left, right: Quantity(left.amount + _amount(right)))
      for t in ("kubernetes.Quantity", "int")),
    *(declare(f"kubernetes.Quantity.sub({t}) -> kubernetes.Quantity", lambda left, right: Quantity(left.amount - _amount(right)))
      for t in ("kubernetes.Quantity", "int")),
)  # fmt: skip
