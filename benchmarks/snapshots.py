"""How long a snapshot takes while writes go on, and how soon a control plane made from it is ready.

    .venv/bin/python benchmarks/snapshots.py [--objects 100000] [--write]

One database of ConfigMaps of about 1 KB in 1,000 workspaces; saved while eight writers go on; shipped while
others do; verified; restored; a server started on it.
`--write` puts the table into docs/benchmarks.md. Takes about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from measure.processes import ControlPlane
from measure.report import Report, replace_section

from kcp.aio.clock import SystemClock
from kcp.storage.snapshot.fetching import Checked
from kcp.storage.snapshot.file import Header, Reader, verify, write
from kcp.storage.snapshot.places import Directory
from kcp.storage.snapshot.restore import to_sqlite
from kcp.storage.snapshot.shipping import Shipper, ShippingConfig
from kcp.storage.snapshot.sources import SQLiteOrigin, SQLiteSource
from kcp.storage.sqlite import SQLiteStore

ROOT = Path(__file__).resolve().parent.parent
_AT_ONCE = 2_000
_WRITERS = 8
_SHIPPED_S = 20.0
_RATE = 200
"""Writes a second while changes are shipped: a busy control plane."""


def key(number: int) -> bytes:
    return b"/registry/core/configmaps/-/bench%d/default/cm-%d" % (number % 1_000, number)


def value(number: int) -> bytes:
    return b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm-%d","namespace":"default"},"data":{"text":"%s"}}' % (
        number,
        random.Random(number).randbytes(450).hex().encode(),
    )


def mib(file: Path) -> float:
    return file.stat().st_size / 2**20


async def fill(path: Path, objects: int) -> None:
    store = await SQLiteStore.open(path)
    for start in range(0, objects, _AT_ONCE):
        await asyncio.gather(*(store.create(key(number), value(number)) for number in range(start, min(start + _AT_ONCE, objects))))
    await store.close()


async def save_while_writing(report: Report, path: Path, file: Path, objects: int) -> None:
    store = await SQLiteStore.open(path)
    latencies: list[float] = []
    stopping = asyncio.Event()

    async def go_on(writer: int) -> None:
        number = 0
        while not stopping.is_set():
            started = time.perf_counter()
            await store.create(b"/registry/core/configmaps/-/later-%d/default/cm-%d" % (writer, number), value(number))
            latencies.append(time.perf_counter() - started)
            number += 1

    async with asyncio.TaskGroup() as group:
        for writer in range(_WRITERS):
            group.create_task(go_on(writer))
        started = time.perf_counter()
        source = SQLiteSource(path)
        await write(file, Header(source.revision, "2026-01-01T00:00:00Z", "benchmark"), source.pages())
        await source.close()
        took_s = time.perf_counter() - started
        stopping.set()
    report.row("save", f"{took_s:.1f} s, {mib(file):.0f} MiB", setting=f"{objects:,} objects, {_WRITERS} writers",
               target="≤ 10 s", reached=took_s <= 10)  # fmt: skip
    report.row("writes meanwhile", f"{len(latencies) / took_s:,.0f}/s, longest {max(latencies) * 1e3:.0f} ms", setting="the same")
    await store.close()


class Watched(Directory):
    """Knows when which revision has come."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        super().__init__(path)
        self.reached: list[tuple[float, int]] = []
        self._loop, self._came = asyncio.get_running_loop(), asyncio.Event()

    def put(self, path: Path, name: str) -> None:
        super().put(path, name)
        if name.endswith(".changes"):
            self.reached.append((time.perf_counter(), int(name.removesuffix(".changes").rpartition("-")[2])))
        self._loop.call_soon_threadsafe(self._came.set)

    async def wait(self) -> None:
        """Until another file has come."""
        await self._came.wait()
        self._came.clear()


async def ship(report: Report, path: Path, place: Path) -> None:
    """How long what was acknowledged is not in the backup yet."""
    store, backup = await SQLiteStore.open(path), Watched(place)
    acknowledged: list[tuple[float, int]] = []
    shipper = Shipper(SQLiteOrigin(path), backup, ShippingConfig(), clock=SystemClock())
    shipping = asyncio.ensure_future(shipper.run())
    await backup.wait()
    started = time.perf_counter()
    for number in range(int(_RATE * _SHIPPED_S)):
        await asyncio.sleep(max(started + number / _RATE - time.perf_counter(), 0))
        revision = await store.create(b"/registry/core/configmaps/-/shipped/default/cm-%d" % number, value(number))
        acknowledged.append((time.perf_counter(), revision))
    last = acknowledged[-1][1]
    while not backup.reached or backup.reached[-1][1] < last:
        await backup.wait()
    shipping.cancel()
    await asyncio.gather(shipping, return_exceptions=True)
    await store.close()
    late_s = max(next(came for came, reached in backup.reached if reached >= revision) - at for at, revision in acknowledged)
    report.row("shipping, longest time until a write is in the backup", f"{late_s:.1f} s", setting=f"{_RATE} writes/s, every 2 s",
               target="≤ 5 s", reached=late_s <= 5)  # fmt: skip


async def measure(objects: int) -> str:
    report = Report("Snapshots", baseline="none published")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as directory:
        place = Path(directory)
        report.step(f"{objects:,} objects")
        await fill(place / "kcp.db", objects)
        file = place / "a.snapshot"
        await save_while_writing(report, place / "kcp.db", file, objects)
        await ship(report, place / "kcp.db", place / "shipped")
        started = time.perf_counter()
        summary = verify(file)
        report.row("verify", f"{time.perf_counter() - started:.1f} s", setting=f"{summary.objects:,} objects")
        root = place / ".kcp"
        started = time.perf_counter()
        reader = Reader(file)
        to_sqlite(Checked(reader), root / "kcp.db")
        reader.close()
        restored_s = time.perf_counter() - started
        plane = ControlPlane.start(place, tmc=False)
        ready_s = time.perf_counter() - started
        plane.stop()
        report.row("restore, until the server is ready", f"{ready_s:.1f} s, {restored_s:.1f} s of it the database",
                   setting=f"{summary.objects:,} objects", target="≤ 30 s", reached=ready_s <= 30)  # fmt: skip
    return report.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = asyncio.run(measure(arguments.objects))
    if arguments.write:
        replace_section(ROOT / "docs" / "benchmarks.md", "snapshots.py", text)


if __name__ == "__main__":
    main()
