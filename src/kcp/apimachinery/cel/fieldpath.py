"""The `fieldPath` of a rule: fields and map keys below the rule's place, such as `.spec.limits['cpu']`.

Before: `rules`, `rulecheck`. Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go (ValidFieldPath).
"""

from __future__ import annotations

import re

from kcp.apimachinery.schema.node import Schema

_STEP = re.compile(r"\.([^.\[\]']+)|\['((?:[^'\\]|\\.)*)'\]")
_ESCAPE = re.compile(r"\\(.)")
_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}


def field_names(path: str, schema: Schema) -> list[tuple[str, bool]] | None:
    """(name, whether it is a field rather than a map key) per step; None if there is no such place in the schema."""
    steps: list[tuple[str, bool]] = []
    at, here = 0, schema
    path = path.strip()
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return None
        name = match.group(1) if match.group(1) is not None else _ESCAPE.sub(lambda m: _SINGLE.get(m.group(1), ""), match.group(2))
        if here.properties:
            below, is_field = here.properties.get(name), True
        else:
            below, is_field = here.additional, False
        if below is None:
            return None
        steps.append((name, is_field))
        at, here = match.end(), below
    return steps
