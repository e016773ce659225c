"""How long a snapshot takes while writes go on, and how soon a control plane made from it is ready.

    .venv/bin/python benchmarks/snapshots.py [--objects 100000] [--write]

One database of ConfigMaps of about 1 KB in 1,000 workspaces; saved while eight writers go on; verified; restored; a server started on it.
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

from kcp.storage.snapshot.file import Header, Reader, verify, write
from kcp.storage.snapshot.restore import to_sqlite
from kcp.storage.snapshot.sources import SQLiteSource
from kcp.storage.sqlite import SQLiteStore

ROOT = Path(__file__).resolve().parent.parent
_AT_ONCE = 2_000
_WRITERS = 8


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
            await store.create(b"/registry/core/configmaps/-/later/default/%d-%d" % (writer, number), value(number))
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


async def measure(objects: int) -> str:
    report = Report("Snapshots", baseline="none published")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as directory:
        place = Path(directory)
        report.step(f"{objects:,} objects")
        await fill(place / "kcp.db", objects)
        file = place / "a.snapshot"
        await save_while_writing(report, place / "kcp.db", file, objects)
        started = time.perf_counter()
        summary = verify(file)
        report.row("verify", f"{time.perf_counter() - started:.1f} s", setting=f"{summary.objects:,} objects")
        root = place / ".kcp"
        started = time.perf_counter()
        reader = Reader(file)
        to_sqlite(reader, root / "kcp.db")
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
