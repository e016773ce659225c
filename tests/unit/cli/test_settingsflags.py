"""Settings: precedence of flag, variable, file and default; explicit false; every fault at once; the view that is a file again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from kcp.cli.kcp import main
from kcp.cli.logs import LogOptions
from kcp.cli.settingsflags import Given, log_options, settings_flags, take_settings
from kcp.server.settings import SETTINGS, WITHOUT_EFFECT, Kind
from kcp.server.tmcoptions import TMCOptions

SPEC = ["--enable-tmc", "--tmc-error-handling=true", "--tmc-health-monitoring=true", "--tmc-metrics=true", "--tmc-recovery=true"]
"""As the building guide starts it."""


def parse(*arguments: str, **env: str) -> Given:
    found: list[Given] = []

    @click.command()
    @settings_flags
    @click.pass_context
    def command(ctx: click.Context, /, **flags: Any) -> None:
        found.append(take_settings(ctx, flags))
        assert flags == {}

    CliRunner().invoke(command, arguments, env=env, catch_exceptions=False)
    return found[0]


def options(*arguments: str, **env: str) -> TMCOptions:
    given = parse(*arguments, **env)
    assert given.faults == []
    return TMCOptions(**given.of("tmc"))


def view(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(main, ["config", "view", *arguments], env=env)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "tmc.yaml"


def test_defaults_are_those_of_the_options() -> None:
    assert options() == TMCOptions()


def test_every_field_of_the_options_is_a_setting() -> None:
    assert {f.name for f in fields(TMCOptions)} - {s.field for s in SETTINGS if s.part == "tmc"} == {"push_heartbeat_s"}


def test_no_setting_stands_twice() -> None:
    for names in ([s.path for s in SETTINGS], [s.flag for s in SETTINGS], [s.env for s in SETTINGS]):
        assert len(names) == len(set(names))
    assert {s.path for s in SETTINGS} & set(WITHOUT_EFFECT) == set()


def test_the_command_line_of_the_building_guide_is_understood() -> None:
    assert options(*SPEC) == TMCOptions(enabled=True)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.kind is Kind.BOOL], ids=lambda s: s.flag)
def test_a_switch_is_set_by_flag_variable_and_file(setting: Any, config: Path) -> None:
    def of(given: Given) -> object:
        return given.values[setting]

    head, _, last = setting.path.rpartition(".")
    config.write_text(f"{head}:\n  {last}: false\n" if head else f"{last}: false\n")
    assert of(parse(f"{setting.flag}=false")) is False
    assert of(parse(setting.flag)) is True
    assert of(parse(**{setting.env: "false"})) is False
    assert of(parse(f"--config={config}")) is False
    assert of(parse(f"--config={config}", **{setting.env: "true"})) is True
    assert of(parse(f"--tmc-config={config}", f"{setting.flag}=false", **{setting.env: "true"})) is False


def test_the_variables_of_the_building_guide_are_understood() -> None:
    names = "ENABLED", "ERROR_HANDLING", "HEALTH_MONITORING", "METRICS", "RECOVERY", "VIRTUAL_WORKSPACES", "PLACEMENT_CONTROLLER"
    assert {f"KCP_TMC_{name}" for name in names} <= {s.env for s in SETTINGS}


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(config: Path) -> None:
    config.write_text("health: {checkInterval: 11s, healthTimeout: 12s, degradedThreshold: 13s}\n")
    found = options(
        f"--config={config}", "--tmc-health-check-interval=1m30s",
        KCP_TMC_HEALTH_CHECK_INTERVAL="20s", KCP_TMC_HEALTH_TIMEOUT="21s",
    )  # fmt: skip
    assert (found.health_interval_s, found.health_timeout_s, found.health_degraded_s, found.health_unhealthy_s) == (90, 21, 13, 300)


def test_of_several_files_the_last_counts(config: Path) -> None:
    config.write_text("enabled: true\nmetrics: {enabled: false}\n")
    second = config.with_name("second.json")
    second.write_text('{"kind": "TMCConfiguration", "metrics": {"enabled": true}, "recovery": {"enabled": false}}')
    found = options(f"--config={config}", f"--config={second}")
    assert (found.enabled, found.metrics, found.recovery) == (True, True, False)


def test_all_faults_are_told_at_once_with_their_places(config: Path, tmp_path: Path) -> None:
    config.write_text(
        "core: {workerPoolSize: 51, logLevel: loud}\nhealth: {checkInterval: 30, enabled: maybe}\nsync: {maxSyncWorkers: 2.5}\nplacments: {x: 1}\n"
    )
    found = view(f"--config={config}", f"--config={tmp_path}/none", "--tmc-metrics=perhaps", KCP_TMC_EVICTION_GRACE="5 m")
    assert found.exit_code == 1
    for fault in (
        "core.workerPoolSize: must be between 0 and 50", "core.logLevel: must be one of error, warn",
        "health.checkInterval: must be a duration such as 30s", "health.enabled: must be true or false",
        "sync.maxSyncWorkers: must be a whole number", "placments.x: there is no such field", "none: cannot be read: No such file",
        "--tmc-metrics=perhaps: must be true or false", "KCP_TMC_EVICTION_GRACE=5 m: '5 m' is not a duration",
    ):  # fmt: skip
        assert fault in found.output


def test_faults_of_the_whole_are_told_with_those_of_the_parts(config: Path) -> None:
    config.write_text("health: {degradedThreshold: 10m}\nnothing: 1\n")
    found = CliRunner().invoke(main, ["start", f"--config={config}", "--secure-port=70000"])
    assert found.exit_code == 1
    assert "nothing: there is no such field" in found.output
    assert "--secure-port=70000: must be between 0 and 65535" in found.output
    assert "--tmc-health-degraded-threshold: must be longer than 0s, and no longer than" in found.output


@pytest.mark.parametrize("text", ["[1, 2]", "a: [b", "kind: Deployment", "\x00"])
def test_a_file_that_is_none_is_a_fault(text: str, config: Path) -> None:
    config.write_text(text)
    assert len(parse(f"--config={config}").faults) == 1


def test_fields_of_the_reference_that_change_nothing_are_taken_and_told(config: Path) -> None:
    tree: dict[str, Any] = {"version": "v1.0.0", "metadata": {"created": "today"}}
    for path in WITHOUT_EFFECT:
        *sections, last = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = {"x": 0.5} if last == "alertThresholds" else "any"
    config.write_text(yaml.safe_dump(tree))
    given = parse(f"--config={config}")
    assert given.faults == []
    assert len(given.without_effect) == len(WITHOUT_EFFECT)


def test_the_view_says_where_each_value_comes_from_and_is_a_file_itself(config: Path) -> None:
    config.write_text("enabled: true\nplacement: {enabled: false}\n")
    shown = view(f"--config={config}", "--tmc-workers=7", KCP_TMC_METRICS="false").output
    lines = {line.split(":")[0].strip(): line for line in shown.splitlines()}
    assert lines["workerPoolSize"].endswith("# --tmc-workers")
    assert lines["checkInterval"].split("#") == [lines["checkInterval"].split("#")[0], " default"]
    assert f"# --config={config}: placement.enabled" in shown
    assert "# KCP_TMC_METRICS" in shown
    again = config.with_name("again.yaml")
    again.write_text(shown)
    assert options(f"--config={again}") == TMCOptions(enabled=True, placement_controller=False, workers=7, metrics=False)


def test_levels_and_feature_gates_of_the_file_are_flags_beneath(config: Path, tmp_path: Path) -> None:
    config.write_text("core: {logLevel: debug, featureFlags: {Nothing: true}}\n")
    found = CliRunner().invoke(main, ["start", f"--config={config}", f"--root-directory={tmp_path}"])
    assert "unrecognized feature gate: Nothing" in found.output


def test_the_logging_configuration_of_the_production_guide_is_understood(config: Path) -> None:
    config.write_text(
        "logging:\n  level: info\n  format: json\n  outputs:\n    - stdout\n    - file:/var/log/kcp/kcp.log\n"
        "  logRotation:\n    maxSize: 100MB\n    maxAge: 30\n    maxBackups: 10\n"
    )
    given = parse(f"--config={config}")
    assert given.faults == []
    assert log_options(given, 2) == LogOptions(format="json", outputs=("stdout", "file:/var/log/kcp/kcp.log"))
    config.write_text("logging: {rotation: {maxSize: 1GiB, maxAge: 0}, file: /x}\n")
    assert log_options(parse(f"--config={config}", "--log-file-max-backups=3"), 2) == LogOptions(
        file=Path("/x"), max_bytes=1 << 30, max_age_days=0, max_backups=3
    )
    config.write_text("logging: {format: xml, logRotation: {maxSize: big, maxAge: -1}}\n")
    assert [fault.partition("logging.")[2] for fault in parse(f"--config={config}").faults] == [
        "format: must be one of text, json", "logRotation.maxSize: must be a size such as 100MB", "logRotation.maxAge: must be at least 0",
    ]  # fmt: skip
