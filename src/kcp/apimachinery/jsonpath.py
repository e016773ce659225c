"""kubectl's JSONPath, the part that printer columns, scale subresources and selectable fields use.

`.a.b`, `['a']`, `.a\\.b`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `.*`, `..name`, `['a','b']`, `[?(@.type=="Ready")]`; a `{…}` wrapper is accepted.
A path costs at most `_MOST_VISITED` values, however it is written: one that asks for more (`..` after `..`) finds nothing.
Before: table columns, scale, catalog (CRD checks). Source: k8s.io/client-go/util/jsonpath.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from kcp.apimachinery.remember import remembered

LONGEST = 1024
"""Characters of a path."""
_MOST_FILTERS = 8
_MOST_VISITED = 10_000


class _Enough(Exception):
    """The path has visited as many values as it may."""


class _Visits:
    """What a walk may still visit."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST_VISITED

    def take(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _Enough


Step: TypeAlias = Callable[[Any, _Visits], Iterable[Any]]
Path: TypeAlias = Callable[[Any], list[Any]]
_Walk: TypeAlias = Callable[[Any, _Visits], list[Any]]

_PLAIN = re.compile(r"\.((?:[^.\[\]{}\\*\s]|\\.)+)")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(-?\d*))?\Z")
_FILTER = re.compile(r"\?\(\s*@((?:[^=!<>\s\\]|\\.)+)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?))?\s*\)\Z", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip


class JSONPathError(ValueError):
    """The text is not a JSONPath of this subset."""


@remembered(4096)
def compile(text: str) -> Path:  # noqa: A001 - named as re.compile is
    """A function from an object to the list of values found; missing parts give an empty list. Raises JSONPathError.

    >>> ready = compile('.status.conditions[?(@.type=="Ready")].status')
    >>> ready({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}), ready({})
    (['True'], [])
    """
    fields = simple_fields(text)
    if fields is not None:
        return _walk_fields(fields)
    if len(text) > LONGEST or text.count("?(") > _MOST_FILTERS:
        raise JSONPathError(f"a path may have {LONGEST} characters and {_MOST_FILTERS} filters")
    inner = _walk(text)

    def walk(obj: Any) -> list[Any]:
        try:
            return inner(obj, _Visits())
        except _Enough:
            return []

    return walk


def _walk(text: str) -> _Walk:
    steps = tuple(_steps(_unwrap(text)))

    def walk(obj: Any, visits: _Visits) -> list[Any]:
        here: list[Any] = [obj]
        for step in steps:
            there: list[Any] = []
            for value in here:
                found = step(value, visits)
                there += found
            visits.take(len(there))
            here = there
        return here

    return walk


@remembered(4096)
def simple_fields(text: str) -> tuple[str, ...] | None:
    """The field names of a path that is only fields, such as `.spec.replicas`; None for any other path.

    >>> simple_fields(".spec.replicas"), simple_fields(".a[0]")
    (('spec', 'replicas'), None)
    """
    body = _unwrap(text)
    fields: list[str] = []
    at = 0
    while at < len(body):
        found = _PLAIN.match(body, at)
        if found is None:
            return None
        fields.append(_unescape(found.group(1)))
        at = found.end()
    return tuple(fields)


def _unwrap(text: str) -> str:
    body = text.strip()
    if body.startswith("{") and body.endswith("}"):
        body = body[1:-1].strip()
    body = body.removeprefix("$")
    return body if not body or body[0] in ".[" else "." + body


def _walk_fields(fields: tuple[str, ...]) -> Path:
    def walk(obj: Any) -> list[Any]:
        for field in fields:
            if not isinstance(obj, dict) or field not in obj:
                return []
            obj = obj[field]
        return [obj]

    return walk


def _steps(body: str) -> Iterator[Step]:
    at = 0
    while at < len(body):
        if body.startswith("..", at):
            yield _descend
            at += 1
            if body.startswith(".[", at):
                at += 1
        elif body.startswith(".*", at):
            yield _children
            at += 2
        elif body[at] == "[":
            end = _closing(body, at)
            yield _bracket(body[at + 1 : end].strip())
            at = end + 1
        elif body[at:] == ".":
            return
        else:
            found = _PLAIN.match(body, at)
            if found is None:
                raise JSONPathError(f"unrecognized character in path at {body[at:]!r}")
            yield _field(_unescape(found.group(1)))
            at = found.end()


def _closing(body: str, at: int) -> int:
    """Index of the `]` that closes the `[` at `at`, quotes and nesting regarded."""
    depth, quote = 0, ""
    for index in range(at, len(body)):
        char = body[index]
        if quote:
            quote = "" if char == quote and body[index - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if depth == 0:
                return index
    raise JSONPathError(f"unterminated array in {body!r}")


def _bracket(inner: str) -> Step:
    if inner == "*":
        return _children
    if inner.startswith("?"):
        return _filter(inner)
    if sliced := _SLICE.match(inner):
        start, stop, step = (_integer(g) if g else None for g in sliced.groups())
        if step == 0:
            raise JSONPathError("the step of a slice must not be 0")
        return lambda value, visits: value[start:stop:step] if isinstance(value, list) else ()
    if re.fullmatch(r"-?\d+", inner):
        return _index(_integer(inner))
    parts = [a or b for a, b in _QUOTED.findall(inner)]
    if parts and re.sub(r"[\s,]", "", _QUOTED.sub("", inner)) == "":
        steps = [_field(_unescape(part)) for part in parts]
        return lambda value, visits: [found for step in steps for found in step(value, visits)]
    if re.fullmatch(r"-?\d+(\s*,\s*-?\d+)+", inner):
        indexes = [_index(_integer(part)) for part in inner.split(",")]
        return lambda value, visits: [found for step in indexes for found in step(value, visits)]
    raise JSONPathError(f"invalid array index {inner}")


def _integer(text: str) -> int:
    """Raises JSONPathError for a lone sign, and for more digits than any list has items."""
    try:
        return int(text)
    except ValueError:
        raise JSONPathError(f"array index {text} is not a number") from None


def _filter(inner: str) -> Step:
    found = _FILTER.match(inner)
    if found is None:
        raise JSONPathError(f"unrecognized filter {inner}")
    path, comparison, literal = _walk(found.group(1)), found.group(2), found.group(3)
    if comparison is None:
        return lambda value, visits: [item for item in _children(value, visits) if path(item, visits)]
    compare, wanted = _COMPARE[comparison], _literal(literal)

    def select(value: Any, visits: _Visits) -> list[Any]:
        return [item for item in _children(value, visits) if any(_holds(compare, found, wanted) for found in path(item, visits))]

    return select


def _holds(compare: Callable[[Any, Any], bool], found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) is not isinstance(wanted, bool):
        return False
    if isinstance(found, str) is not isinstance(wanted, str):
        return False
    if found is None or isinstance(found, (dict, list)):
        return compare is operator.ne
    return compare(found, wanted)


def _literal(text: str) -> Any:
    if quoted := _QUOTED.fullmatch(text):
        return _unescape(quoted.group(1) or quoted.group(2) or "")
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if any(c in text for c in ".eE") else int(text)
    except ValueError:
        raise JSONPathError(f"unrecognized literal {text} in filter") from None


def _field(name: str) -> Step:
    return lambda value, visits: (value[name],) if isinstance(value, dict) and name in value else ()


def _index(position: int) -> Step:
    return lambda value, visits: (value[position],) if isinstance(value, list) and -len(value) <= position < len(value) else ()


def _children(value: Any, visits: _Visits) -> Iterable[Any]:
    if not isinstance(value, (dict, list)):
        return ()
    visits.take(len(value))
    return value if isinstance(value, list) else value.values()


def _descend(value: Any, visits: _Visits) -> list[Any]:
    """The value and everything in it, outer before inner, in the order of the document."""
    found: list[Any] = []
    pending = [value]
    while pending:
        here = pending.pop()
        found.append(here)
        pending.extend(reversed(list(_children(here, visits))))
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text
