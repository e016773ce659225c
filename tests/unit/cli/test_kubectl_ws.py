"""The command line of kubectl-ws: which words are commands, which are paths; exit codes; what is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kcp.cli import kubectl_create_workspace, kubectl_kcp, kubectl_ws
from kcp.cli.plugin_command import split
from kcp.cli.plugin_flags import with_credentials, with_place
from kcp.client import kubeconfig


@pytest.mark.parametrize(
    ("line", "command", "path"),
    [("", "use", ""), ("-", "use", "-"), ("..", "use", ".."), ("~", "use", "~"), (":root:a", "use", ":root:a"), ("use a", "use", "a")],
)
def test_words_that_are_no_commands_are_workspaces(line: str, command: str, path: str) -> None:
    options = kubectl_ws.parser("kubectl ws").parse_args(kubectl_ws.with_command(line.split()))
    assert (options.command, options.path) == (command, path)


def test_help_of_a_command_is_about_that_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kubectl_ws.parser("kubectl ws").parse_args(["delete", "--help"])
    assert capsys.readouterr().out.startswith("usage: kubectl ws delete [-h]")


def test_flags_may_stand_anywhere() -> None:
    for line in ("--kubeconfig k create x --enter", "create x --enter --kubeconfig=k", "create --kubeconfig k --enter x"):
        flags, words = split(line.split())
        options = kubectl_ws.parser("kubectl ws").parse_args(kubectl_ws.with_command(words))
        assert (options.command, options.name, options.enter, flags.kubeconfig) == ("create", "x", True, "k")


@pytest.mark.parametrize(("word", "entered"), [("--enter", True), ("--enter=true", True), ("--enter=false", False)])
def test_switches_are_those_of_go(word: str, *, entered: bool) -> None:
    words = ["create", word, "x"]
    assert kubectl_ws.parser("kubectl ws").parse_args(words).enter is entered
    assert kubectl_create_workspace.parser().parse_args(words[1:]).enter is entered


def test_label_selectors_are_those_of_kubectl() -> None:
    found = kubectl_ws.label_selector("region=eu, tier in (a, b),!old,new,x!=y", "--location-selector")
    assert found["matchLabels"] == {"region": "eu"}
    assert found["matchExpressions"] == [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "new", "operator": "Exists"},
        {"key": "x", "operator": "NotIn", "values": ["y"]},
    ]
    assert kubectl_ws.label_selector("", "--location-selector") == {}


def test_flags_replace_parts_of_the_kubeconfig(config: Path) -> None:
    line = "--user u --server https://other/clusters/root:x --token t2 --as bob --as-group a --as-group=b --insecure-skip-tls-verify . "
    flags, words = split([*line.split(), "--request-timeout=5s", "-w", "..:y"])
    assert (words, flags.request_timeout_s, flags.workspace) == (["."], 5.0, "..:y")
    merged = kubeconfig.read(config)
    kubeconfig.put(merged, "users", "u", {"token": "old", "client-certificate-data": "Y2E="})
    placed = with_place(merged, "root", flags)
    assert kubeconfig.find(placed, "contexts", "root") == {"cluster": "root", "user": "u"}
    assert kubeconfig.find(merged, "contexts", "root") == {"cluster": "root", "user": "kcp-admin"}
    endpoint = kubeconfig.resolve(with_credentials(placed, "root", flags), "root", source=config).endpoint
    assert (endpoint.server, endpoint.token, endpoint.cert_pem) == ("https://other/clusters/root:x", "t2", b"")
    assert endpoint.insecure_skip_tls_verify
    assert endpoint.impersonation == (("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"))


def test_groups_without_a_user_to_impersonate_are_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", str(config), "--as-group", "a", "tree"]) == 1
    assert "add --as" in capsys.readouterr().err


def test_a_workspace_flag_acts_elsewhere_without_entering(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = config.read_text()
    assert kubectl_ws.run(["--kubeconfig", str(config), "-w", "a:b", "create-context", "kept", "--keep-current"]) == 0
    assert capsys.readouterr().out == 'Created context "kept".\n'
    assert kubeconfig.load(config, "kept").endpoint.server == "https://h/clusters/root:a:b"
    assert "current-context: root\n" in config.read_text()
    assert config.read_text() != before


def test_errors_go_to_stderr_with_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", "/nonexistent/k", "."]) == 1
    assert capsys.readouterr().err.startswith("error: no kubeconfig: /nonexistent/k does not exist")


def test_unreachable_server_is_named(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", str(config), "tree"]) == 1
    told = capsys.readouterr().err
    assert "https://h" in told
    assert str(config) in told


def test_malformed_location_selector_is_refused(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kubectl_ws.run(["--kubeconfig", str(config), "create", "x", "--location-selector", "a b"]) == 1
    assert "is not a label selector, such as key=value" in capsys.readouterr().err


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
