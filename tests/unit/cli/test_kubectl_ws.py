"""The command line of kubectl-ws: which words are commands, which are paths; exit codes; what is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kcp.cli import kubectl_kcp, kubectl_ws


@pytest.mark.parametrize(
    ("line", "command", "path"),
    [("", "use", ""), ("-", "use", "-"), ("..", "use", ".."), ("~", "use", "~"), (":root:a", "use", ":root:a"), ("use a", "use", "a")],
)
def test_words_that_are_no_commands_are_workspaces(line: str, command: str, path: str) -> None:
    options = kubectl_ws._parse(line.split(), "kubectl ws")
    assert (options.command, options.path) == (command, path)


def test_flags_may_stand_anywhere() -> None:
    for line in ("--kubeconfig k create x --enter", "create x --enter --kubeconfig=k", "create --kubeconfig k --enter x"):
        options = kubectl_ws._parse(line.split(), "kubectl ws")
        assert (options.command, options.name, options.enter, options.kubeconfig) == ("create", "x", True, "k")


def test_errors_go_to_stderr_with_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", "/nonexistent/k", "."]) == 1
    assert capsys.readouterr().err.startswith("error: no kubeconfig: /nonexistent/k does not exist")


def test_unreachable_server_is_named(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", str(config), "tree"]) == 1
    told = capsys.readouterr().err
    assert "https://h" in told
    assert str(config) in told


def test_malformed_location_selector_is_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", str(config), "create", "x", "--location-selector", "nope"]) == 1
    assert "not of the form key=value" in capsys.readouterr().err


def test_kubectl_kcp_workspace_is_kubectl_ws(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("workspace", "ws", "workspaces"):
        assert kubectl_kcp.run([word, "current", "--short", "--kubeconfig", str(config)]) == 0
        assert capsys.readouterr().out == "root\n"
    assert kubectl_kcp.run(["nope"]) == 1
    assert 'unknown command "nope"' in capsys.readouterr().err


def test_heavy_libraries_are_not_imported(config: str) -> None:
    script = f"""
import sys
from kcp.cli import kubectl_ws
code = kubectl_ws.run(["current", "--kubeconfig", {str(config)!r}])
heavy = {{"aiohttp", "cryptography", "rich", "click", "kcp.tenancy", "kcp.apiserver", "prometheus_client"}} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, 'Current workspace is "root".\n'), done.stderr
