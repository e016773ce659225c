"""Fields that stand twice in one JSON object, which decoding otherwise hides: the last one wins.

Before: `apiserver.body`, `apiserver.handlers.patch`, `registry.unknown`. Source: KEP-2885 (server-side unknown field validation),
sigs.k8s.io/json (internal/golang/encoding/json/kubernetes_patch.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import orjson


def duplicate_fields(raw: bytes, value: Any = None) -> list[str]:
    """Paths of fields that stand twice in one JSON object; decoded slowly only where the text has more keys than what it comes to.

    Args: value: what `raw` decodes to, if that is known.

    >>> duplicate_fields(b'{"a": 1, "spec": {"b": [{"c": 1, "c": 2}]}, "a": 2}')
    ['spec.b[0].c', 'a']
    """
    keys = _count_keys(orjson.loads(raw) if value is None else value)
    if raw.count(b'":') == keys and not any(gap in raw for gap in _GAPS):
        return []
    if len(_KEY.findall(raw)) == keys:
        return []
    return [path for _, path in _told(_pairs(raw), "", frozenset())]  # texts may hold what looks like a key: then this finds nothing


def in_document_order(raw: bytes, unknown: Collection[str]) -> list[str]:
    """Unknown fields and repeated ones as a Go decoder meets and tells them: each once, and not as repeated what is unknown.

    >>> in_document_order(b'{"x": 1, "a": 1, "x": 2, "a": 2}', ["x"])
    ['unknown field "x"', 'duplicate field "a"']
    """
    return [f'{what} field "{path}"' for what, path in dict.fromkeys(_told(_pairs(raw), "", frozenset(unknown)))]


_KEY = re.compile(rb'"[ \t\r\n]*:')
_GAPS = (b'" ', b'"\t', b'"\r', b'"\n')
"""With one of these, a key's colon may stand apart from it; what programs write has none."""


def _pairs(raw: bytes) -> Any:
    """A JSON value whose objects are tuples of their pairs, so that repeated keys stay visible."""
    return json.loads(raw, object_pairs_hook=tuple)


def _count_keys(value: Any) -> int:
    """Keys of all objects in a value that is not nested too deep."""
    count, here = 0, [value]
    while here:
        held: list[Any] = []
        for part in here:
            if type(part) is dict:
                count += len(part)
                held += part.values()
            elif type(part) is list:
                held += part
        here = [part for part in held if type(part) is dict or type(part) is list]
    return count


def _told(value: Any, path: str, unknown: frozenset[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, tuple):
        seen: set[str] = set()
        told: set[str] = set()
        for key, inner in value:
            at = f"{path}.{key}" if path else key
            if at in unknown:
                yield "unknown", at
                continue
            if key in seen and key not in told:
                told.add(key)
                yield "duplicate", at
            seen.add(key)
            if inner and isinstance(inner, (tuple, list)):
                yield from _told(inner, at, unknown)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if inner and isinstance(inner, (tuple, list)):
                yield from _told(inner, f"{path}[{index}]", unknown)
