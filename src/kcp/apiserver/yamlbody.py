"""YAML bodies as JSON values: no dates, no tags, string keys, and repeated keys noticed. Imported only when a YAML body comes.

Built from the parser's events, one after the other and never by recursion, so that no document can make it deeper, larger or slower than
its own length: nesting is limited, and so is what aliases add up to ("billion laughs").
Before: `body`. After: `yamlscalars`. Source: sigs.k8s.io/yaml (YAMLToJSON), goyaml.v2/decode.go (merge, aliases).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from kcp.apimachinery.meta import MOST_LEVELS, copy_json, is_deeper
from kcp.apiserver.yamlscalars import NoSuchValue, resolve

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_ALIASED = 1 << 20
"""Characters and values that aliases may add to a document."""
_MOST_EVENTS = 1_000_000
"""Half of them or more are values: one for every few characters of the largest body."""
_MOST_DIRECTIVES = 100
"""libyaml compares every %TAG with all before it."""
_NO_KEY = object()
_MERGE = "tag:yaml.org,2002:merge"


class Unreadable(yaml.YAMLError):
    """A document that stands for no JSON value, or for one that is too much."""


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    value: Any
    anchor: str | None
    began_at: int
    """The size of everything before it."""
    key: str | None = None
    """Of a mapping, once the key has been read."""
    merging: bool = False
    """The next value is that of `<<`."""
    merged: list[Any] = field(default_factory=list)


class _Document:
    """One value under construction."""

    def __init__(self) -> None:
        self.value: Any = None
        self.repeated: list[str] = []
        self.repeated_key: Any = _NO_KEY
        """A key that its mapping has already, until its value comes."""
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._size = 0
        self._aliased = 0

    def note_repeated(self, line: int) -> None:
        """Where the value of a repeated key stands. Source: goyaml.v2/decode.go, setMapIndex."""
        shown = json.dumps(self.repeated_key, ensure_ascii=False)
        self.repeated.append(f"line {line}: key {shown} already set in map")
        self.repeated_key = _NO_KEY

    def scalar(self, event: yaml.ScalarEvent) -> None:
        self._size += len(event.value) + 1
        plain = event.implicit[0] and not event.style
        top = self._stack[-1] if self._stack else None
        if plain and event.value == "<<" and event.tag in (None, _MERGE) and _wants_key(top):
            assert top is not None
            top.merging = True
            return
        value = resolve(event.value, event.tag, plain=plain)
        if event.anchor:
            self._anchors[event.anchor] = (value, len(event.value) + 1)
        self._put(value)

    def open(self, event: yaml.CollectionStartEvent, value: Any) -> None:
        if len(self._stack) >= MOST_LEVELS:
            raise Unreadable(f"exceeded max depth of {MOST_LEVELS}")
        if _wants_key(self._stack[-1] if self._stack else None):
            raise Unreadable("a mapping's key must be a scalar")
        self._size += 1
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._stack.append(_Open(value, event.anchor, self._size))

    def close(self) -> None:
        done = self._stack.pop()
        for source in done.merged:
            done.value.update({key: value for key, value in source.items() if key not in done.value})
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._size - done.began_at + 1)
        self._put(done.value)

    def alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            is_inside = any(held.anchor == event.anchor for held in self._stack)
            raise Unreadable(
                f"anchor '{event.anchor}' value contains itself" if is_inside else f"unknown anchor '{event.anchor}' referenced"
            )
        value, size = self._anchors[event.anchor]
        self._aliased += size
        self._size += size
        if self._aliased > _MOST_ALIASED:
            raise Unreadable("document contains excessive aliasing")
        if is_deeper(value, MOST_LEVELS - len(self._stack)):
            raise Unreadable(f"exceeded max depth of {MOST_LEVELS}")
        self._put(copy_json(value))

    def _put(self, value: Any) -> None:
        if not self._stack:
            self.value = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.merging:
            top.merging = False
            top.merged += _sources(value)
        elif top.key is None:
            top.key = _key(value)
            if top.key in top.value:
                self.repeated_key = value
        else:
            top.value[top.key] = value
            top.key = None


def _wants_key(held: _Open | None) -> bool:
    return held is not None and isinstance(held.value, dict) and held.key is None and not held.merging


def _sources(value: Any) -> list[Any]:
    """The mappings that `<<` names, the strongest first."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in found):
        raise Unreadable("map merge requires map or sequence of maps as the value")
    return found


def _key(key: Any) -> str:
    """A mapping's key as JSON writes it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (dict, list)):
        raise Unreadable("a mapping's key must be a scalar")
    return "null" if key is None else str(key)


def load(raw: bytes) -> tuple[Any, tuple[str, ...]]:
    """The one document in `raw`, and its repeated keys in upstream's words. Raises yaml.YAMLError, also for more documents."""
    if raw.count(b"%TAG") > _MOST_DIRECTIVES:
        raise Unreadable("too many %TAG directives")
    try:
        loader = _Loader(raw)
    except UnicodeDecodeError as error:
        raise Unreadable(str(error)) from error
    try:
        return _read(loader)
    except UnicodeError as error:
        raise Unreadable(str(error)) from error
    finally:
        loader.dispose()


def _read(loader: Any) -> tuple[Any, tuple[str, ...]]:
    document = _Document()
    documents = events = 0
    while loader.check_event():
        event = loader.get_event()
        events += 1
        if events > _MOST_EVENTS:
            raise Unreadable("document has too many values")
        kind = type(event)
        if document.repeated_key is not _NO_KEY:
            document.note_repeated(event.start_mark.line + 1)
        try:
            if kind is yaml.ScalarEvent:
                document.scalar(event)
            elif kind is yaml.MappingStartEvent:
                document.open(event, {})
            elif kind is yaml.SequenceStartEvent:
                document.open(event, [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                document.close()
            elif kind is yaml.AliasEvent:
                document.alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise Unreadable("expected a single document")
        except (Unreadable, NoSuchValue) as fault:
            raise Unreadable(f"line {event.start_mark.line + 1}: {fault}") from fault
    return document.value, tuple(document.repeated)


def describe(error: yaml.YAMLError) -> str:
    """A fault in one line, as Kubernetes' YAML library puts it.

    >>> try: load(b"a: [")
    ... except yaml.YAMLError as error: describe(error)
    'line 2: did not find expected node content'
    """
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    text = str(problem or error)
    return f"line {mark.line + 1}: {text}" if mark is not None else " ".join(text.split())
