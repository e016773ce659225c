"""What docs/production-deployment.md names is there: programs, subcommands, flags, values of the chart, files, alerts."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from kcp.cli import kubectl_kcp, kubectl_tmc
from kcp.cli.kcp import main

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "production-deployment.md").read_text()
_BLOCKS = re.findall(r"```\w*\n(.*?)```", TEXT, re.DOTALL)
_SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"```\w*\n.*?```", "", TEXT, flags=re.DOTALL))
COMMANDS = sorted({line for block in _BLOCKS for line in re.sub(r"\s*\\?\n  ", " ", block).splitlines() if line} | set(_SPANS))
_SYNCER = (ROOT / "src" / "kcp" / "cli" / "workload_syncer.py").read_text()


def _all_flags(command: click.Command) -> set[str]:
    found = {flag for parameter in command.params for flag in parameter.opts}
    if isinstance(command, click.Group):
        found.update(*map(_all_flags, command.commands.values()))
    return found


FLAGS = _all_flags(main) | set(re.findall(r'"(--[a-z][a-z-]*)"', _SYNCER))


def _starting(*words: str) -> list[str]:
    found = [command for command in COMMANDS if command.split()[: len(words)] == list(words)]
    assert found, words
    return found


@pytest.mark.parametrize("line", _starting("kcp"))
def test_commands_of_kcp_are_there_with_their_flags(line: str) -> None:
    command: click.Command = main
    words = line.split("|")[0].split()[1:]
    while words and isinstance(command, click.Group):
        assert words[0] in command.commands, line
        command = command.commands[words.pop(0)]
    flags = {word.split("=")[0] for word in words if word.startswith("-")}
    assert flags <= {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}, line


@pytest.mark.parametrize("line", [*_starting("kubectl", "kcp"), *_starting("kubectl", "tmc")])
def test_commands_of_the_plugins_are_there_with_their_flags(line: str) -> None:
    plugin, name, *words = line.split()[1:]
    module = {"kcp": kubectl_kcp, "tmc": kubectl_tmc}[plugin].COMMANDS[name][0]
    source = Path(str(import_module(module).__file__)).read_text()
    for word in words:
        if word.startswith("-"):
            assert f'"{word.split("=")[0]}"' in source, line


def test_flags_that_are_named_alone_are_flags_of_a_program() -> None:
    named = {span.split("=")[0] for span in _SPANS if span.startswith("--")}
    assert named
    assert named - FLAGS == set()
    of_syncers = {word for span in _SPANS if span.startswith("workload-syncer") for word in span.split()[1:]}
    assert of_syncers - FLAGS == set()


def test_values_of_the_chart_are_there() -> None:
    values = yaml.safe_load((ROOT / "charts" / "kcp-tmc" / "values.yaml").read_text())
    table = TEXT[TEXT.index("| what | value of the chart |") : TEXT.index("The administrator's kubeconfig")]
    spans = re.findall(r"`([a-zA-Z][\w.-]+)`", table)
    spans += [span for span in _SPANS if re.fullmatch(r"[a-z]\w*(\.[a-zA-Z-]\w*)+", span) and span.split(".")[0] in values]
    assert len(spans) > 15
    for span in spans:
        found = values
        for part in span.split("."):
            assert part in found, span
            found = found[part]


def test_files_that_are_named_are_there() -> None:
    first = {path.name for path in ROOT.iterdir() if path.is_dir()}
    words = {word.removeprefix("./").split("=")[-1] for command in COMMANDS for word in command.split()}
    paths = {word for word in words if word.split("/")[0] in first and "/" in word}
    assert {"scripts/dr-drill.sh", "policies/strict"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_alerts_that_are_named_are_there() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "monitoring" / "prometheus" / "rules").iterdir())
    named = re.findall(r"alert `(\w+)`", TEXT)
    assert named
    assert [alert for alert in named if f"alert: {alert}" not in rules] == []
