"""Checks of what can be brought back: how old the newest backup is, that it can be restored, and the drill that tries all of it.

Before: `ops`. After: `storage.snapshot`, `scripts/dr-drill.sh`.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kcp.aio.clock import parse_rfc3339
from kcp.cli.ops_inspection import Inspection
from kcp.cli.ops_report import Check, State, judged

if TYPE_CHECKING:
    from kcp.storage.snapshot.file import Header, Summary
    from kcp.storage.snapshot.places import S3Options

RECOVERY_TARGET_S = 900.0
_DRILL_LIMIT_S = 1_800.0
_NOT_SAID = "not looked at: --backup says where snapshots are"


async def age(inspection: Inspection) -> Check:
    """Of the newest snapshot, or of the changes shipped after it."""
    wanted = inspection.wanted
    if not wanted.backup:
        return Check("Backup", State.LEFT_OUT, _NOT_SAID)
    header, summary = await asyncio.to_thread(_read, wanted.backup, _s3(inspection))
    age_s = (inspection.now - parse_rfc3339(header.created)).total_seconds()
    result = f"the newest is {age_s / 3600:.1f} h old, of revision {header.revision}: {summary.objects:,} objects, whole"
    limit_h = wanted.max_backup_age_s / 3600
    remedy = f"older than {limit_h:.0f} h: the CronJob or `kcp snapshot ship`, and its log"
    return judged("Backup", result, fault=age_s > wanted.max_backup_age_s, remedy=remedy)


async def restoration(inspection: Inspection) -> Check:
    """The newest is restored into a directory of its own, and read again from there."""
    if not inspection.wanted.backup:
        return Check("Restoration", State.LEFT_OUT, _NOT_SAID)
    restored, took_s, read = await asyncio.to_thread(_restore, inspection.wanted.backup, _s3(inspection))
    result = f"{restored.objects:,} objects of revision {restored.header.revision} restored in {took_s:.1f} s, {read:,} read again"
    return judged("Restoration", result, fault=read != restored.objects, remedy="keep that backup, make another, and tell the maintainers")


async def drill(inspection: Inspection) -> Check:
    """On processes of its own; nothing of the installation is touched."""
    script = inspection.wanted.drill
    if not inspection.wanted.is_drill_wanted:
        return Check("Recovery drill", State.LEFT_OUT, "left out by --no-drill")
    if not script.is_file():
        return Check("Recovery drill", State.LEFT_OUT, f"there is no {script}: run scripts/dr-drill.sh of the sources, or say --drill=FILE")
    code, text = await asyncio.to_thread(_drill, script)
    told = re.search(r"RTO ([\d.]+) s", text)
    if code != 0 or told is None:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "nothing was said")
        return Check("Recovery drill", State.LOOK, f"failed with {code}: {last}", f"run {script} by hand; KEEP=1 keeps its logs")
    result = f"everything came back after {told[1]} s (target {RECOVERY_TARGET_S:.0f} s)"
    return judged(
        "Recovery drill", result, fault=float(told[1]) > RECOVERY_TARGET_S, remedy="docs/storage.md; smaller snapshots, faster disks"
    )


def _s3(inspection: Inspection) -> S3Options:
    from kcp.storage.snapshot.places import S3Options

    return S3Options(inspection.wanted.s3_endpoint, inspection.wanted.s3_region)


def _read(target: str, s3: S3Options) -> tuple[Header, Summary]:
    """Raises: SnapshotError, PlaceError, OSError."""
    from kcp.storage.snapshot.fetching import Checked, opened

    with opened(target, s3) as content:
        summary = Checked(content).verify()
        return content.header, summary


def _restore(target: str, s3: S3Options) -> tuple[Summary, float, int]:
    """What was restored, how long that took, and how many objects the new database has."""
    from kcp.aio.clock import SystemClock
    from kcp.storage.snapshot.fetching import Checked, opened
    from kcp.storage.snapshot.restore import to_sqlite

    clock = SystemClock()
    with TemporaryDirectory(prefix="kcp-ops-restore-") as directory, opened(target, s3) as content:
        path, begun_s = Path(directory) / "kcp.db", clock.monotonic()
        summary = to_sqlite(Checked(content), path)
        took_s = clock.monotonic() - begun_s
        return summary, took_s, asyncio.run(_count(path))


async def _count(path: Path) -> int:
    from kcp.storage.snapshot.sources import SQLiteSource

    source = SQLiteSource(path)
    try:
        return sum([len(page) async for page in source.pages()])
    finally:
        await source.close()


def _drill(script: Path) -> tuple[int, str]:
    try:
        done = subprocess.run([str(script.resolve())], capture_output=True, text=True, timeout=_DRILL_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return 1, f"not done after {_DRILL_LIMIT_S:.0f} s"
    return done.returncode, done.stdout + done.stderr
