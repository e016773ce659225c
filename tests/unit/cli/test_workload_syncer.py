"""The syncer's settings: flags over environment over file, each with its own word; and what it logs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click
import pytest

from kcp.cli.logs import LogOptions, setup_logging
from kcp.cli.syncer_running import SyncerOptions
from kcp.cli.workload_syncer import main

REQUIRED = ("--sync-target-name=east", "--sync-target-uid=u", "--workspace-cluster=root:w", "--kcp-kubeconfig=k")

FILE = """
syncTarget: {name: west, uid: u2, workspace: root:file}
kubeconfig: {kcp: /etc/kcp, cluster: /etc/cluster}
performance: {workers: 4, resyncPeriod: 60s, qps: 50, burst: 100, maxConcurrentSyncs: 7, backlogLimit: 5000}
sync:
  heartbeatPeriod: 15s
  transformations: {enabled: true, configMap: ours}
  filters:
    namespaces: {include: [production, staging], exclude: [kube-system]}
    labels: {require: {syncer.kcp.io/sync: enabled}}
logging: {level: 3, format: json, file: /var/log/syncer.log}
metrics: {enabled: true, port: 8080, path: /m}
health: {port: 8081, bindAddress: "127.0.0.1:9"}
"""


def parsed(*args: str) -> dict[str, Any]:
    return main.make_context("workload-syncer", list(args)).params


def options(*args: str) -> SyncerOptions:
    found = parsed(*args)
    return SyncerOptions(**{name: value for name, value in found.items() if name in SyncerOptions.__slots__})


def test_the_file_says_everything_that_flags_say(tmp_path: Path) -> None:
    file = tmp_path / "syncer.yaml"
    file.write_text(FILE)
    found = options(f"--config={file}")
    assert (found.sync_target_name, found.sync_target_uid, found.workspace_cluster) == ("west", "u2", "root:file")
    assert (found.kcp_kubeconfig, found.cluster_kubeconfig) == (Path("/etc/kcp"), Path("/etc/cluster"))
    assert (found.qps, found.burst, found.metrics_bind_address, found.metrics_path) == (50.0, 100, "0.0.0.0:8080", "/m")
    assert (found.health_bind_address, found.health_path) == ("127.0.0.1:9", "/health")
    config = found.config()
    assert (config.workers, config.max_concurrent_syncs, config.backlog_limit) == (4, 7, 5000)
    assert (config.resync_period_s, config.heartbeat_period_s) == (60.0, 15.0)
    assert (config.filters.namespaces, config.filters.excluded_namespaces) == (("production", "staging"), ("kube-system",))
    assert config.transformations == "kcp-system/ours"
    assert config.filters.required_labels == {"syncer.kcp.io/sync": "enabled"}
    shown = parsed(f"--config={file}")
    assert (shown["verbosity"], shown["log_format"], shown["log_file"]) == (3, "json", Path("/var/log/syncer.log"))


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "syncer.yaml"
    file.write_text(FILE)
    monkeypatch.setenv("SYNCER_WORKERS", "5")
    monkeypatch.setenv("SYNCER_HEARTBEAT_PERIOD", "11s")
    found = options(f"--config={file}", "--workers=6")
    assert (found.workers, found.heartbeat_period, found.resync_period) == (6, 11.0, 60.0)


@pytest.mark.parametrize(
    ("variable", "value", "parameter", "wanted"),
    [
        ("SYNCER_LOG_LEVEL", "4", "verbosity", 4),
        ("SYNCER_METRICS_PORT", "8080", "metrics_bind_address", "0.0.0.0:8080"),
        ("SYNCER_METRICS_BIND_ADDRESS", "127.0.0.1:1", "metrics_bind_address", "127.0.0.1:1"),
        ("SYNCER_HEALTH_PORT", "8081", "health_bind_address", "0.0.0.0:8081"),
        ("SYNCER_WORKERS", "8", "workers", 8),
        ("SYNCER_RESYNC_PERIOD", "1m", "resync_period", 60.0),
        ("SYNCER_HEARTBEAT_PERIOD", "3s", "heartbeat_period", 3.0),
        ("SYNCER_QPS", "7", "qps", 7.0),
        ("KCP_ENDPOINT", "https://kcp:6443", "kcp_endpoint", "https://kcp:6443"),
    ],
)
def test_environment_variables(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, parameter: str, wanted: object) -> None:
    monkeypatch.setenv(variable, value)
    assert parsed(*REQUIRED)[parameter] == wanted


def test_what_is_required_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "SYNC_TARGET_NAME": "n",
        "SYNC_TARGET_UID": "u",
        "WORKSPACE_CLUSTER": "root:w",
        "KCP_KUBECONFIG": "k",
        "CLUSTER_KUBECONFIG": "c",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    found = options()
    assert (found.sync_target_name, found.sync_target_uid, found.workspace_cluster) == ("n", "u", "root:w")
    assert (found.kcp_kubeconfig, found.cluster_kubeconfig) == (Path("k"), Path("c"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("performance: {wrokers: 3}", "performance.wrokers"),
        ("- a", "must hold fields"),
        ("a: [", "not YAML"),
        ("performance: {workers: many}", "many"),
    ],
)
def test_a_fault_of_the_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "syncer.yaml"
    file.write_text(text)
    with pytest.raises(click.UsageError) as caught:
        parsed(f"--config={file}", *REQUIRED)
    assert told in caught.value.format_message()


def test_a_kubeconfig_may_be_given_from_home_as_the_building_guide_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    found = options(*REQUIRED, "--kcp-kubeconfig=~/kcp", "--cluster-kubeconfig=~/.kube/config")
    assert (found.kcp_kubeconfig, found.cluster_kubeconfig) == (Path("/home/ada/kcp"), Path("/home/ada/.kube/config"))


@pytest.mark.parametrize("flag", ["--metrics-bind-address=nowhere", "--health-bind-address=a:99999", "--require-labels=a", "--workers=0"])
def test_values_that_mean_nothing_are_refused(flag: str) -> None:
    with pytest.raises(click.BadParameter):
        parsed(*REQUIRED, flag)


def test_the_log_is_lines_of_json_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers = []
    try:
        setup_logging(LogOptions(format="json", file=file))
        logging.getLogger("kcp.tmc").info("synced %d", 3)
        logging.getLogger("kcp.tmc").debug("not at this level")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = before
        root.setLevel(level)
    (line,) = [json.loads(text) for text in file.read_text().splitlines()]
    assert (line["level"], line["logger"], line["msg"]) == ("info", "kcp.tmc", "synced 3")


def test_transformations_are_those_of_the_reference_unless_switched_off(tmp_path: Path) -> None:
    assert parsed(*REQUIRED)["transformations"] == "kcp-system/syncer-transformations"
    file = tmp_path / "syncer.yaml"
    file.write_text("sync: {transformations: {enabled: false}}")
    assert parsed(*REQUIRED, f"--config={file}")["transformations"] == ""


@pytest.mark.parametrize(
    ("given", "is_on"),
    [("", True), ("KCPSyncerTunnel=false", False), ("CustomResourceValidationExpressions=true,KCPSyncerTunnel=true", True)],
)
def test_the_tunnel_is_a_gate_as_in_kcp_0_11(given: str, is_on: bool) -> None:
    assert options(*REQUIRED, "--feature-gates", given).config().tunnel is is_on


def test_a_negative_rate_is_no_limit_as_in_client_go() -> None:
    assert parsed(*REQUIRED, "--qps=-1")["qps"] == 0


@pytest.mark.parametrize("given", ["KCPSyncerTunnel=maybe", "Other=true"])
def test_gates_that_are_none_are_refused(given: str) -> None:
    with pytest.raises(click.BadParameter):
        options(*REQUIRED, "--feature-gates", given)
