"""`kubectl ws tree`: the workspaces below the current one, drawn. Drawing is pure, reading is one list a workspace.

Source: kcp staging cli/pkg/workspace/plugin/tree.go; the look is that of github.com/xlab/treeprint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_lookup import WORKSPACES, type_of
from kcp.cli.plugin_session import Session


@dataclass
class Branch:
    label: str
    children: list[Branch] = field(default_factory=list)
    details: tuple[str, ...] = ("", "", "")
    """Type, phase and logical cluster, for `--wide`."""


async def show_tree(session: Session, *, full: bool = False, wide: bool = False) -> None:
    path = session.url.path or "root"
    if not session.url.path:
        session.note(f"Warning: the current context points to no workspace ({session.url.base}). Showing the tree from root.")
    root = Branch(path if full else path.rpartition(":")[2])
    await _grow(session, root, path, full=full)
    lines = [".", *draw([root])]
    if wide:
        rows = [(line, *details) for line, details in zip(lines, [_HEADINGS, *(b.details for b in walk(root))], strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    session.say("\n".join(lines))
    session.say("")


async def _grow(session: Session, branch: Branch, path: str, *, full: bool) -> None:
    try:
        below = await children(session, path)
    except (NotFound, Forbidden):
        if path == (session.url.path or "root"):
            raise
        return  # of what the user may not enter, the name is all there is to draw
    for workspace in below:
        name = meta.name(workspace)
        label = f"{branch.label}:{name}" if full else name
        if meta.nested(workspace, "spec", "mount") is not None:
            branch.children.append(Branch(f"{label} [m]", details=_details(workspace)))
            continue
        child = Branch(label, details=_details(workspace))
        branch.children.append(child)
        await _grow(session, child, f"{path}:{name}", full=full)


_HEADINGS = ("TYPE", "PHASE", "CLUSTER")


def _details(workspace: JSONObject) -> tuple[str, ...]:
    told = (type_of(workspace), meta.nested(workspace, "status", "phase"), meta.nested(workspace, "spec", "cluster"))
    return tuple(str(text or "") for text in told)


def walk(branch: Branch) -> Iterator[Branch]:
    """A branch and everything on it, in the order it is drawn."""
    yield branch
    for child in branch.children:
        yield from walk(child)


async def children(session: Session, path: str) -> list[JSONObject]:
    """Child workspaces that are not being deleted. Raises: NotFound, Forbidden."""
    listed = await session.client.cluster(path).resource(WORKSPACES).list()
    return [w for w in listed.items if not meta.deletion_timestamp(w)]


def draw(branches: list[Branch], indent: str = "") -> Iterator[str]:
    """Lines of a tree.

    >>> print("\\n".join(draw([Branch("root", [Branch("a", [Branch("b")]), Branch("c")])])))
    └── root
        ├── a
        │   └── b
        └── c
    """
    for number, branch in enumerate(branches):
        last = number == len(branches) - 1
        yield f"{indent}{'└── ' if last else '├── '}{branch.label}"
        yield from draw(branch.children, indent + ("    " if last else "│   "))
