"""`'%s has %d'.format([x, 3])` and `strings.quote`.

Before: `strings`. Source: github.com/google/cel-go/ext/formatting.go.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.library.conversions import show_double, to_string
from kcp.apimachinery.cel.values import Duration, TypeValue, UInt, type_of

_CLAUSE = re.compile(r"%(?:%|(?P<precision>\.\d+)?(?P<verb>.))", re.DOTALL)
_MOST_DECIMALS = 1000


def format_string(text: str, args: list[Any]) -> str:
    """Raises EvaluationError for too few arguments and for values that do not fit their clause."""
    at = 0

    def one(match: re.Match[str]) -> str:
        nonlocal at
        verb = match.group("verb")
        if verb is None:
            return "%"
        if at >= len(args):
            raise EvaluationError(f"index {at} out of range")
        value = args[at]
        at += 1
        return _clause(verb, match.group("precision"), value)

    if text.endswith("%") and (len(text) - len(text.rstrip("%"))) % 2:
        raise EvaluationError("unexpected end of string")
    return _CLAUSE.sub(one, text)


def _clause(verb: str, precision: str | None, value: Any) -> str:
    decimals = int(precision[1:][:6]) if precision else 6
    if decimals > _MOST_DECIMALS:
        raise EvaluationError(f"precision {decimals} is too large")
    kind = type(value)
    match verb:
        case "s":
            return show(value)
        case "d" if kind is int or kind is UInt:
            return str(int(value))
        case "d" if kind is float:
            return show_double(value)
        case "f" if kind in (float, int, UInt):
            return f"{value:.{decimals}f}"
        case "e" if kind in (float, int, UInt):
            return f"{value:.{decimals}e}"
        case "b" if kind in (int, UInt, bool):
            return f"{int(value):b}"
        case "o" if kind in (int, UInt):
            return f"{int(value):o}"
        case "x" | "X" if kind in (int, UInt):
            return f"{int(value):{verb}}"
        case "x" | "X" if kind in (str, bytes):
            digits = (value.encode() if kind is str else value).hex()
            return str(digits.upper() if verb == "X" else digits)
    if verb not in "sdfebox" and verb != "X":
        raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    raise EvaluationError(f"error during formatting: unsupported value of type {type_of(value)} for clause %{verb}")


def show(value: Any) -> str:
    """Any value as `%s` writes it; inside lists and maps strings are not quoted."""
    kind = type(value)
    if value is None:
        return "null"
    if kind is list:
        return "[" + ", ".join(map(show, value)) + "]"
    if kind is dict:
        return "{" + ", ".join(f"{show(key)}: {show(value[key])}" for key in sorted(value, key=show)) + "}"
    if kind is TypeValue:
        return str(value.name)
    if kind in (str, bool, int, UInt, float, bytes, Duration, datetime):
        return to_string(value)
    return str(value)


_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\\": r"\\", '"': r"\""}


def quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(char, char) for char in text) + '"'
