"""Regular expressions as Go reads them (RE2 syntax), compiled with Python's `re`.

Before: `compile`, `violations`. Known limit: Unicode classes (`\\p{L}`) have no counterpart in `re`; such a pattern is not enforced.
Source: github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
from functools import lru_cache

_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7F", "blank": r"\t ", "cntrl": r"\x00-\x1F\x7F", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ", "upper": "A-Z",
    "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_TOKEN = re.compile(r"\\Q.*?(?:\\E|$)|\[:\^?[a-z]+:\]|\\.|\[\^?\]?|\]|\$|.", re.DOTALL)


@lru_cache(maxsize=2048)
def compile_pattern(text: str) -> re.Pattern[str] | None:
    """The compiled pattern, or None if it cannot be expressed."""
    try:
        return re.compile(_translate(text), re.ASCII)
    except re.error:
        return None


def _translate(text: str) -> str:
    """Go's spelling to Python's: `$` and `\\z` at the very end only, POSIX classes, `\\Q…\\E`, `(?<name>`, flags in mid-pattern."""
    multiline = bool(re.match(r"\(\?[a-zA-Z]*m", text))
    out: list[str] = []
    inside_class = False
    for token in _TOKEN.findall(text):
        if token.startswith(r"\Q"):
            out.append(re.escape(token[2:].removesuffix(r"\E")))
        elif token == r"\z":
            out.append(r"\Z")
        elif token.startswith("[:") and inside_class:
            out.append(_POSIX.get(token.strip("[:^]"), token))
        elif token.startswith("[") and not inside_class:
            inside_class = True
            out.append(token)
        elif token == "]":
            inside_class = False
            out.append(token)
        elif token == "[":
            out.append(r"\[")
        elif token == "$" and not inside_class and not multiline:
            out.append(r"\Z")
        else:
            out.append(token)
    return _scope_flags(re.sub(r"\(\?<(?![=!])", "(?P<", "".join(out)))


_FLAGS_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[a-zA-Z]+\)|.", re.DOTALL)


def _scope_flags(text: str) -> str:
    """Flags in mid-pattern hold to the end of their group, which Python writes as a group of its own.

    >>> _scope_flags("^(?i)(a|b)$"), _scope_flags("(x(?i)y)z")
    ('^(?i:(a|b)$)', '(x(?i:y))z')
    """
    out: list[str] = []
    opened = [0]
    for token in _FLAGS_TOKEN.findall(text):
        if len(token) > 3 and token.startswith("(?"):
            out.append(token[:-1] + ":")
            opened[-1] += 1
        elif token == ")" and len(opened) > 1:
            out.append(")" * opened.pop() + ")")
        else:
            if token == "(":
                opened.append(0)
            out.append(token)
    return "".join(out) + ")" * opened[0]
