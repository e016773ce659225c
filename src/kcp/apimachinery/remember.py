"""Remembering what texts from clients come to, without letting long ones fill the memory.

Before: whoever parses the same few texts again and again: Accept headers, paths of printer columns, patterns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LONGEST = 1024
"""Characters of a text that is remembered."""


def remembered(maxsize: int, *, longest: int = LONGEST) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`functools.lru_cache`, but calls whose first argument is a longer text are worked out each time and forgotten.

    >>> calls = []
    >>> length = remembered(8, longest=3)(lambda text: calls.append(text) or len(text))
    >>> [length(text) for text in ("abc", "abc", "abcd", "abcd")], calls
    ([3, 3, 4, 4], ['abc', 'abcd', 'abcd'])
    """

    def wrap(work: Callable[P, T]) -> Callable[P, T]:
        kept = lru_cache(maxsize=maxsize)(work)

        @wraps(work)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if len(args[0]) > longest:  # type: ignore[arg-type]  # a text, by agreement
                return work(*args, **kwargs)
            return kept(*args, **kwargs)  # type: ignore[arg-type]  # hashable, by agreement

        return call

    return wrap
