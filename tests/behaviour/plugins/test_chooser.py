"""`kubectl ws -i`: the tree to walk through. The keys are pressed here as the terminal would give them; tests/e2e has the terminal."""

from __future__ import annotations

from tests.behaviour.plugins.conftest import User

from kcp.cli.plugin_chooser import Chooser, Node, keys, open_node, start
from kcp.cli.plugin_tree import Branch, draw


def names(chooser: Chooser) -> list[str]:
    return [node.path for _, node in chooser.rows()]


async def test_it_begins_open_down_to_where_one_is(user: User) -> None:
    await user.workspace("a")
    await user.workspace("b", "organization")
    user.enter("root:b")
    chooser = await start(user.session())
    assert chooser.selected.path == "root:b"
    assert names(chooser) == ["root", "root:a", "root:b", "root:compute"]
    assert "  (root:organization)" in chooser.screen(20)


async def test_arrows_move_open_and_close(user: User) -> None:
    await user.quickstart()
    session = user.session()
    chooser = await start(session)
    assert names(chooser) == ["root", "root:compute", "root:quickstart-org"]
    for _ in range(5):
        chooser.press("down")
    assert chooser.selected.path == "root:quickstart-org"
    assert await open_node(session, chooser.selected) == ""
    assert names(chooser)[-2:] == ["root:quickstart-org:quickstart-consumer", "root:quickstart-org:quickstart-provider"]
    chooser.press("down")
    chooser.press("close")
    assert chooser.selected.path == "root:quickstart-org"
    chooser.press("close")
    assert names(chooser) == ["root", "root:compute", "root:quickstart-org"]
    for _ in range(5):
        chooser.press("up")
    assert chooser.selected.path == "root"


async def test_what_may_not_be_looked_into_says_so_and_mounts_are_marked(user: User) -> None:
    session = user.session()
    assert 'workspace "root:nothing" not found or not accessible' in await open_node(session, Node("root:nothing"))
    node = Node("root:far", mount=True)
    assert await open_node(session, node) == "root:far is a mount: its content is served elsewhere"
    chooser = Chooser(Node("root", children=[node], open=True))
    assert "far  [m]" in chooser.screen(20)


def test_keys_that_are_typed_fast_are_all_heard() -> None:
    assert keys(b"\x1b[B\x1b[Bj?\r") == ["down", "down", "down", "enter"]
    assert keys(b"\x1b") == ["quit"]


def test_a_long_tree_scrolls_with_the_cursor() -> None:
    chooser = Chooser(Node("root", open=True, children=[Node(f"root:w{number}") for number in range(50)]))
    chooser.select("root:w40")
    shown = chooser.screen(10)
    assert "w40" in shown
    assert "w0\r" not in shown
    assert len(shown.split("\r\n")) == 9


def test_a_mount_is_marked_in_the_tree() -> None:
    assert list(draw([Branch("root", [Branch("far [mount]"), Branch("near")])])) == ["└── root", "    ├── far [mount]", "    └── near"]
