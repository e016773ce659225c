"""Alert rules, their promtool tests, and Alertmanager's configuration: those of the spec and the TMC reference, over metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcp.tmc.metrics.families import FAMILIES

MONITORING = Path(__file__).parents[3] / "monitoring"
RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yaml"))
TESTS = sorted((MONITORING / "prometheus" / "tests").glob("*.yaml"))

WANTED = {
    "TMCComponentDown": ("tmc_component_health < 1", "5m", "critical"),
    "SyncerHighErrorRate": ("rate(syncer_sync_errors_total[5m]) > 0.1", "2m", "warning"),
    "TMCComponentUnhealthy": ("tmc_component_health < 0.5", "2m", "critical"),
    "TMCSystemDegraded": ("< 0.8", "5m", "warning"),
    "TMCHighErrorRate": ("> 0.1", "5m", "warning"),
    "TMCSyncLagHigh": ("tmc_sync_lag_seconds > 300", "10m", "warning"),
    "TMCClusterDisconnected": ("tmc_cluster_connectivity == 0", "1m", "critical"),
    "TMCMigrationFailed": ("increase(tmc_migration_errors_total[10m]) > 0", "", "warning"),
    "TMCSyncBacklogHigh": ("tmc_sync_backlog_size > 1000", "15m", "warning"),
    "SyncerDown": ("== 0", "1m", "critical"),
    "SyncBacklogHigh": ("syncer_sync_backlog_size > 100", "5m", "warning"),
    "HeartbeatMissing": ("increase(syncer_heartbeat_total[2m]) == 0", "", "critical"),
    "KCPDown": ("== 0", "1m", "critical"),
    "SyncerDisconnected": ("syncer_connection_status == 0", "5m", "warning"),
}
"""Of the spec and the TMC reference §8: expression, pending time, severity."""

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus")
needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not here: apt-get install prometheus-alertmanager")


def rules() -> dict[str, Any]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", WANTED)
def test_an_alert_of_the_spec_or_reference_is_there(name: str) -> None:
    expression, pending, severity = WANTED[name]
    rule = rules()[name]
    assert expression in rule["expr"]
    assert (rule.get("for", ""), rule["labels"]["severity"]) == (pending, severity)


@pytest.mark.parametrize("name", rules())
def test_an_alert_says_what_is_wrong_and_what_to_do(name: str) -> None:
    annotations = rules()[name]["annotations"]
    assert annotations["summary"]
    assert annotations["description"]


def test_expressions_ask_for_metrics_that_are_there() -> None:
    known = {name for family in FAMILIES for name in (family.name, family.alias)}
    asked = {name for rule in rules().values() for name in re.findall(r"\b(?:tmc|syncer)_[a-z_]+", rule["expr"])}
    assert asked <= known


def test_each_alert_has_a_unit_test_that_sees_it_fire_and_not_fire() -> None:
    seen: dict[str, set[bool]] = {}
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                seen.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert {name for name, outcomes in seen.items() if True in outcomes} == set(rules())
    assert all(seen[name] == {True, False} for name in WANTED)


@needs_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_promtool_agrees_with_the_unit_tests(file: Path) -> None:
    run("promtool", "test", "rules", file)


@needs_promtool
def test_promtool_finds_no_fault_in_rules_and_configuration() -> None:
    for file in RULES:
        run("promtool", "check", "rules", file)
    run("promtool", "check", "config", "--syntax-only", MONITORING / "prometheus" / "prometheus.yaml")


@needs_amtool
def test_alertmanager_takes_its_configuration_with_the_routing_of_the_spec() -> None:
    file = MONITORING / "alertmanager" / "alertmanager.yaml"
    run("amtool", "check-config", file)
    route = yaml.safe_load(file.read_text())["route"]
    assert route["group_by"] == ["alertname", "cluster", "service"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == ("10s", "10s", "1h")
    assert run("amtool", "config", "routes", "test", f"--config.file={file}", "alertname=KCPDown").strip() == "tmc-alerts"
