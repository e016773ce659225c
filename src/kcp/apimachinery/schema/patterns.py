"""Regular expressions of schemas, by RE2 itself: upstream's syntax, and time in proportion to the text whatever the pattern.

Before: `compile`, `violations`. Source: github.com/google/re2/wiki/Syntax, Go's regexp/syntax.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery.remember import remembered

_MOST_BYTES = 1 << 21
"""What one pattern may take, its automata included. One that needs more is refused, as Go refuses those beyond its own limit."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern; two of the same text are equal.

    >>> compile_pattern("^a+$").matches("aaa"), compile_pattern("(?=a)")
    (True, None)
    """

    text: str
    _compiled: Any = field(compare=False, repr=False)

    def matches(self, text: str) -> bool:
        """Whether it is found anywhere in `text`."""
        return self._compiled.search(text.encode("utf-8", "replace")) is not None


@remembered(2048)
def compile_pattern(text: str) -> Pattern | None:
    """The compiled pattern, or None for what is no regular expression."""
    import re2  # the first pattern pays for loading it

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MOST_BYTES
    try:
        return Pattern(text, re2.compile(text.encode("utf-8", "replace"), options))
    except re2.error:
        return None
