"""A file that is appended to and rotated: by size, and what was rotated goes by age and count.

Before: `apiserver.audit.logfile`, `cli.logs`. Source: gopkg.in/natefinch/lumberjack.v2.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

_STAMP = "%Y-%m-%dT%H-%M-%S"
_STAMPED = re.compile(r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)\.(\d{3})")
_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    max_bytes: int = 0
    """Of a file before it is rotated; 0: never."""
    max_age_days: int = 0
    """That rotated files are kept; 0: for ever."""
    max_backups: int = 0
    """Rotated files that are kept; 0: all."""
    compress: bool = False
    """Rotated files, with gzip."""
    what: str = "logs"
    """For messages."""


class RotatingFile:
    """Appends to a file; a full one gets the time into its name, old ones go, and they may be compressed, in a thread of their own."""

    def __init__(self, path: Path, rotation: Rotation, now: Callable[[], datetime]) -> None:
        """Raises OSError where it cannot be written."""
        self._path, self._rotation, self._now = path, rotation, now
        self._most_bytes = rotation.max_bytes
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="kcp-old-logs")
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
        now = self._now().astimezone(UTC)
        stamp = f"{now.strftime(_STAMP)}.{now.microsecond // 1000:03d}"
        self._path.rename(self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}"))
        self.reopen()
        self._cleaner.submit(self._clean)

    def reopen(self) -> None:
        """Go on in a file of the name. Raises: OSError; then the old one is still the one that is written."""
        old = self._file
        self._file, self._size = self._open()
        old.close()

    def _clean(self) -> None:
        """Delete what is too many or too old, and compress what stays."""
        try:
            self._clean_all()
        except OSError as error:
            log.warning("old %s beside %s cannot be tidied up: %s", self._rotation.what, self._path, error)

    def _clean_all(self) -> None:
        kept = 0
        oldest = self._now() - timedelta(days=self._rotation.max_age_days)
        for made, path in sorted(self._rotated(), reverse=True):
            kept += 1
            too_many = self._rotation.max_backups and kept > self._rotation.max_backups
            if too_many or (self._rotation.max_age_days and made < oldest):
                path.unlink(missing_ok=True)
            elif self._rotation.compress and path.suffix != ".gz":
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
