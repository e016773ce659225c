"""Path arithmetic of `kubectl ws`: absolute, relative, dots, URLs."""

from __future__ import annotations

import pytest

from kcp.cli.plugin_paths import PathProblem, WorkspaceURL, target_path


@pytest.mark.parametrize(
    ("argument", "current", "target"),
    [
        ("root", "root:a", "root"),
        (":", "root:a:b", "root"),
        (":", "", "root"),
        (":", "user:ann:x", "root"),
        ("..", "user:ann:x", "user:ann"),
        ("root:x", "root:a", "root:x"),
        (":root:x", "root:a", "root:x"),
        (":2lpvmbh5xyj8ljfs:x", "root:a", "2lpvmbh5xyj8ljfs:x"),
        ("system:admin", "root", "system:admin"),
        ("b", "root:a", "root:a:b"),
        ("b:c", "root:a", "root:a:b:c"),
        ("b/c", "root:a", "root:a:b:c"),
        ("..", "root:a", "root"),
        ("..:..", "root:a:b", "root"),
        ("..:x", "root:a", "root:x"),
        (".:b", "root:a", "root:a:b"),
        ("root:a:..:b", "", "root:b"),
    ],
)
def test_argument_and_current_workspace_make_a_path(argument: str, current: str, target: str) -> None:
    assert target_path(argument, current) == target


@pytest.mark.parametrize(
    ("argument", "current", "problem"),
    [
        ("..", "root", "no parent"),
        ("..", "user:ann", "no parent"),
        ("b", "", "absolute path"),
        ("B", "root", "invalid workspace path: B"),
        ("a::b", "root", "invalid workspace path"),
        ("-x", "root", "invalid workspace path"),
    ],
)
def test_what_names_no_workspace_is_refused_with_the_reason(argument: str, current: str, problem: str) -> None:
    with pytest.raises(PathProblem, match=problem):
        target_path(argument, current)


@pytest.mark.parametrize(
    ("server", "base", "path"),
    [
        ("https://h:6443/clusters/root:a", "https://h:6443", "root:a"),
        ("https://h:6443", "https://h:6443", ""),
        ("https://h/kcp/clusters/root", "https://h/kcp", "root"),
        ("https://h/clusters/root%3Aa/", "https://h", "root:a"),
        ("https://h/services/apiexport/root/x/clusters/root:a", "https://h/services/apiexport/root/x", "root:a"),
    ],
)
def test_server_url_comes_apart(server: str, base: str, path: str) -> None:
    url = WorkspaceURL.parse(server)
    assert (url.base, url.path) == (base, path)
