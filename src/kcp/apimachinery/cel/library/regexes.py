"""Regular expressions, by RE2 itself: upstream's syntax, and time in proportion to the text whatever the pattern.

Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/library/regex.go, cel-go common/types/string.go (matches).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kcp.apimachinery.cel.costs import FIND, MATCHES
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.overloads import Overload, declare

_MOST_BYTES = 2 << 20
"""Of one pattern's automata; RE2 walks slower, not further, where that is too little."""


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Raises EvaluationError for what is no regular expression."""
    import re2  # the first pattern pays for loading it

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        text = fault.args[0].decode() if fault.args and isinstance(fault.args[0], bytes) else str(fault)
        raise EvaluationError(f"error parsing regexp: {text}") from None


def matches(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


def find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return str(found.group()) if found is not None else ""


def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    for match in compiled(pattern).finditer(text):
        if 0 <= limit <= len(found):
            break
        found.append(match.group())
    return found


OVERLOADS: tuple[Overload, ...] = (
    declare("string.matches(string) -> bool", matches, MATCHES),
    declare("matches(string, string) -> bool", matches, MATCHES),
    declare("string.find(string) -> string", find, FIND),
    declare("string.findAll(string) -> list(string)", find_all, FIND),
    declare("string.findAll(string, int) -> list(string)", find_all, FIND),
)
