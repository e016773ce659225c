"""Functions of strings: CEL's own and version 2 of its extension.

Before: `overloads.standard`. Source: github.com/google/cel-go/ext/{strings,formatting}.go, common/stdlib/standard.go.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.cel.costs import CONTAINS, FORMAT, JOIN, LIST_WALK, REPLACE, SPLIT, CostModel, Estimated, Operand, walk
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.library.formatting import format_string, quote
from kcp.apimachinery.cel.overloads import Overload, declare

_WHITESPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def index_of(text: str, wanted: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        if not wanted:
            return start
        raise EvaluationError(f"index out of range: {start}")
    return text.find(wanted, start)


def last_index_of(text: str, wanted: str, end: int | None = None) -> int:
    if end is None:
        return text.rfind(wanted)
    if not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {end}")
    return text.rfind(wanted, 0, end + len(wanted))


def join(items: list[Any], separator: str = "") -> str:
    if any(type(item) is not str for item in items):
        raise EvaluationError("no such overload")
    return separator.join(items)


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        pieces = list(text)
        return pieces if count < 0 or len(pieces) <= count else [*pieces[: count - 1], "".join(pieces[count - 1 :])]
    return text.split(separator, count - 1 if count > 0 else -1)


def substring(text: str, start: int, end: int | None = None) -> str:
    if end is None:
        if not 0 <= start <= len(text):
            raise EvaluationError(f"index out of range: {start}")
        return text[start:]
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for index in (start, end):
        if not 0 <= index <= len(text):
            raise EvaluationError(f"index out of range: {index}")
    return text[start:end]


def _quote_estimate(operands: Any) -> Estimated:
    held: Operand = operands[0]
    return Estimated(held.size.scaled(0.1), held.size.plus(held.size))


_SAME = walk(keeps_size=True)
_PREFIX = walk(1)

OVERLOADS: tuple[Overload, ...] = (
    declare("string.contains(string) -> bool", lambda text, part: part in text, CONTAINS),
    declare("string.startsWith(string) -> bool", str.startswith, _PREFIX),
    declare("string.endsWith(string) -> bool", str.endswith, _PREFIX),
    declare("string.charAt(int) -> string", char_at),
    declare("string.indexOf(string) -> int", index_of, LIST_WALK),
    declare("string.indexOf(string, int) -> int", index_of, LIST_WALK),
    declare("string.lastIndexOf(string) -> int", last_index_of, LIST_WALK),
    declare("string.lastIndexOf(string, int) -> int", last_index_of, LIST_WALK),
    declare("list(string).join() -> string", join, JOIN),
    declare("list(string).join(string) -> string", join, JOIN),
    declare("string.lowerAscii() -> string", lambda text: text.translate(_LOWER), _SAME),
    declare("string.upperAscii() -> string", lambda text: text.translate(_UPPER), _SAME),
    declare("string.replace(string, string) -> string", replace, REPLACE),
    declare("string.replace(string, string, int) -> string", replace, REPLACE),
    declare("string.split(string) -> list(string)", split, SPLIT),
    declare("string.split(string, int) -> list(string)", split, SPLIT),
    declare("string.substring(int) -> string", substring, _SAME),
    declare("string.substring(int, int) -> string", substring, _SAME),
    declare("string.trim() -> string", lambda text: text.strip(_WHITESPACE), _SAME),
    declare("string.format(list(dyn)) -> string", format_string, FORMAT),
    declare("strings:quote(string) -> string", quote, CostModel(walk().actual, _quote_estimate)),
)
