"""`-v` and `--v` in every form in which Kubernetes users type them."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from kcp.cli.flags import verbosity_flag
from kcp.cli.kcp import main as kcp
from kcp.cli.workload_syncer import main as workload_syncer


@click.command()
@verbosity_flag(default=2, help="Log level.", envvar="LEVEL")
def said(verbosity: int) -> None:
    click.echo(verbosity)


@pytest.mark.parametrize("given", [["-v=4"], ["-v", "4"], ["-v4"], ["--v=4"], ["--v", "4"]])
def test_a_level_is_understood_in_every_form_of_pflag(given: list[str]) -> None:
    assert CliRunner().invoke(said, given).output == "4\n"


def test_a_level_has_a_default_and_a_variable() -> None:
    assert CliRunner().invoke(said).output == "2\n"
    assert CliRunner().invoke(said, env={"LEVEL": "5"}).output == "5\n"


@pytest.mark.parametrize("given", [["-v=much"], ["-v"], ["-v="]])
def test_what_is_no_level_is_refused(given: list[str]) -> None:
    assert CliRunner().invoke(said, given).exit_code == 2


@pytest.mark.parametrize("command", [kcp.commands["start"], kcp.commands["sandbox"], workload_syncer])
def test_programs_have_both_spellings(command: click.Command) -> None:
    assert "-v, --v" in CliRunner().invoke(command, ["--help"]).output
