"""Sets of fields, as field managers own them.

A `FieldSet` holds the very shape of FieldsV1 (`{"f:spec": {"f:replicas": {}}}`), so managedFields are read and written at no cost.
Steps: `f:<field>`, `k:<JSON of a list item's keys>`, `v:<JSON of a set item>`, `i:<index>`; `.` marks a parent that is itself a member.
Before: `walk`, `managers`. Source: structured-merge-diff fieldpath/{serialize.go,serialize-pe.go,set.go,element.go}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import orjson

Tree: TypeAlias = dict[str, Any]
"""Step → tree below it. An empty tree is a member; so is one with the step `.`. Trees are shared between sets and never changed."""

MEMBER = "."
LEAF: Tree = {}


def field(name: str) -> str:
    return "f:" + name


def item_key(keys: Mapping[str, Any]) -> str:
    """The step of a list item that is known by its keys: `k:{"containerPort":80,"protocol":"TCP"}`."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def item_value(value: Any) -> str:
    """The step of an item of a set."""
    return "v:" + orjson.dumps(value).decode()


def is_member(tree: Tree) -> bool:
    """Whether the tree found behind a step says that the path up to that step is in the set."""
    return not tree or MEMBER in tree


class FieldSet:
    """An immutable set of field paths.

    >>> spec = FieldSet.from_v1({"f:spec": {"f:replicas": {}}})
    >>> str(spec), bool(spec - spec)
    ('.spec.replicas', False)
    """

    __slots__ = ("tree",)

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree: Tree = {} if tree is None else tree

    @classmethod
    def from_v1(cls, fields: Mapping[str, Any]) -> FieldSet:
        """Decode FieldsV1. Raises: ValueError for a step that is not one."""
        return cls(_canonical(fields))

    @classmethod
    def of(cls, *paths: tuple[str, ...]) -> FieldSet:
        """The set of these paths, each a tuple of steps."""
        result = cls()
        for path in paths:
            tree: Tree = LEAF
            for step in reversed(path):
                tree = {step: tree}
            result |= cls(tree)
        return result

    def in_order(self) -> FieldSet:
        """The same set, its steps in the order in which upstream writes them: some clients compare texts.

        >>> FieldSet({"f:b": {}, "f:a": {".": {}, "v:10": {}, "v:9": {}}}).in_order().to_v1()
        {'f:a': {'.': {}, 'v:9': {}, 'v:10': {}}, 'f:b': {}}
        """
        return FieldSet(_ordered(self.tree))

    def to_v1(self) -> Tree:
        """FieldsV1; shares its parts with the set, so encode it or copy it before changing it."""
        return self.tree

    def __or__(self, other: FieldSet) -> FieldSet:
        return FieldSet(_union(self.tree, other.tree))

    def __sub__(self, other: FieldSet) -> FieldSet:
        """The members of self that are not members of other, path by path: parents and children are told apart."""
        return FieldSet(_difference(self.tree, other.tree)) if self.tree and other.tree else self

    def __and__(self, other: FieldSet) -> FieldSet:
        return FieldSet(_intersection(self.tree, other.tree))

    def without(self, other: FieldSet) -> FieldSet:
        """Self without the members of other and everything below them."""
        return FieldSet(_cut(self.tree, other.tree)) if self.tree and other.tree else self

    def __bool__(self) -> bool:
        return bool(self.tree)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldSet) and self.tree == other.tree

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, path: tuple[str, ...]) -> bool:
        here = self.tree
        for step in path:
            if step not in here:
                return False
            here = here[step]
        return bool(path) and is_member(here)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Every member, parents before their children, siblings in the order of their steps."""
        yield from _paths(self.tree, ())

    def __str__(self) -> str:
        return "\n".join(map(path_text, self))

    def __repr__(self) -> str:
        return f"FieldSet({self.tree!r})"


def _paths(tree: Tree, prefix: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for step in sorted(tree):
        if step == MEMBER:
            continue
        inner, path = tree[step], (*prefix, step)
        if is_member(inner):
            yield path
        yield from _paths(inner, path)


def path_text(path: tuple[str, ...]) -> str:
    """A path as conflicts print it.

    >>> path_text(("f:spec", "f:containers", 'k:{"name":"web"}', "f:image"))
    '.spec.containers[name="web"].image'
    """
    return "".join(map(step_text, path))


def step_text(step: str) -> str:
    kind, rest = step[:2], step[2:]
    if kind == "f:":
        return "." + rest
    if kind == "k:":
        return "[" + ",".join(f"{name}={_text(value)}" for name, value in orjson.loads(rest).items()) + "]"
    if kind == "v:":
        return f"[={_text(orjson.loads(rest))}]"
    return f"[{rest}]"


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _canonical(fields: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for step, inner in fields.items():
        if not isinstance(inner, Mapping):
            raise ValueError(f"FieldsV1: {step!r} must hold an object")
        tree[_canonical_step(step)] = _canonical(inner)
    return {} if tree.keys() == {MEMBER} else tree


def _canonical_step(step: str) -> str:
    kind, rest = step[:2], step[2:]
    if kind == "f:" or step == MEMBER:
        return step
    try:
        if kind == "k:":
            keys = orjson.loads(rest)
            if not isinstance(keys, dict):
                raise ValueError("the keys must be an object")
            return item_key(keys)
        if kind == "v:":
            return item_value(orjson.loads(rest))
        if kind == "i:":
            return f"i:{int(rest)}"
    except (ValueError, TypeError) as e:  # TypeError: nested too deep to be written again
        raise ValueError(f"FieldsV1: cannot read the path element {step!r}: {e}") from e
    raise ValueError(f"FieldsV1: unknown kind of path element {step!r}")


def _ordered(tree: Tree) -> Tree:
    if not tree:
        return tree
    if len(tree) == 1:
        [(step, inner)] = tree.items()
        return {step: _ordered(inner)}
    steps = sorted(tree) if max(tree) < "g" else sorted(tree, key=_rank)  # most trees have fields only
    return {step: _ordered(tree[step]) for step in steps}


def _rank(step: str) -> tuple[int, Any]:
    """Source: structured-merge-diff fieldpath/element.go (Compare), value/value.go (Compare)."""
    kind, rest = step[:2], step[2:]
    if kind == "k:":
        return 1, [(name, _rank_of_value(value)) for name, value in orjson.loads(rest).items()]
    if kind == "v:":
        return 2, _rank_of_value(orjson.loads(rest))
    return (3, int(rest)) if kind == "i:" else (0, step)


def _rank_of_value(value: Any) -> tuple[int, Any]:
    """Numbers, then texts, then the rest."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, _text(value))


