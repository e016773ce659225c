"""The flags of auditing become its settings, and none is there that does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kcp.apiserver.audit.config import AuditConfig, Delivery, LogConfig, WebhookConfig
from kcp.cli.auditflags import audit_config, audit_flags


def parsed(*arguments: str) -> AuditConfig:
    found: list[AuditConfig] = []

    @click.command()
    @audit_flags
    def command(**flags: Any) -> None:
        found.append(audit_config(flags))
        assert flags == {}

    CliRunner().invoke(command, arguments, catch_exceptions=False)
    return found[0]


def test_without_flags_the_settings_are_the_defaults() -> None:
    assert parsed() == AuditConfig()


def test_every_flag_arrives() -> None:
    delivery: tuple[str, ...] = ("version=audit.k8s.io/v1", "mode=batch", "batch-buffer-size=1", "batch-max-size=2", "batch-max-wait=3s")
    delivery += ("batch-throttle-enable=false", "batch-throttle-qps=4", "batch-throttle-burst=5", "truncate-enabled")
    delivery += ("truncate-max-batch-size=7", "truncate-max-event-size=6")
    log = ("path=a", "format=legacy", "maxage=1", "maxbackup=2", "maxsize=3", "compress", *delivery)
    webhook = ("config-file=b", "initial-backoff=2s", *delivery)
    found = parsed("--audit-policy-file=p", *(f"--audit-log-{flag}" for flag in log), *(f"--audit-webhook-{flag}" for flag in webhook))
    expected = Delivery(
        mode="batch", buffer_size=1, max_size=2, max_wait_s=3.0, throttle=False, throttle_qps=4.0, throttle_burst=5, truncate=True,
        max_batch_bytes=7, max_event_bytes=6,
    )  # fmt: skip
    assert found == AuditConfig(
        policy_file=Path("p"),
        log=LogConfig(path="a", format="legacy", max_age_days=1, max_backups=2, max_size_mb=3, compress=True, delivery=expected),
        webhook=WebhookConfig(config_file=Path("b"), initial_backoff_s=2.0, delivery=expected),
    )


@pytest.mark.parametrize("flag", ["--audit-log-batch-max-wait=x", "--audit-log-maxage=x"])
def test_what_is_no_number_is_refused(flag: str) -> None:
    result = CliRunner().invoke(audit_flags(click.Command("c", callback=lambda **_: None)), [flag])
    assert result.exit_code == 2
