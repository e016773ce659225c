"""Where in an object a JSONPath leads: JSON pointers, for whoever writes there.

`spec.replicas`, `.spec.containers[0].image`, `$.metadata.labels['a.b/c']`, `spec.containers[*].image`,
`spec.containers[?(@.name=="web")].image`; a `{…}` wrapper is accepted. What writing has no use for (`..`, slices) is refused.
Before: projections. After: `jsonpath`, for the filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.apimachinery import jsonpath
from kcp.apimachinery.jsonpath import LONGEST, JSONPathError
from kcp.apimachinery.patch.pointer import escape
from kcp.apimachinery.remember import remembered

_NAME = re.compile(r"\.?((?:[^.\[\]{}\\*\s'\"]|\\.)+)")
_QUOTED = re.compile(r"\[\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\s*\]")
_INDEX = re.compile(r"\[\s*(-?\d{1,9})\s*\]")
_ALL = re.compile(r"\[\s*\*\s*\]|\.\*")
_FILTER = re.compile(r"\[\s*(\?\((?:[^'\")\]]|'[^']*'|\"[^\"]*\")*\))\s*\]")


@dataclass(frozen=True, slots=True)
class Field:
    name: str


@dataclass(frozen=True, slots=True)
class Item:
    index: int


@dataclass(frozen=True, slots=True)
class Every:
    """The children that `holds` accepts."""

    holds: Callable[[Any], bool]


Step: TypeAlias = Field | Item | Every
Steps: TypeAlias = tuple[Step, ...]
Place: TypeAlias = tuple[str, ...]
"""Steps of a JSON pointer, not escaped."""


@remembered(1024)
def parse(text: str) -> Steps:
    """Raises JSONPathError.

    >>> parse("spec.containers[0].image")
    (Field(name='spec'), Field(name='containers'), Item(index=0), Field(name='image'))
    """
    body = text.strip()
    if len(body) > LONGEST:
        raise JSONPathError(f"a path may have {LONGEST} characters")
    if body.startswith("{") and body.endswith("}"):
        body = body[1:-1].strip()
    body = body.removeprefix("$")
    steps = tuple(_steps(body))
    if not steps:
        raise JSONPathError("the path is empty")
    return steps


def _steps(body: str) -> Iterator[Step]:
    at = 0
    while at < len(body):
        if found := _ALL.match(body, at):
            yield Every(_anything)
        elif found := _INDEX.match(body, at):
            yield Item(int(found.group(1)))
        elif found := _QUOTED.match(body, at):
            yield Field(re.sub(r"\\(.)", r"\1", found.group(1) or found.group(2) or ""))
        elif found := _FILTER.match(body, at):
            yield Every(_filter(found.group(1)))
        elif (found := _NAME.match(body, at)) and (at == 0 or body[at] == "."):
            yield Field(re.sub(r"\\(.)", r"\1", found.group(1)))
        else:
            raise JSONPathError(f"cannot be written to at {body[at:]!r}")
        at = found.end()


def _anything(_value: Any) -> bool:
    return True


def _filter(inner: str) -> Callable[[Any], bool]:
    select = jsonpath.compile(f"[{inner}]")
    return lambda value: bool(select([value]))


def places(steps: Steps, obj: Any) -> list[Place]:
    """Where the path leads in this object, whether or not the last step is there; without what lacks a parent.

    >>> places(parse("a[*].b"), {"a": [{"b": 1}, {}]})
    [('a', '0', 'b'), ('a', '1', 'b')]
    """
    here: list[tuple[Place, Any]] = [((), obj)]
    for depth, step in enumerate(steps):
        is_last = depth == len(steps) - 1
        here = [found for place, value in here for found in _taken(step, place, value, is_last=is_last)]
    return [place for place, _ in here]


def _taken(step: Step, place: Place, value: Any, *, is_last: bool) -> Iterator[tuple[Place, Any]]:
    if isinstance(step, Field):
        if isinstance(value, dict) and (step.name in value or is_last):
            yield (*place, step.name), value.get(step.name)
    elif isinstance(step, Item):
        index = step.index + len(value) if isinstance(value, list) and step.index < 0 else step.index
        if isinstance(value, list) and 0 <= index < len(value):
            yield (*place, str(index)), value[index]
    else:
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        yield from (((*place, str(name)), child) for name, child in pairs if step.holds(child))


def pointer_of(place: Place) -> str:
    """
    >>> pointer_of(("metadata", "labels", "kcp.io/a"))
    '/metadata/labels/kcp.io~1a'
    """
    return "".join(f"/{escape(step)}" for step in place)


def plain_fields(steps: Steps) -> Place | None:
    """The names of a path that is fields only; None for any other."""
    names = tuple(step.name for step in steps if isinstance(step, Field))
    return names if len(names) == len(steps) else None
