"""The audit log: a line per event, in a file that is rotated, or on standard output.

Before: `backends`. After: `aio.appending`, in whose thread `RotatingFile` writes.
Source: k8s.io/apiserver/plugin/pkg/audit/log/backend.go, pkg/audit/format.go (legacy), gopkg.in/natefinch/lumberjack.v2 (rotation).
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from kcp.aio.appending import Appender
from kcp.apiserver.audit.backends import Losses
from kcp.apiserver.audit.config import LogConfig
from kcp.apiserver.audit.record import Event

log = logging.getLogger(__name__)

_HEAD = b'{"kind":"Event","apiVersion":"audit.k8s.io/v1",'
_STAMP = "%Y-%m-%dT%H-%M-%S"
_STAMPED = re.compile(r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.(\d{3})")
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


class RotatingFile:
    """Appends to a file; a full one gets the time into its name, old ones go, and they may be compressed, in a thread of their own."""

    def __init__(self, config: LogConfig, now: Callable[[], datetime]) -> None:
        """Raises OSError where it cannot be written."""
        self._path, self._config, self._now = Path(config.path), config, now
        self._most_bytes = config.max_size_mb * _MIB
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="kcp-audit-old-logs")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._size = self._open()
        self._cleaner.submit(self._clean)

    def _open(self) -> tuple[BinaryIO, int]:
        file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)
        return file, file.tell()

    def write(self, lines: Sequence[bytes]) -> None:
        pending: list[bytes] = []
        for line in lines:
            if self._most_bytes and self._size and self._size + len(line) > self._most_bytes:
                self._flush(pending)
                self._rotate()
            pending.append(line)
            self._size += len(line)
        self._flush(pending)

    def _flush(self, pending: list[bytes]) -> None:
        rest = memoryview(b"".join(pending))
        while rest:
            rest = rest[self._file.write(rest) :]
        pending.clear()

    def _rotate(self) -> None:
        self._file.close()
        now = self._now().astimezone(UTC)
        stamp = f"{now.strftime(_STAMP)}.{now.microsecond // 1000:03d}"
        self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        self._file, self._size = self._open()
        self._cleaner.submit(self._clean)

    def _clean(self) -> None:
        """Delete what is too many or too old, and compress what stays."""
        try:
            self._clean_all()
        except OSError as error:
            log.warning("old audit logs beside %s cannot be tidied up: %s", self._path, error)

    def _clean_all(self) -> None:
        kept = 0
        oldest = self._now() - timedelta(days=self._config.max_age_days)
        for made, path in sorted(self._rotated(), reverse=True):
            kept += 1
            too_many = self._config.max_backups and kept > self._config.max_backups
            if too_many or (self._config.max_age_days and made < oldest):
                path.unlink(missing_ok=True)
            elif self._config.compress and path.suffix != ".gz":
                _compress(path)

    def _rotated(self) -> Iterator[tuple[datetime, Path]]:
        for path in self._path.parent.iterdir():
            name = path.name.removesuffix(".gz")
            if not name.startswith(f"{self._path.stem}-") or not name.endswith(self._path.suffix):
                continue
            stamp = _STAMPED.fullmatch(name[len(self._path.stem) : len(name) - len(self._path.suffix)])
            if stamp is not None:
                made = datetime.strptime(stamp[1], _STAMP).replace(tzinfo=UTC) + timedelta(milliseconds=int(stamp[2]))
                yield made, path

    def close(self) -> None:
        self._cleaner.shutdown()
        self._file.close()


def _compress(path: Path) -> None:
    """Under another name until it is whole: a crash leaves the original."""
    half = path.with_name(f"{path.name}.gz.part")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with path.open("rb") as source, os.fdopen(descriptor, "wb") as file, gzip.open(file, "wb") as target:
        shutil.copyfileobj(source, target, _MIB)
    half.rename(path.with_name(f"{path.name}.gz"))
    path.unlink()


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
        return cls(StandardOutput() if config.path == "-" else RotatingFile(config, now), config.format, losses)

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
