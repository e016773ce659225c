"""The audit log: a line per event, in a file that is rotated, or on standard output.

Before: `backends`. After: `aio.appending`, in whose thread `aio.rotatingfile` writes.
Source: k8s.io/apiserver/plugin/pkg/audit/log/backend.go, pkg/audit/format.go (legacy).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from kcp.aio.appending import Appender
from kcp.aio.rotatingfile import RotatingFile, Rotation
from kcp.apiserver.audit.backends import Losses
from kcp.apiserver.audit.config import LogConfig
from kcp.apiserver.audit.record import Event

_HEAD = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",'
_MIB = 1024 * 1024


class Output(Protocol):
    """Written to from one thread."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Raises OSError."""

    def close(self) -> None: ...


class StandardOutput:
    def write(self, lines: Sequence[bytes]) -> None:
        sys.stdout.buffer.write(b"".join(lines))
        sys.stdout.buffer.flush()

    def close(self) -> None:
        """It is everybody's."""


class LogFile:
    """Implements `backends.Sink`."""

    name = "log"

    def __init__(self, output: Output, format_: str, losses: Losses) -> None:
        self._output, self._losses = output, losses
        self._line = _legacy if format_ == "legacy" else _json
        self._appender = Appender(output.write, name="kcp-audit-log")

    @classmethod
    def open(cls, config: LogConfig, losses: Losses, now: Callable[[], datetime]) -> LogFile:
        """Raises OSError."""
        return cls(
            StandardOutput() if config.path == "-" else RotatingFile(Path(config.path), _rotation(config), now), config.format, losses
        )

    def post(self, events: Sequence[Event]) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def written(job: asyncio.Future[OSError | None]) -> None:
            error = job.result()
            if error is None:
                self._losses.over(self.name)
            else:
                self._losses.add(self.name, len(events), str(error))
            if not answer.done():
                answer.set_result(error is None)

        self._appender.post(b"".join(map(self._line, events))).add_done_callback(written)
        return answer

    async def close(self) -> None:
        await self._appender.close()
        await asyncio.to_thread(self._output.close)


def _rotation(config: LogConfig) -> Rotation:
    return Rotation(
        max_bytes=config.max_size_mb * _MIB, max_age_days=config.max_age_days, max_backups=config.max_backups, compress=config.compress,
        what="audit logs",
    )  # fmt: skip


def _json(event: Event) -> bytes:
    return b"%s%s\n" % (_HEAD, event.raw[1:])


def _legacy(event: Event) -> bytes:
    """One line of text with the most important. Source: k8s.io/apiserver/pkg/audit/format.go."""
    told = event.fields
    user, acting = told["user"], told.get("impersonatedUser")
    groups = _listed(user["groups"]) if user.get("groups") and user.get("username") else "<none>"
    acting_groups = _listed(acting["groups"]) if acting is not None and acting.get("groups") else "<lookup>"
    parts = {
        "id": told["auditID"], "stage": event.stage, "ip": (told.get("sourceIPs") or ["<unknown>"])[0], "method": told["verb"],
        "user": user.get("username") or "<none>", "groups": groups, "as": acting["username"] if acting is not None else "<self>",
        "asgroups": acting_groups, "user-agent": told.get("userAgent", ""),
        "namespace": told.get("objectRef", {}).get("namespace") or "<none>", "uri": told["requestURI"],
        "response": str(told["responseStatus"]["code"]) if "responseStatus" in told else "<deferred>",
    }  # fmt: skip
    line = " ".join(f"{name}={_quoted(value)}" for name, value in parts.items())
    return f"{told['requestReceivedTimestamp']} AUDIT: {line}\n".encode()


def _listed(groups: Sequence[str]) -> str:
    return ",".join(map(_quoted, groups))


def _quoted(text: Any) -> str:
    """As Go's %q."""
    from kcp.apimachinery.cel.library.formatting import quote

    return quote(str(text))
