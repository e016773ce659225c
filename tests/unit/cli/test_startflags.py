"""Flags about what a server begins with: feature gates, batteries, URLs, and those that kcp has for an etcd that is not here."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from kcp.cli.startflags import SETTABLE, gates, say_what_is_ignored, start_flags
from kcp.server.options import Options
from kcp.server.startoptions import DEFAULT_BATTERIES, chosen

KCP_S_DEFAULT = "DRAExtendedResource=false,SizeBasedListCostEstimate=false,UnknownVersionInteroperabilityProxy=false"
"""What kcp's test fixture puts on the command line of every server."""


def run(*arguments: str) -> tuple[dict[str, Any], str]:
    """What the flags say, and what was printed."""
    found: dict[str, Any] = {}

    @click.command()
    @start_flags
    def command(**flags: Any) -> None:
        say_what_is_ignored(flags)
        found.update(flags)

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return found, result.output


def test_gates_have_defaults_and_are_set() -> None:
    assert gates("") == SETTABLE
    assert gates("WorkspaceMounts=true, CacheAPIs=True") == {**SETTABLE, "WorkspaceMounts": True, "CacheAPIs": True}
    assert not gates("EnableDeprecatedAPIExportVirtualWorkspacesUrls=false")["EnableDeprecatedAPIExportVirtualWorkspacesUrls"]


def test_gates_that_stand_as_they_do_may_be_named() -> None:
    assert gates(f"{KCP_S_DEFAULT},WatchCacheInitializationPostStartHook=false,WatchList=true") == SETTABLE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Nothing=true", "unrecognized feature gate: Nothing"),
        ("CacheAPIs=perhaps", "invalid value of CacheAPIs=perhaps"),
        ("CustomResourceValidationExpressions=perhaps", "invalid value of CustomResourceValidationExpressions=perhaps"),
        ("LogicalClusterMigration=true", "cannot set feature gate LogicalClusterMigration to true: here it is false"),
    ],
)
def test_other_gates_are_errors(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gates(text)
    assert message in capsys.readouterr().err


def test_kubernetes_own_gates_are_taken_and_said_to_be_without_effect(capsys: pytest.CaptureFixture[str]) -> None:
    assert gates("CustomResourceValidationExpressions=true,SizeBasedListCostEstimate=true,AllBeta=false") == SETTABLE
    said = capsys.readouterr().err
    assert "warning: without effect" in said
    assert "CustomResourceValidationExpressions, SizeBasedListCostEstimate, AllBeta" in said
    gates("WatchList=true,KCPSyncerTunnel=true")
    assert capsys.readouterr().err == ""


def test_all_alpha_means_those_that_are_not_named() -> None:
    assert gates("AllAlpha=true,CacheAPIs=false") == {**dict.fromkeys(SETTABLE, True), "CacheAPIs": False}
    assert gates("WorkspaceMounts=true,AllAlpha=false") == {**dict.fromkeys(SETTABLE, False), "WorkspaceMounts": True}


def test_flags_of_an_etcd_are_said_to_be_without_effect() -> None:
    flags, output = run("--embedded-etcd-client-port=1", "--embedded-etcd-wal-size-bytes=5000")
    assert not any("etcd" in name for name in flags)
    assert "without effect, because there is no embedded etcd here" in output
    assert "--embedded-etcd-client-port, --embedded-etcd-wal-size-bytes" in output
    assert run()[1] == ""


def test_the_interval_of_scans_is_said_to_be_without_effect() -> None:
    flags, output = run("--logical-cluster-object-count-scan-interval=1s", "--embedded-etcd-peer-port=1")
    assert not any("scan" in name for name in flags)
    assert "not by scans: --logical-cluster-object-count-scan-interval\n" in output
    assert "no embedded etcd here: --embedded-etcd-peer-port\n" in output


def test_batteries_are_named_or_changed() -> None:
    assert chosen(run()[0]["batteries_included"]) == DEFAULT_BATTERIES
    assert chosen(run("--batteries-included=admin,user")[0]["batteries_included"]) == {"admin", "user"}
    assert chosen(run("--batteries-included=+user,-admin")[0]["batteries_included"]) == (DEFAULT_BATTERIES | {"user"}) - {"admin"}


@pytest.mark.parametrize(
    ("batteries", "problem"),
    [
        (("+user", "admin"), "must all be prefixed with + or - or none"),
        (("fission",), "unknown battery: fission"),
        (("user",), "battery user enabled which requires admin as well"),
        (("-admin", "+user"), "battery user enabled which requires admin as well"),
    ],
)
def test_batteries_that_do_not_go_together_are_errors(batteries: tuple[str, ...], problem: str) -> None:
    assert any(problem in found for found in Options(batteries=batteries).problems())
