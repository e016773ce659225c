"""Sizes of files as people write them: `100MB`, `1GiB`."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+)\s*([KMG]i?)?(B?)", re.IGNORECASE)
_UNITS = {"": 10**6, "b": 1, "k": 10**3, "ki": 1 << 10, "m": 10**6, "mi": 1 << 20, "g": 10**9, "gi": 1 << 30}


def parse_size(text: object) -> int:
    """Bytes; a number alone is megabytes, as in other programs' flags for logs.

    >>> parse_size("100MB"), parse_size("1GiB"), parse_size(5), parse_size("1500B"), parse_size("0")
    (100000000, 1073741824, 5000000, 1500, 0)
    """
    found = _SIZE.fullmatch(str(text).strip()) if not isinstance(text, bool) else None
    if found is None:
        raise ValueError("must be a size such as 100MB")
    unit = (found[2] or found[3] or "").lower()
    return int(found[1]) * _UNITS[unit]


def format_size(size: int) -> str:
    """
    >>> format_size(100_000_000), format_size(1 << 20), format_size(0), format_size(1_500)
    ('100MB', '1048576B', '0', '1500B')
    """
    if size % 10**6 == 0:
        return f"{size // 10**6}MB" if size else "0"
    return f"{size}B"
