"""The operators and `size`: one Python function per operator, which looks at the values' types itself.

Before: `overloads.standard`, `plan`. Source: github.com/google/cel-go/common/stdlib/standard.go.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from kcp.apimachinery.cel.costs import APPEND, COMPARE, CONCATENATE, CONSTANT, IN_LIST
from kcp.apimachinery.cel.errors import EvaluationError, no_such_key, no_such_overload
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.values import (
    NONE,
    NUMBERS,
    Duration,
    Optional,
    UInt,
    checked_int,
    checked_uint,
    contains,
    equals,
    less,
    not_greater,
)


def add(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is other:
        if kind is int:
            return checked_int(left + right)
        if kind is str or kind is list or kind is float or kind is bytes:
            return left + right
        if kind is UInt:
            return checked_uint(int(left) + int(right))
        if kind is Duration:
            return Duration(left.ns + right.ns)
    if kind is datetime and other is Duration:
        return _moved(left, right.ns)
    if kind is Duration and other is datetime:
        return _moved(right, left.ns)
    raise no_such_overload()


def _moved(moment: datetime, ns: int) -> datetime:
    try:
        return moment + timedelta(microseconds=ns // 1000)
    except OverflowError:
        raise EvaluationError("timestamp overflow") from None


def subtract(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is other:
        if kind is int:
            return checked_int(left - right)
        if kind is float:
            return left - right
        if kind is UInt:
            return checked_uint(int(left) - int(right))
        if kind is Duration:
            return Duration(left.ns - right.ns)
        if kind is datetime:
            return Duration((left - right) // timedelta(microseconds=1) * 1000)
    if kind is datetime and other is Duration:
        return _moved(left, -right.ns)
    raise no_such_overload()


def multiply(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return checked_int(left * right)
        if kind is float:
            return left * right
        if kind is UInt:
            return checked_uint(int(left) * int(right))
    raise no_such_overload()


def divide(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right) or kind not in NUMBERS:
        raise no_such_overload()
    if kind is float:
        if right == 0:
            return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
        return left / right
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(int(left)) // abs(int(right))
    if kind is UInt:
        return UInt(quotient)
    return checked_int(quotient if (left < 0) == (right < 0) else -quotient)


def remainder(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right) or kind not in (int, UInt):
        raise no_such_overload()
    if right == 0:
        raise EvaluationError("modulus by zero")
    rest = abs(int(left)) % abs(int(right))
    return UInt(rest) if kind is UInt else -rest if left < 0 else rest


def negate(value: Any) -> Any:
    if type(value) is int:
        return checked_int(-value)
    if type(value) is float:
        return -value
    raise no_such_overload()


def invert(value: Any) -> bool:
    if type(value) is not bool:
        raise no_such_overload()
    return not value


def greater(left: Any, right: Any) -> bool:
    return less(right, left)


def not_less(left: Any, right: Any) -> bool:
    return not_greater(right, left)


def differs(left: Any, right: Any) -> bool:
    return not equals(left, right)


def is_in(wanted: Any, held: Any) -> bool:
    if type(held) is list:
        return contains(held, wanted)
    if type(held) is dict:
        return _key(held, wanted) is not None
    raise no_such_overload()


def _key(held: dict[Any, Any], key: Any) -> Any:
    """The key of a map that equals `key`, as a list of one; None if there is none. A bool is no number, though Python hashes them alike."""
    kind = type(key)
    if kind is str:
        return (key,) if key in held else None
    if kind not in (bool, int, UInt, float) or key not in held:
        return None
    return next(((k,) for k in held if k == key and isinstance(k, bool) == (kind is bool)), None)


def index(held: Any, key: Any) -> Any:
    if type(held) is dict:
        found = _key(held, key)
        if found is None:
            raise no_such_key(_shown(key))
        return held[found[0]]
    if type(held) is list:
        return held[_position(held, key)]
    if type(held) is Optional:
        return optional_index(held, key)
    raise no_such_overload()


def _shown(key: Any) -> str:
    return key if type(key) is str else str(key).lower() if type(key) is bool else str(key)


def _position(held: list[Any], key: Any) -> int:
    kind = type(key)
    if kind not in NUMBERS:
        raise no_such_overload()
    if kind is float and not key.is_integer():
        raise EvaluationError("unsupported index value")
    if not 0 <= key < len(held):
        raise EvaluationError(f"index out of bounds: {int(key)}")
    return int(key)


def optional_index(held: Any, key: Any) -> Optional:
    if type(held) is Optional:
        if not held.has_value:
            return NONE
        held = held.value
    if type(held) is dict:
        found = _key(held, key)
        return NONE if found is None else Optional(held[found[0]])
    if type(held) is list:
        if type(key) not in NUMBERS:
            raise no_such_overload()
        return Optional(held[int(key)]) if 0 <= key < len(held) and key == int(key) else NONE
    raise no_such_overload()


def size(value: Any) -> int:
    if type(value) in (str, list, dict, bytes):
        return len(value)
    raise no_such_overload()


def _never(*args: Any) -> Any:
    """The logical operators do not evaluate all their operands: `plan` has them."""
    raise no_such_overload()


_ORDERED = ("bool", "int", "uint", "double", "timestamp", "duration")
_CROSSED = (("int", "uint"), ("int", "double"), ("uint", "int"), ("uint", "double"), ("double", "int"), ("double", "uint"))


def _comparisons() -> list[Overload]:
    found = []
    for symbol, run in (("_<_", less), ("_<=_", not_greater), ("_>_", greater), ("_>=_", not_less)):
        pairs = [*((t, t) for t in _ORDERED), *_CROSSED]
        found += [declare(f"{symbol}({a}, {b}) -> bool", run) for a, b in pairs]
        found += [declare(f"{symbol}({t}, {t}) -> bool", run, COMPARE) for t in ("string", "bytes")]
    return found


def _arithmetic() -> list[Overload]:
    found = [declare(f"_{s}_({t}, {t}) -> {t}", run)
             for s, run in (("+", add), ("-", subtract), ("*", multiply), ("/", divide)) for t in ("int", "uint", "double")]  # fmt: skip
    found += [declare(f"_%_({t}, {t}) -> {t}", remainder) for t in ("int", "uint")]
    found += [declare(f"-_({t}) -> {t}", negate) for t in ("int", "double")]
    found += [declare(f"_+_({t}, {t}) -> {t}", add, CONCATENATE) for t in ("string", "bytes")]
    return found


OVERLOADS: tuple[Overload, ...] = (
    declare("_&&_(bool, bool) -> bool", _never),
    declare("_||_(bool, bool) -> bool", _never),
    declare("_?_:_(bool, A, A) -> A", _never),
    declare("!_(bool) -> bool", invert),
    declare("_==_(A, A) -> bool", equals, COMPARE),
    declare("_!=_(A, A) -> bool", differs, COMPARE),
    *_comparisons(),
    *_arithmetic(),
    declare("_+_(list(A), list(A)) -> list(A)", add, APPEND),
    declare("_+_(timestamp, duration) -> timestamp", add),
    declare("_+_(duration, timestamp) -> timestamp", add),
    declare("_+_(duration, duration) -> duration", add),
    declare("_-_(timestamp, timestamp) -> duration", subtract),
    declare("_-_(timestamp, duration) -> timestamp", subtract),
    declare("_-_(duration, duration) -> duration", subtract),
    declare("@in(A, list(A)) -> bool", is_in, IN_LIST),
    declare("@in(A, map(A, B)) -> bool", is_in, CONSTANT),
    declare("_[_](list(A), int) -> A", index),
    declare("_[_](map(A, B), A) -> B", index),
    declare("_[_](optional(list(A)), int) -> optional(A)", index),
    declare("_[_](optional(map(A, B)), A) -> optional(B)", index),
    declare("_[?_](list(A), int) -> optional(A)", optional_index),
    declare("_[?_](map(A, B), A) -> optional(B)", optional_index),
    declare("_[?_](optional(list(A)), int) -> optional(A)", optional_index),
    declare("_[?_](optional(map(A, B)), A) -> optional(B)", optional_index),
    *(declare(f"size({t}) -> int", size) for t in ("string", "bytes", "list(A)", "map(A, B)")),
    *(declare(f"{t}.size() -> int", size) for t in ("string", "bytes", "list(A)", "map(A, B)")),
)
