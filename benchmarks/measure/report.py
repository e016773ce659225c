"""Figures as they come, with the target and a published figure beside them; at the end the same as a table for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BASELINE = "kube-apiserver 1.36.2 with etcd 3.6.13 on 2 cores, published baseline of another day"


CORES = len(os.sched_getaffinity(0))


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def spread_ms(seconds: Sequence[float]) -> str:
    return f"p50 {percentile(seconds, 0.5) * 1e3:.1f} ms, p99 {percentile(seconds, 0.99) * 1e3:.1f} ms"


COLUMNS = ("what", "setting", "target", "measured", "baseline", "ratio", "reached")


@dataclass
class Report:
    title: str
    baseline: str = BASELINE
    rows: list[dict[str, str]] = field(default_factory=list)
    """By column."""
    _started_s: float = field(default_factory=time.perf_counter)
    _busy_s: tuple[float, float] = field(default_factory=lambda: (machine_s(), _own_s()))

    def __post_init__(self) -> None:
        load = os.getloadavg()[0]
        print(f"{self.title}\n{CORES} cores, load generator included; load average {load:.2f} at the start")
        print(f"Python {platform.python_version()}, store: sqlite {sqlite3.sqlite_version} (fsync before each answer), {_disk()}")
        print(f"baseline: {self.baseline}\n", flush=True)

    def step(self, text: str) -> None:
        print(f"  {time.perf_counter() - self._started_s:5.1f} s  … {text}", flush=True)

    def row(  # noqa: PLR0913 - the columns of a table
        self,
        name: str,
        measured: str,
        *,
        setting: str = "",
        target: str = "",
        reached: bool | None = None,
        baseline: str = "",
        ratio: str = "",
    ) -> None:
        verdict = "" if reached is None else "yes" if reached else "NO"
        self.rows.append(dict(zip(COLUMNS, (name, setting, target, measured, baseline, ratio, verdict), strict=True)))
        extra = [f"target {target}: {verdict}"] if target else []
        extra += [f"baseline {baseline}"] if baseline else []
        extra += [ratio] if ratio else []
        what = f"{name}, {setting}" if setting else name
        print(f"{what:44} {measured}" + (f"   [{'; '.join(extra)}]" if extra else ""), flush=True)

    def end(self) -> str:
        """Prints the table, and returns it with the line that says how busy the machine was."""
        elapsed_s = time.perf_counter() - self._started_s
        others_s = (machine_s() - self._busy_s[0]) - (_own_s() - self._busy_s[1])
        text = f"{_table(self.rows)}\n\nOther programs used {max(others_s, 0) / elapsed_s:.2f} of the {CORES} cores meanwhile."
        print(f"\n{text}", flush=True)
        print(f"took {elapsed_s:.0f} s", file=sys.stderr)
        return text


def replace_section(document: Path, section: str, text: str) -> None:
    """Put `text` between the lines `<!-- section -->` and `<!-- end of section -->`. Raises SystemExit where they are missing."""
    begin, end = f"<!-- {section} -->\n", f"<!-- end of {section} -->\n"
    head, found, rest = document.read_text().partition(begin)
    _, ended, tail = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{document} has no section {section}")
    document.write_text(f"{head}{begin}\n{text}\n\n{end}{tail}")


def _table(rows: Sequence[dict[str, str]]) -> str:
    """Without the columns that no row uses."""
    used = [column for column in COLUMNS if any(row[column] for row in rows)]
    lines = [used, ["---"] * len(used), *([row[column] for column in used] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine_s() -> float:
    """Seconds of CPU that the whole machine has spent, the time stolen from it included."""
    user, nice, system, _idle, _wait, irq, soft, steal, *_ = (int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Seconds of CPU that this process and its ended children have spent."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _disk() -> str:
    """The file system under the temporary directory: the price of an fsync is its own."""
    here = os.stat(os.environ.get("TMPDIR", "/tmp")).st_dev
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        try:
            if os.stat(mount).st_dev == here:
                return kind
        except OSError:
            continue
    return "unknown file system"
