"""The line of every plugin command can be read: none of its flags is one of those that all of them have."""

from __future__ import annotations

from importlib import import_module

import pytest

from kcp.cli import kubectl_kcp, kubectl_tmc

COMMANDS = {**{f"kcp {n}": c[0] for n, c in kubectl_kcp.COMMANDS.items()}, **{f"tmc {n}": c[0] for n, c in kubectl_tmc.COMMANDS.items()}}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_has_a_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module(COMMANDS[name]).parser(f"kubectl {name}").parse_args(["--help"])
    assert ended.value.code == 0
    assert f"usage: kubectl {name}" in capsys.readouterr().out
