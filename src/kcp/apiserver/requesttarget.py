"""What a request line asks for: its path and query, in every form that HTTP allows.

Before: `protocol`. Split by hand: a parser that counts in 16 bits would refuse the label selectors that some clients send in a URL.
Source: RFC 9112, section 3.2; net/url (ParseRequestURI), net/http (readRequest).
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Target(NamedTuple):
    path: str
    """Decoded; what is not UTF-8 is replaced."""
    raw_path: bytes
    query: bytes


def split(raw: bytes) -> Target | None:
    """The parts of a request target, or None for what is no target of an API.

    >>> split(b"/api/v1?watch=1"), split(b"https://host:6443/api/v1").path, split(b"/a%20b").path, split(b"https://host").path
    (Target(path='/api/v1', raw_path=b'/api/v1', query=b'watch=1'), '/api/v1', '/a b', '/')
    >>> split(b"/%zz"), split(b"host:443"), split(b"*").path
    (None, None, '*')
    """
    if not raw.startswith(b"/") and raw != b"*":
        scheme, found, rest = raw.partition(b"://")
        if not found or not scheme.isalpha():
            return None
        slash = re.search(rb"[/?]", rest)
        raw = rest[slash.start() :] if slash is not None else b"/"
        if raw.startswith(b"?"):
            raw = b"/" + raw
    path, _, query = raw.partition(b"?")
    text = path.decode("latin-1")
    if "%" in text:
        if _BAD_ESCAPE.search(path):
            return None
        text = unquote(text)
    return Target(text, path, query)
