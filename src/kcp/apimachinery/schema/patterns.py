"""Regular expressions of schemas, by RE2 itself: upstream's syntax, and time in proportion to the text whatever the pattern.

Before: `compile`, `validate`, `violations`. Source: github.com/google/re2/wiki/Syntax, Go's regexp/syntax.
"""

from __future__ import annotations

from typing import Any

from kcp.apimachinery.remember import remembered

_MOST_BYTES = 1 << 21
"""What one pattern may take, its automata included. One that needs more is refused, as Go refuses those beyond its own limit."""


class Pattern:
    """Compiled when the first value is held against it: most of what schemas have is never used. Two of the same text are equal.

    >>> Pattern("^a+$").matches("aaa"), Pattern("^a+$").matches("b"), Pattern("(?=a)").is_valid
    (True, False, False)
    """

    __slots__ = ("_compiled", "_is_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._is_compiled = False
        self._compiled: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def is_valid(self) -> bool:
        """Whether it is a regular expression, and one that is not too large."""
        return self._compile() is not None

    def matches(self, text: str) -> bool:
        """Whether it is found anywhere in `text`; true for what is no regular expression."""
        compiled = self._compile()
        return compiled is None or compiled.search(text.encode("utf-8", "replace")) is not None

    def _compile(self) -> Any:
        if not self._is_compiled:
            self._compiled, self._is_compiled = _compiled(self.text), True
        return self._compiled


@remembered(2048)
def pattern(text: str) -> Pattern:
    """The pattern of a schema, whatever its text is worth."""
    return Pattern(text)


def compile_pattern(text: str) -> Pattern | None:
    """The compiled pattern, or None for what is no regular expression."""
    found = pattern(text)
    return found if found.is_valid else None


def _compiled(text: str) -> Any:
    import re2  # the first pattern pays for loading it

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MOST_BYTES
    try:
        return re2.compile(text.encode("utf-8", "replace"), options)
    except re2.error:
        return None
