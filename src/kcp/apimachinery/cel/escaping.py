"""Names of fields as expressions write them, where JSON's name is no identifier or a word of the language.

Before: `declared`, `rules`. Source: k8s.io/apiserver/pkg/cel/escaping.go.
"""

from __future__ import annotations

import re

from kcp.apimachinery.cel.parser import RESERVED

_EXPRESSIBLE = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = RESERVED | {"true", "false", "null", "in"}
_SPELLED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_PART = re.compile(r"__|[./-]")


def escape(name: str) -> str | None:
    """How an expression names a field; None if it cannot.

    >>> escape("namespace"), escape("x-prop"), escape("redact__d"), escape("1st")
    ('__namespace__', 'x__dash__prop', 'redact__underscores__d', None)
    """
    if not _EXPRESSIBLE.fullmatch(name):
        return None
    if name in _WORDS:
        return f"__{name}__"
    return _PART.sub(lambda match: _SPELLED[match.group()], name)
