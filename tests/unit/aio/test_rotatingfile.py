"""A file that is rotated: by size; what was rotated goes by count and age, or is compressed; a restart and a failing rename lose nothing."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kcp.aio.rotatingfile import RotatingFile, Rotation

MIB = 1024 * 1024


class Days:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


def _written(directory: Path, rotation: Rotation, days: Days, count: int) -> list[str]:
    """Names after writing `count` pieces of 700 KiB, and closing."""
    file = RotatingFile(directory / "audit.log", rotation, days)
    for _ in range(count):
        file.write([b"x" * 700 * 1024 + b"\n"])
    file.close()
    return sorted(path.name for path in directory.iterdir())


def test_a_full_file_is_rotated_and_only_so_many_are_kept(tmp_path: Path) -> None:
    rotation = Rotation(max_bytes=MIB, max_backups=2)
    names = _written(tmp_path, rotation, Days(), 5)
    assert names[-1] == "audit.log"
    assert len(names) == 3
    assert names[0].startswith("audit-2026-01-01T00-00-00.0")


def test_rotated_files_are_compressed_and_go_when_they_are_old(tmp_path: Path) -> None:
    days = Days()
    rotation = Rotation(max_bytes=MIB, max_age_days=7, compress=True)
    (tmp_path / "audit-by-hand.log").write_text("not ours")
    assert [name.rpartition(".")[2] for name in _written(tmp_path, rotation, days, 2)] == ["gz", "log", "log"]
    (compressed,) = tmp_path.glob("*.gz")
    assert gzip.decompress(compressed.read_bytes()) == b"x" * 700 * 1024 + b"\n"
    days.now += timedelta(days=8)
    assert _written(tmp_path, rotation, days, 0) == ["audit-by-hand.log", "audit.log"]


def test_a_file_is_continued_after_a_restart(tmp_path: Path) -> None:
    rotation = Rotation()
    for text in (b"a\n", b"b\n"):
        file = RotatingFile(tmp_path / "audit.log", rotation, Days())
        file.write([text])
        file.close()
    assert (tmp_path / "audit.log").read_bytes() == b"a\nb\n"


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "log", Rotation(), Days())
    file.write([b"a\n"])
    (tmp_path / "log").rename(tmp_path / "log.1")
    file.write([b"b\n"])
    file.reopen()
    file.write([b"c\n"])
    file.close()
    assert (tmp_path / "log.1").read_bytes() == b"a\nb\n"
    assert (tmp_path / "log").read_bytes() == b"c\n"
