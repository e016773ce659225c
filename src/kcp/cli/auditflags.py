"""The `--audit-*` flags of `kcp start`, as kube-apiserver has them.

Before: `cli.kcp`. After: `apiserver.audit.config`, which has the defaults. Source: k8s.io/apiserver/pkg/server/options/audit.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from kcp.apiserver.audit.config import FORMATS, MODES, AuditConfig, Delivery, LogConfig, WebhookConfig
from kcp.cli.flags import Duration, bool_flag

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULTS = AuditConfig()


def _option(name: str, default: object, meaning: str, kind: Any = None) -> Callable[[Any], Any]:
    """A flag whose value `audit_config` finds under its name; a default that stands for nothing is not shown."""
    shown = default not in (None, "")
    return click.option(name, _key(name), default=default, show_default=shown, type=kind, help=meaning)


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _switch(name: str, meaning: str, *, default: bool) -> Callable[[Any], Any]:
    return bool_flag(name, default=default, help=meaning)


def _options() -> Iterator[Callable[[Any], Any]]:
    """In the order of --help."""
    path = click.Path(path_type=Path)
    yield _option("--audit-policy-file", None, "Audit policy (audit.k8s.io/v1): which requests are recorded, and how much of each.", path)
    log, webhook = _DEFAULTS.log, _DEFAULTS.webhook
    yield _option("--audit-log-path", log.path, 'File to write audit events to; "-" for standard output.')
    yield _option("--audit-log-format", log.format, f"How events are written: {' or '.join(FORMATS)} (one line of text).")
    yield _option("--audit-log-maxage", log.max_age_days, "Days that rotated log files are kept; 0 for ever.", int)
    yield _option("--audit-log-maxbackup", log.max_backups, "Rotated log files that are kept; 0 for all.", int)
    yield _option("--audit-log-maxsize", log.max_size_mb, "Megabytes of a log file before it is rotated; 0 for never.", int)
    yield _switch("--audit-log-compress", "Compress rotated log files with gzip.", default=log.compress)
    yield from _delivery_options("log", log.delivery, log.version)
    yield _option("--audit-webhook-config-file", None, "Kubeconfig that says where to post audit events, and as whom.", path)
    yield _option(
        "--audit-webhook-initial-backoff", f"{webhook.initial_backoff_s:g}s", "Time before a failed post is repeated.", Duration()
    )
    yield from _delivery_options("webhook", webhook.delivery, webhook.version)


def _delivery_options(name: str, given: Delivery, version: str) -> Iterator[Callable[[Any], Any]]:
    prefix = f"--audit-{name}"
    yield _option(f"{prefix}-version", version, "API version of the events written.")
    yield _option(f"{prefix}-mode", given.mode, f"Whether answers wait until events are written: {', '.join(MODES)}.")
    yield _option(f"{prefix}-batch-buffer-size", given.buffer_size, "Events that may wait, in mode batch.", int)
    yield _option(f"{prefix}-batch-max-size", given.max_size, "Events in one batch.", int)
    yield _option(f"{prefix}-batch-max-wait", f"{given.max_wait_s:g}s", "Time until a batch that is not full goes out.", Duration())
    yield _switch(f"{prefix}-batch-throttle-enable", "Whether to limit how many batches go out.", default=given.throttle)
    yield _option(f"{prefix}-batch-throttle-qps", given.throttle_qps, "Batches a second.", float)
    yield _option(f"{prefix}-batch-throttle-burst", given.throttle_burst, "Batches at once, after a quiet time.", int)
    yield _switch(f"{prefix}-truncate-enabled", "Whether to cut events that are too large.", default=given.truncate)
    yield _option(f"{prefix}-truncate-max-batch-size", given.max_batch_bytes, "Bytes of a batch, in mode batch.", int)
    yield _option(f"{prefix}-truncate-max-event-size", given.max_event_bytes, "Bytes of an event; a larger one loses its objects.", int)


def audit_flags(command: F) -> F:
    """Adds the flags to a command; `audit_config` takes their values."""
    for option in reversed(list(_options())):
        command = option(command)
    return command


def audit_config(flags: dict[str, Any]) -> AuditConfig:
    """Takes what is the audit's out of a command's values."""
    taken = {name: flags.pop(name) for name in [name for name in flags if name.startswith("audit_")]}
    log = LogConfig(
        path=taken["audit_log_path"],
        format=taken["audit_log_format"],
        max_age_days=taken["audit_log_maxage"],
        max_backups=taken["audit_log_maxbackup"],
        max_size_mb=taken["audit_log_maxsize"],
        compress=taken["audit_log_compress"],
        version=taken["audit_log_version"],
        delivery=_delivery(taken, "audit_log"),
    )
    webhook = WebhookConfig(
        config_file=taken["audit_webhook_config_file"],
        initial_backoff_s=taken["audit_webhook_initial_backoff"],
        version=taken["audit_webhook_version"],
        delivery=_delivery(taken, "audit_webhook"),
    )
    return AuditConfig(policy_file=taken["audit_policy_file"], log=log, webhook=webhook)


def _delivery(taken: dict[str, Any], prefix: str) -> Delivery:
    return Delivery(
        mode=taken[f"{prefix}_mode"],
        buffer_size=taken[f"{prefix}_batch_buffer_size"],
        max_size=taken[f"{prefix}_batch_max_size"],
        max_wait_s=taken[f"{prefix}_batch_max_wait"],
        throttle=taken[f"{prefix}_batch_throttle_enable"],
        throttle_qps=taken[f"{prefix}_batch_throttle_qps"],
        throttle_burst=taken[f"{prefix}_batch_throttle_burst"],
        truncate=taken[f"{prefix}_truncate_enabled"],
        max_batch_bytes=taken[f"{prefix}_truncate_max_batch_size"],
        max_event_bytes=taken[f"{prefix}_truncate_max_event_size"],
    )
