"""Conversions between types, `dyn` and `type`.

Before: `overloads.standard`. Source: github.com/google/cel-go/common/stdlib/standard.go, common/types/{int,uint,double,string,bytes}.go.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from kcp.apimachinery.cel.costs import CostModel, Estimated, Operand, Range, walk
from kcp.apimachinery.cel.errors import EvaluationError, no_such_overload
from kcp.apimachinery.cel.library.times import show_timestamp
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.values import Duration, UInt, checked_int, checked_uint, type_value

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def to_int(value: Any) -> int:
    kind = type(value)
    if kind is int or kind is UInt:
        return checked_int(int(value))
    if kind is float:
        if not math.isfinite(value):
            raise EvaluationError("integer overflow")
        return checked_int(int(value))
    if kind is str:
        return checked_int(_digits(value, "int"))
    if kind is datetime:
        seconds: int = math.floor(value.timestamp())
        return seconds
    if kind is Duration:
        return int(value.ns)
    raise no_such_overload()


def _digits(text: str, wanted: str) -> int:
    if len(text) > 32 or not _INTEGER.fullmatch(text):
        raise EvaluationError(f"type conversion error from 'string' to '{wanted}'")
    return int(text)


def to_uint(value: Any) -> UInt:
    kind = type(value)
    if kind is int or kind is UInt:
        return checked_uint(int(value))
    if kind is float:
        if not math.isfinite(value):
            raise EvaluationError("unsigned integer overflow")
        return checked_uint(int(value))
    if kind is str:
        return checked_uint(_digits(value, "uint"))
    raise no_such_overload()


def to_double(value: Any) -> float:
    kind = type(value)
    if kind in (int, UInt, float):
        return float(value)
    if kind is str:
        try:
            return float(value)
        except ValueError:
            raise EvaluationError("type conversion error from 'string' to 'double'") from None
    raise no_such_overload()


def show_double(value: float) -> str:
    """As Go's strconv.FormatFloat(v, 'g', -1) does.

    >>> show_double(1.0), show_double(1e21), show_double(0.25), show_double(1e-7)
    ('1', '1e+21', '0.25', '1e-07')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    return repr(value)


def to_string(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is UInt or kind is Duration:
        return str(value)
    if kind is float:
        return show_double(value)
    if kind is bytes:
        return _decoded(value)
    if kind is datetime:
        return show_timestamp(value)
    raise no_such_overload()


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def to_bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return bytes(value)
    if type(value) is str:
        return value.encode()
    raise no_such_overload()


def to_bool(value: Any) -> bool:
    if type(value) is bool:
        return bool(value)
    if type(value) is str and (value in _TRUE or value in _FALSE):
        return value in _TRUE
    raise EvaluationError("type conversion error from 'string' to 'bool'") if type(value) is str else no_such_overload()


def _as_is(value: Any) -> Any:
    return value


def _encode_estimate(operands: tuple[Operand, ...]) -> Estimated:
    size = operands[0].size
    return Estimated(size.scaled(0.1), Range(size.low, size.times(Range(1, 4)).high))


_ENCODE = CostModel(walk().actual, _encode_estimate)  # type: ignore[arg-type]
_DECODE = CostModel(walk().actual, lambda operands: Estimated(operands[0].size.scaled(0.1), Range(0, operands[0].size.high)))
_KEEP = CostModel(None, lambda operands: Estimated(Range(1, 1), operands[0].size))

OVERLOADS: tuple[Overload, ...] = (
    *(declare(f"int({t}) -> int", to_int) for t in ("int", "uint", "double", "string", "timestamp", "duration")),
    *(declare(f"uint({t}) -> uint", to_uint) for t in ("uint", "int", "double", "string")),
    *(declare(f"double({t}) -> double", to_double) for t in ("double", "int", "uint", "string")),
    *(declare(f"string({t}) -> string", to_string) for t in ("bool", "int", "uint", "double", "timestamp", "duration")),
    declare("string(string) -> string", to_string, _KEEP),
    declare("string(bytes) -> string", to_string, _DECODE),
    declare("bytes(bytes) -> bytes", to_bytes, _KEEP),
    declare("bytes(string) -> bytes", to_bytes, _ENCODE),
    declare("bool(bool) -> bool", to_bool),
    declare("bool(string) -> bool", to_bool),
    declare("dyn(A) -> dyn", _as_is, _KEEP),
    declare("type(A) -> type(A)", type_value),
)
