"""`kubectl ws -i`: the tree of workspaces to walk through with the arrow keys. The chooser is pure, the terminal is at the end.

Before: `kubectl_ws`. After: `plugin_tree` for the children of a workspace.
Source: kcp staging cli/pkg/workspace/plugin/interactive.go.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.cli.plugin_lookup import canonical_path, type_of
from kcp.cli.plugin_session import PluginError, Session
from kcp.cli.plugin_tree import children

_KEYS = {
    b"\x1b[A": "up", b"k": "up", b"\x1b[B": "down", b"j": "down", b"\x1b[C": "open", b"l": "open", b" ": "open",
    b"\x1b[D": "close", b"h": "close", b"\r": "enter", b"\n": "enter", b"q": "quit", b"\x1b": "quit", b"\x03": "quit", b"\x04": "quit",
}  # fmt: skip
_CLEAR, _INVERSE, _PLAIN = "\x1b[H\x1b[J", "\x1b[7m", "\x1b[0m"
_FULL_SCREEN, _NORMAL_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?1049l\x1b[?25h"
_HINT = "↑ ↓ move   → open   ← close   Enter go there   q leave"


@dataclass
class Node:
    path: str
    type: str = ""
    mount: bool = False
    open: bool = False
    children: list[Node] | None = None
    """None: not read yet."""

    def line(self, depth: int) -> str:
        mark = " " if self.mount or self.children == [] else "▾" if self.open else "▸"
        kind = "  [m]" if self.mount else f"  ({self.type})" if self.type else ""
        return f"{'  ' * depth}{mark} {self.path.rpartition(':')[2]}{kind}"


@dataclass
class Chooser:
    root: Node
    cursor: int = 0
    notice: str = field(default="")

    def rows(self) -> list[tuple[int, Node]]:
        """Depth and node of every line shown."""

        def below(node: Node, depth: int) -> Iterator[tuple[int, Node]]:
            yield depth, node
            for child in (node.children or ()) if node.open else ():
                yield from below(child, depth + 1)

        return list(below(self.root, 0))

    @property
    def selected(self) -> Node:
        return self.rows()[self.cursor][1]

    def select(self, path: str) -> None:
        self.cursor = next((i for i, (_, node) in enumerate(self.rows()) if node.path == path), self.cursor)

    def press(self, key: str) -> None:
        """Move, or close. Opening needs the server: see `_open`."""
        self.notice = ""
        if key == "up":
            self.cursor = max(self.cursor - 1, 0)
        elif key == "down":
            self.cursor = min(self.cursor + 1, len(self.rows()) - 1)
        elif key == "close":
            if self.selected.open:
                self.selected.open = False
            else:
                self.select(self.selected.path.rpartition(":")[0])

    def screen(self, height: int) -> str:
        rows = self.rows()
        room = max(height - 3, 1)
        first = max(min(self.cursor - room // 2, len(rows) - room), 0)
        lines = []
        for number, (depth, node) in list(enumerate(rows))[first : first + room]:
            text = node.line(depth)
            lines.append(f"{_INVERSE}{text}{_PLAIN}" if number == self.cursor else text)
        return "\r\n".join([*lines, "", self.notice or _HINT])


async def choose(session: Session) -> str:
    """The path that the user chose; "" if they left. Raises PluginError without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise PluginError("-i needs a terminal; `kubectl ws tree` prints the tree, `kubectl ws <path>` enters a workspace")
    chooser = await start(session)
    return await _on_terminal(session, chooser)


async def start(session: Session) -> Chooser:
    """The tree from its top, opened down to where the user is."""
    here = await canonical_path(session) if session.url.path else "root"
    parts = here.split(":")
    chooser = Chooser(Node(parts[0]))
    node = chooser.root
    for depth in range(1, len(parts) + 1):
        await open_node(session, node)
        wanted = ":".join(parts[: depth + 1])
        following = next((child for child in node.children or () if child.path == wanted), None)
        if following is None:
            break
        node = following
    chooser.select(here)
    return chooser


async def open_node(session: Session, node: Node) -> str:
    """Show a node's children, read when first asked for. Returns what is wrong, for the user."""
    if node.mount:
        return f"{node.path} is a mount: its content is served elsewhere"
    if node.children is None:
        try:
            found = await children(session, node.path)
        except (NotFound, Forbidden) as error:
            return str(error)
        node.children = [Node(f"{node.path}:{meta.name(w)}", type_of(w), meta.nested(w, "spec", "mount") is not None) for w in found]
    node.open = True
    return ""


def keys(typed: bytes) -> list[str]:
    """What keys mean that were typed faster than they were read.

    >>> keys(b"\\x1b[B\\x1b[Bj?\\r"), keys(b"\\x1b")
    (['down', 'down', 'down', 'enter'], ['quit'])
    """
    found = []
    while typed:
        length = 3 if typed.startswith(b"\x1b[") else 1
        found.append(_KEYS.get(typed[:length], ""))
        typed = typed[length:]
    return [key for key in found if key]


async def _on_terminal(session: Session, chooser: Chooser) -> str:
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    sys.stdout.write(_FULL_SCREEN)
    try:
        tty.setraw(descriptor)
        while True:
            sys.stdout.write(_CLEAR + chooser.screen(os.get_terminal_size().lines))
            sys.stdout.flush()
            for key in keys(os.read(descriptor, 64) or b"q"):
                if key == "quit":
                    return ""
                if key == "enter" and not chooser.selected.mount:
                    return chooser.selected.path
                if key == "open":
                    chooser.notice = await open_node(session, chooser.selected)
                else:
                    chooser.press(key)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write(_NORMAL_SCREEN)
        sys.stdout.flush()