def _tidy(tree: Tree) -> Tree:
    """`{".": {}}` and `{}` both mean: this path, nothing below it. One of them is used."""
    return LEAF if len(tree) == 1 and MEMBER in tree else tree


def _union(left: Tree, right: Tree) -> Tree:
    if not left or left is right:
        return right
    merged = dict(left)
    for step, theirs in right.items():
        mine = merged.get(step)
        if mine is None:
            merged[step] = theirs
        elif mine is theirs or step == MEMBER:
            continue
        elif not mine:
            merged[step] = theirs if not theirs or MEMBER in theirs else {MEMBER: LEAF, **theirs}
        elif not theirs:
            merged[step] = mine if MEMBER in mine else {MEMBER: LEAF, **mine}
        else:
            merged[step] = _union(mine, theirs)
    return merged


def _difference(left: Tree, right: Tree) -> Tree:
    kept: Tree = {}
    for step, mine in left.items():
        theirs = right.get(step)
        if theirs is None:
            kept[step] = mine
        elif step == MEMBER:
            continue
        elif not mine:
            if not is_member(theirs):
                kept[step] = mine
        else:
            rest = _difference(mine, theirs) if theirs else {inner: tree for inner, tree in mine.items() if inner != MEMBER}
            if rest:
                kept[step] = _tidy(rest)
    return kept


def _intersection(left: Tree, right: Tree) -> Tree:
    both: Tree = {}
    for step, mine in left.items():
        theirs = right.get(step)
        if theirs is None:
            continue
        if not mine or not theirs:
            if is_member(mine) and is_member(theirs):
                both[step] = LEAF
        elif inner := _intersection(mine, theirs):
            both[step] = _tidy(inner)
    return both


def _cut(left: Tree, right: Tree) -> Tree:
    kept: Tree = {}
    for step, mine in left.items():
        theirs = right.get(step)
        if theirs is None:
            kept[step] = mine
        elif not is_member(theirs):
            rest = _cut(mine, theirs) if mine else LEAF
            if rest or not mine:
                kept[step] = _tidy(rest)
    return kept
