"""Another content of the configuration: what is taken over, what waits for a restart, faults that change nothing, log files begun anew."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kcp.aio.clock import SystemClock, VirtualClock, settle
from kcp.cli.logs import LogOptions
from kcp.cli.reloading import Configured, Reloading, Repeatable, repeated
from kcp.cli.settingsflags import files_of_settings, log_options, settings_flags, take_settings
from kcp.server.tmcoptions import TMCOptions


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def following(config: Path, clock: Any, *arguments: str, **env: str) -> Reloading[TMCOptions]:
    found: list[Reloading[TMCOptions]] = []

    def told(ctx: click.Context) -> Configured[TMCOptions]:
        given = take_settings(ctx, dict(ctx.params))
        options = TMCOptions(**given.of("tmc"))
        return Configured(options, log_options(given, 2), given.values, [*given.faults, *options.problems()], given.without_effect)

    @click.command(cls=Repeatable)
    @settings_flags
    @click.pass_context
    def command(ctx: click.Context, /, **_flags: Any) -> None:
        found.append(Reloading(told(ctx), lambda: told(repeated(ctx)), files_of_settings(ctx), clock))

    CliRunner().invoke(command, [f"--config={config}", *arguments], env=env, catch_exceptions=False)
    return found[0]


async def test_what_may_change_is_taken_over_and_what_wins_over_the_file_still_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, clock, applied = tmp_path / "c.yaml", VirtualClock(), list[TMCOptions]()
    config.write_text("health: {checkInterval: 5s, healthTimeout: 6s}\n")
    reloading = following(config, clock, "--tmc-health-timeout=7s")
    step = asyncio.ensure_future(reloading.step(applied.append))
    await settle()
    config.write_text("health: {checkInterval: 9s, healthTimeout: 8s}\nplacement: {enabled: false}\n")
    with caplog.at_level(logging.INFO, logger="kcp.cli.reloading"):
        await clock.advance(5.0)
        await step
    assert [(options.health_interval_s, options.health_timeout_s) for options in applied] == [(9.0, 7.0)]
    assert [record.getMessage() for record in caplog.records] == [
        "changed and in force: health.checkInterval=9s", "changed, and in force after a restart: placement.enabled=false",
    ]  # fmt: skip


async def test_the_same_content_changes_nothing(tmp_path: Path) -> None:
    config, clock, applied = tmp_path / "c.yaml", VirtualClock(), list[TMCOptions]()
    config.write_text("enabled: true\n")
    step = asyncio.ensure_future(following(config, clock).step(applied.append))
    await settle()
    await clock.advance(5.0)
    await step
    assert applied == []


@pytest.mark.parametrize(
    "text", ["health: {checkInterval: soon}\n", "a: [", "health: {degradedThreshold: 10m}\n", "metrics: {enabeld: true}\n"]
)
async def test_faults_change_nothing_and_are_told(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config, clock, applied = tmp_path / "c.yaml", VirtualClock(), list[TMCOptions]()
    config.write_text("enabled: true\n")
    reloading = following(config, clock)
    config.write_text(text)
    with caplog.at_level(logging.INFO, logger="kcp.cli.reloading"):
        reloading.reload(applied.append)
    assert applied == []
    (record,) = caplog.records
    assert record.getMessage().startswith("the configuration is kept as it was: ")


async def test_the_log_changes_without_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("")
    reloading = following(config, VirtualClock())
    config.write_text(f"logging: {{format: json, file: {tmp_path}/log}}\n")
    reloading.reload(lambda _options: None)
    logging.getLogger("kcp").warning("here")
    assert '"msg": "here"' in (tmp_path / "log").read_text()


async def test_a_signal_asks_at_once_and_begins_log_files_anew(tmp_path: Path) -> None:
    config, taken = tmp_path / "c.yaml", asyncio.Event()
    config.write_text(f"logging: {{file: {tmp_path}/log}}\n")
    reloading = following(config, SystemClock())
    from kcp.cli.logs import setup_logging

    setup_logging(LogOptions(file=tmp_path / "log"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    running = asyncio.ensure_future(reloading.run(lambda _options: taken.set()))
    await settle()
    os.kill(os.getpid(), signal.SIGHUP)
    await taken.wait()
    logging.getLogger("kcp").warning("here")
    assert "here" in (tmp_path / "log").read_text()
    running.cancel()
    await asyncio.wait([running])
