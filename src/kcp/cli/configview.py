"""`kcp config view`: what a `kcp start` with the same flags, variables and files would run with, and where each value comes from.

What it prints is a `--config` file itself. Before: `cli.kcp`. After: `settingsflags`.
"""

from __future__ import annotations

from typing import Any

import click

from kcp.cli.configfile import KIND
from kcp.cli.flags import fail
from kcp.cli.settingsflags import Given, settings_flags, shown, take_settings
from kcp.server.settings import Kind, Setting, Value


@click.group("config", help="Settings of `kcp start`.")
def config_group() -> None:
    """The subcommands do the work."""


@config_group.command("view", help="Print the settings that `kcp start` would run with, and where each comes from, as a --config file.")
@settings_flags
@click.pass_context
def view_command(ctx: click.Context, /, **flags: Any) -> None:
    from kcp.server.tmcoptions import TMCOptions

    given = take_settings(ctx, flags)
    if problems := [*given.faults, *TMCOptions(**given.of("tmc")).problems()]:
        fail("\n  ".join(problems))
    click.echo(view(given), nl=False)
    for field in given.without_effect:
        click.echo(f"# without effect: {field}")


def view(given: Given) -> str:
    """YAML, each value with its source beside it."""
    lines: list[tuple[str, str]] = [(f"kind: {KIND}", "")]
    open_section = ""
    for setting in sorted(given.values, key=lambda one: ("." in one.path, one.path.rpartition(".")[0])):
        section, _, name = setting.path.rpartition(".")
        if section != open_section:
            lines.append((f"{section}:", ""))
            open_section = section
        indent = "  " if section else ""
        lines.append((f"{indent}{name}: {_scalar(setting, given.values[setting])}", given.sources[setting] or "default"))
    width = max(len(text) for text, _ in lines)
    return "".join(f"{text:<{width}}  # {source}".rstrip() + "\n" if source else f"{text}\n" for text, source in lines)


def _scalar(setting: Setting, value: Value) -> str:
    import json

    text = shown(setting, value)
    return json.dumps(text) if setting.kind in (Kind.TEXT, Kind.LIST) else text
