"""The log of a program: text or JSON, on standard output, standard error and in files that are rotated.

Every line of JSON has `time`, `ts`, `level`, `logger` and `msg`; a line that is written while something is worked on also says on what
(`cluster`, `namespace`, `name`, …), and within a trace in which (`trace_id`, `span_id`). A file that cannot be written, as on a full disk,
stops nothing: lines are lost and counted, which is said once, and again in the file when it can be written.
Before: the commands. After: `aio.rotatingfile`. docs/logging.md.
Source: k8s.io/component-base/logs/json (names of the fields), the production guide's §9.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kcp.aio.logcontext import WORK
from kcp.aio.tracecontext import CURRENT

if TYPE_CHECKING:
    from kcp.aio.rotatingfile import RotatingFile

FORMATS = ("text", "json")
LEVELS = {"error": 0, "warn": 1, "warning": 1, "info": 2, "debug": 4}
"""Names of the levels of --v."""
_FILE = "file:"
_MB = 1000 * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class LogOptions:
    verbosity: int = 2
    """0 errors, 1 warnings, 2 progress, 4 and more debug."""
    format: str = "text"
    outputs: tuple[str, ...] = ()
    """`stdout`, `stderr`, `file:PATH`; none: `stderr`, or `file` alone where there is one."""
    file: Path | None = None
    """One more output."""
    max_bytes: int = 100 * _MB
    """Of a file before it is rotated; 0: never."""
    max_age_days: int = 30
    """That rotated files are kept; 0: for ever."""
    max_backups: int = 10
    """Rotated files that are kept; 0: all."""

    def places(self) -> list[str]:
        """Each output once."""
        files = [f"{_FILE}{self.file}"] if self.file is not None else []
        return list(dict.fromkeys([*self.outputs, *files] or ["stderr"]))

    def problems(self) -> Iterator[str]:
        if self.format not in FORMATS:
            yield f"log format {self.format}: must be one of {', '.join(FORMATS)}"
        for place in self.outputs:
            if place not in ("stdout", "stderr") and not place.removeprefix(_FILE) != place:
                yield f"log output {place}: must be stdout, stderr or file:PATH"
        if min(self.max_bytes, self.max_age_days, self.max_backups) < 0:
            yield "size, age and number of log files: must not be negative"


def setup_logging(options: LogOptions) -> None:
    """From now on. Raises: OSError if a file cannot be written."""
    level = {0: logging.ERROR, 1: logging.WARNING}.get(options.verbosity, logging.DEBUG if options.verbosity >= 4 else logging.INFO)
    handlers = [_handler(place, options) for place in options.places()]
    formatter = JSONLines() if options.format == "json" else Text("%(asctime)s %(levelname).1s %(name)s: %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=handlers, force=True)


def reopen_files() -> None:
    """Files that somebody has moved away are begun anew, as after logrotate."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, FileLog):
            handler.reopen()


def _handler(place: str, options: LogOptions) -> logging.Handler:
    if not place.startswith(_FILE):
        return StandardLog(sys.stdout if place == "stdout" else sys.stderr)
    from kcp.aio.clock import SystemClock
    from kcp.aio.rotatingfile import RotatingFile, Rotation

    rotation = Rotation(max_bytes=options.max_bytes, max_age_days=options.max_age_days, max_backups=options.max_backups)
    path = Path(place.removeprefix(_FILE)).expanduser()
    return FileLog(path, RotatingFile(path, rotation, SystemClock().now))


class StandardLog(logging.StreamHandler[TextIO]):
    """Lines on a standard stream; whoever read it may have gone."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class FileLog(logging.Handler):
    """Lines of a log in a file."""

    def __init__(self, path: Path, file: RotatingFile) -> None:
        super().__init__()
        self._path, self._log_file = path, file
        self.lost = 0
        """Lines since it can no more be written."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode(errors="backslashreplace") + b"\n"
        if self.lost:
            line = b"\n" + self._account(record) + line  # what was there last may be half a line
        try:
            self._log_file.write([line])
        except OSError as error:
            if not self.lost:
                print(f"the log {self._path} cannot be written: {error.strerror}; lines are lost until it can", file=sys.stderr)
            self.lost += 1
        else:
            self.lost = 0

    def _account(self, record: logging.LogRecord) -> bytes:
        said = logging.makeLogRecord({
            "name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "created": record.created, "msecs": record.msecs,
            "msg": f"{self.lost} lines of the log are lost: it could not be written",
        })  # fmt: skip
        return self.format(said).encode() + b"\n"

    def reopen(self) -> None:
        try:
            self._log_file.reopen()
        except OSError as error:
            print(f"the log {self._path} cannot be begun anew: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        self._log_file.close()
        super().close()


_OF_EVERY_RECORD = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"))


def _details(record: logging.LogRecord) -> dict[str, object]:
    """What a line says beside its message: the `extra` of the call."""
    return {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}


def _trace() -> dict[str, object]:
    span = CURRENT.get()
    return {} if span is None else {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


class Text(logging.Formatter):
    """`message key=value …`, as klog writes it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        details = {**_details(record), **_trace()}
        return " ".join((super().formatMessage(record), *(f"{name}={value}" for name, value in details.items())))


class JSONLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        work = WORK.get()
        shown: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ts": round(record.created * 1000, 3), "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage(),
            **(work.log_fields() if work is not None else {}), **{name: str(value) for name, value in _details(record).items()}, **_trace(),
        }  # fmt: skip
        if record.exc_info:
            shown["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(shown)
