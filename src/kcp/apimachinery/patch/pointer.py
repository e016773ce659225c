"""JSON pointers: one path into a JSON document.

Before: `json_patch`. Source: RFC 6901; texts of github.com/evanphx/json-patch v4.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.patch.errors import PatchError

_MOST_DIGITS = 18


def parse(pointer: str) -> tuple[str, ...]:
    """The unescaped steps of a pointer; () is the whole document.

    >>> parse("/metadata/annotations/kcp.io~1cluster")
    ('metadata', 'annotations', 'kcp.io/cluster')
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise PatchError(f'JSON pointer "{pointer}" must be empty or start with "/"')
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))


def escape(step: str) -> str:
    """One step as it stands in a pointer.

    >>> escape("kcp.io/cluster")
    'kcp.io~1cluster'
    """
    return step.replace("~", "~0").replace("/", "~1")


def index(step: str, length: int, *, adding: bool = False) -> int:
    """A list position; `-` (the place after the last item) only when adding.

    Negative numbers count from the end, as evanphx/json-patch allows by default.
    """
    if step == "-":
        if adding:
            return length
        raise PatchError(f"Unable to access invalid index: {step}: invalid index referenced")
    digits = step[1:] if step.startswith("-") else step
    if len(digits) > _MOST_DIGITS or not digits.isascii() or not digits.isdigit() or (len(digits) > 1 and digits[0] == "0"):
        raise PatchError(f'Unable to access invalid index: "{step}": invalid index referenced')
    position = int(step)
    limit = length + 1 if adding else length
    if position < 0:
        position += limit
    if not 0 <= position < limit:
        raise PatchError(f"Unable to access invalid index: {step}: invalid index referenced")
    return position


def get(document: Any, steps: tuple[str, ...]) -> Any:
    """The value at a path. Raises: LookupError where a step is missing, PatchError for a bad list index."""
    here = document
    for step in steps:
        if isinstance(here, dict):
            if step not in here:
                raise LookupError(step)
            here = here[step]
        elif isinstance(here, list):
            here = here[index(step, len(here))]
        else:
            raise LookupError(step)
    return here
