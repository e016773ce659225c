"""What auditing can be told: the policy's file and the two backends. Values only; nothing is opened here.

Before: `server.options`, `cli.auditflags`. After: `server.auditing`, which builds from it.
Source: k8s.io/apiserver/pkg/server/options/audit.go (names, defaults and checks).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MODES = ("batch", "blocking", "blocking-strict")
FORMATS = ("json", "legacy")
VERSION = "audit.k8s.io/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """How events get into a backend: one by one, or collected; whole, or cut."""

    mode: str = "blocking"
    """`batch`: later, many at once, lost when the buffer is full. `blocking`: answers wait for them. `blocking-strict`: and a request
    that cannot be recorded when it comes in is refused."""
    buffer_size: int = 10_000
    """Events that may wait; only of `batch`, as all of the following."""
    max_size: int = 1
    """Events in one batch."""
    max_wait_s: float = 0.0
    """Seconds until a batch that is not full goes out."""
    throttle: bool = False
    throttle_qps: float = 10.0
    """Batches a second."""
    throttle_burst: int = 15
    truncate: bool = False
    """Whether events that are too large lose what was sent and answered, and those that still are too large are left out."""
    max_batch_bytes: int = 10 * 1024 * 1024
    max_event_bytes: int = 100 * 1024

    def problems(self, name: str) -> Iterator[str]:
        """Args: name: log or webhook."""
        if self.mode not in MODES:
            yield f"--audit-{name}-mode={self.mode}: must be one of {', '.join(MODES)}"
        if self.max_event_bytes <= 0:
            yield f"--audit-{name}-truncate-max-event-size={self.max_event_bytes}: must be a positive number"
        if self.max_batch_bytes < self.max_event_bytes:
            yield f"--audit-{name}-truncate-max-batch-size={self.max_batch_bytes}: must not be less than the largest event"
        if self.mode != "batch":
            return
        if self.buffer_size <= 0:
            yield f"--audit-{name}-batch-buffer-size={self.buffer_size}: must be a positive number"
        if self.max_size <= 0:
            yield f"--audit-{name}-batch-max-size={self.max_size}: must be a positive number"
        if self.throttle and (self.throttle_qps <= 0 or self.throttle_burst <= 0):
            yield f"--audit-{name}-batch-throttle-qps and --audit-{name}-batch-throttle-burst: must be positive numbers"


@dataclass(frozen=True, kw_only=True, slots=True)
class LogConfig:
    """The audit log."""

    path: str = ""
    """"" for none, "-" for standard output."""
    format: str = "json"
    max_age_days: int = 366
    """Rotated files that are older go; 0 keeps them."""
    max_backups: int = 100
    """Rotated files that are kept; 0 for all."""
    max_size_mb: int = 100
    """A file of this size is rotated; 0: never."""
    compress: bool = False
    version: str = VERSION
    delivery: Delivery = field(default_factory=Delivery)

    def problems(self) -> Iterator[str]:
        if not self.path:
            return
        if self.format not in FORMATS:
            yield f"--audit-log-format={self.format}: must be one of {', '.join(FORMATS)}"
        sizes = (("maxage", self.max_age_days), ("maxbackup", self.max_backups), ("maxsize", self.max_size_mb))
        yield from (f"--audit-log-{name}={value}: must not be negative" for name, value in sizes if value < 0)
        yield from _version_problems("log", self.version)
        yield from self.delivery.problems("log")


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookConfig:
    """Events posted to a server."""

    config_file: Path | None = None
    """A kubeconfig whose current context says where to, and with which credentials."""
    initial_backoff_s: float = 10.0
    """Seconds before the first repetition of a post that failed; each one after that waits half as long again."""
    version: str = VERSION
    delivery: Delivery = field(default_factory=lambda: Delivery(mode="batch", max_size=400, max_wait_s=30.0, throttle=True))

    def problems(self) -> Iterator[str]:
        if self.config_file is None:
            return
        if not self.config_file.is_file():
            yield f"--audit-webhook-config-file={self.config_file}: no such file"
        if self.initial_backoff_s < 0:
            yield "--audit-webhook-initial-backoff: must not be negative"
        yield from _version_problems("webhook", self.version)
        yield from self.delivery.problems("webhook")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig:
    policy_file: Path | None = None
    """Without a policy nothing is recorded."""
    log: LogConfig = field(default_factory=LogConfig)
    webhook: WebhookConfig = field(default_factory=WebhookConfig)

    @property
    def is_on(self) -> bool:
        return self.policy_file is not None and (bool(self.log.path) or self.webhook.config_file is not None)

    def problems(self) -> Iterator[str]:
        if self.policy_file is not None and not self.policy_file.is_file():
            yield f"--audit-policy-file={self.policy_file}: no such file"
        yield from self.log.problems()
        yield from self.webhook.problems()


def _version_problems(name: str, version: str) -> Iterator[str]:
    if version != VERSION:
        yield f"--audit-{name}-version={version}: only {VERSION} is there"
