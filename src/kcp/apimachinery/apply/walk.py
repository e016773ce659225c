"""Which fields a value has, and which fields differ between two values, by schema.

Before: `manager`. After: `typed`. Both walks skip what is equal, so that an update costs what it changes.
Source: structured-merge-diff typed/{tofieldset.go,compare.go}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.apply.fields import LEAF, MEMBER, FieldSet, Tree, field
from kcp.apimachinery.apply.typed import child, is_named, splits_map, steps
from kcp.apimachinery.schema.structural import Schema


@dataclass(frozen=True, slots=True)
class Comparison:
    """Fields that the newer value added, gave another value, or removed."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def is_same(self) -> bool:
        return not (self.added or self.modified or self.removed)

    def without(self, ignored: FieldSet) -> Comparison:
        if not ignored or self.is_same:
            return self
        return Comparison(self.added.without(ignored), self.modified.without(ignored), self.removed.without(ignored))

    @property
    def written(self) -> FieldSet:
        return self.added | self.modified if self.modified else self.added


def field_set(node: Schema | None, value: Any) -> FieldSet:
    """The fields that applying `value` claims."""
    return FieldSet(_claimed(node, value) or {})


def compare(node: Schema | None, old: Any, new: Any) -> Comparison:
    """What changed from `old` to `new`, two whole objects."""
    if old == new:
        return Comparison(FieldSet(), FieldSet(), FieldSet())
    change = _compare(node, old, new)
    return Comparison(FieldSet(change.added), FieldSet(change.modified), FieldSet(change.removed))


def _with_member(tree: Tree | None) -> Tree:
    return {MEMBER: LEAF, **tree} if tree else LEAF


def _claimed(node: Schema | None, value: Any) -> Tree | None:
    """The tree behind the step to `value`: LEAF for a field of its own, None where there is nothing to claim."""
    if type(value) is dict:
        if not splits_map(node):
            return LEAF
        tree: Tree = {}
        for name, held in value.items():
            kind = type(held)
            inner = _claimed(child(node, name), held) if kind is dict or kind is list else LEAF
            if kind is dict and not held:
                inner = LEAF
            elif not is_named(node, name):
                inner = _with_member(inner)
            if inner is not None:
                tree[field(name)] = inner
        return tree or None
    if type(value) is list:
        found = steps(node, value)
        if found is None:
            return LEAF
        items = node.items if node is not None else None
        return {step: _with_member(_claimed(items, item)) for step, item in zip(found, value, strict=True)} or None
    return LEAF


def whole(node: Schema | None, value: Any) -> Tree:
    """The tree behind the step to a value that came or went as a whole: every part, and the value itself."""
    if type(value) is dict:
        if not splits_map(node):
            return LEAF
        tree = {}
        for name, held in value.items():
            kind = type(held)
            tree[field(name)] = whole(child(node, name), held) if kind is dict or kind is list else LEAF
        return _with_member(tree)
    if type(value) is list:
        found = steps(node, value)
        if found is None:
            return LEAF
        items = node.items if node is not None else None
        return _with_member({step: whole(items, item) for step, item in zip(found, value, strict=True)})
    return LEAF


@dataclass(slots=True)
class _Change:
    """Trees under construction; each is None until something goes in, LEAF for the value itself."""

    added: Tree | None = None
    modified: Tree | None = None
    removed: Tree | None = None

    def take(self, step: str, inner: _Change) -> None:
        if inner.added is not None:
            self.add(step, inner.added)
        if inner.modified is not None:
            self.modified = {} if self.modified is None else self.modified
            self.modified[step] = inner.modified
        if inner.removed is not None:
            self.remove(step, inner.removed)

    def add(self, step: str, tree: Tree) -> None:
        self.added = {} if self.added is None else self.added
        self.added[step] = tree

    def remove(self, step: str, tree: Tree) -> None:
        self.removed = {} if self.removed is None else self.removed
        self.removed[step] = tree


def _compare(node: Schema | None, old: Any, new: Any) -> _Change:
    """What differs between two values that are both there and not equal."""
    old_parts, new_parts = _parts(node, old), _parts(node, new)
    if old_parts is None or new_parts is None:
        change = _mixed(node, old, new, old_parts, new_parts)
        if change is not None:
            return change
        old_parts, new_parts = old_parts or {}, new_parts or {}
    if not old_parts and not new_parts:
        return _Change(modified=LEAF)
    change = _Change()
    for step, (inner, value) in new_parts.items():
        held = old_parts.get(step)
        if held is None:
            change.add(step, whole(inner, value))
        elif held[1] != value:
            change.take(step, _compare(inner, held[1], value))
    for step, (inner, value) in old_parts.items():
        if step not in new_parts:
            change.remove(step, whole(inner, value))
    return change


def _mixed(node: Schema | None, old: Any, new: Any, old_parts: Any, new_parts: Any) -> _Change | None:
    """At least one side is a single field. None: the other has parts and this one is null, so that it counts as empty."""
    if old_parts is None and new_parts is None:
        return _Change(modified=LEAF)
    if (old is None and new_parts) or (new is None and old_parts):
        return None
    change = _Change(modified=LEAF)
    for step, (inner, value) in (new_parts or {}).items():
        change.add(step, whole(inner, value))
    for step, (inner, value) in (old_parts or {}).items():
        change.remove(step, whole(inner, value))
    return change


def _parts(node: Schema | None, value: Any) -> dict[str, tuple[Schema | None, Any]] | None:
    """The separately owned parts of a value by step, or None for a single field."""
    if type(value) is dict:
        if not splits_map(node):
            return None
        return {field(name): (child(node, name), held) for name, held in value.items()}
    if type(value) is list:
        found = steps(node, value)
        if found is None:
            return None
        items = node.items if node is not None else None
        return _by_step(items, found, value)
    return None


def _by_step(items: Schema | None, found: list[str], value: list[Any]) -> dict[str, tuple[Schema | None, Any]]:
    """Items with the same step are one part: it differs if any of them does."""
    parts: dict[str, tuple[Schema | None, Any]] = {}
    repeated: dict[str, list[Any]] = {}
    for step, item in zip(found, value, strict=True):
        if step in parts:
            repeated.setdefault(step, [parts[step][1]]).append(item)
        else:
            parts[step] = (items, item)
    return {**parts, **{step: (None, held) for step, held in repeated.items()}}
