"""wrk over HTTPS, with the server's CPU time per request beside its rate: on a shared machine only the former is steady."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measure.processes import Program
from measure.report import machine_s

SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True)
class Load:
    """What is sent: `kind` is get, create or apply."""

    kind: str
    path: str
    token: str


@dataclass(frozen=True)
class Result:
    per_s: float
    p50: str
    p99: str
    cpu_us: float
    """Of the server, per request."""
    cpu_share: float
    """Of one core."""
    others_cores: float
    """Used meanwhile by programs other than the server and wrk."""
    answer_bytes: int
    """Of each answer, head included."""
    errors: int

    def __str__(self) -> str:
        refused = f", {self.errors} ERRORS" if self.errors else ""
        others = f", others {self.others_cores:.1f} cores" if self.others_cores >= 0.1 else ""
        cpu = f"{self.cpu_us:.0f} µs CPU each ({self.cpu_share:.0%} of a core{others})"
        return f"{self.per_s:,.0f}/s, p50 {self.p50}, p99 {self.p99}, {cpu}{refused}"


def run(program: Program, url: str, load: Load, *, connections: int, seconds: float) -> Result:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; Debian and Ubuntu: apt-get install wrk")
    environment = {
        **os.environ,
        "KIND": load.kind,
        "TARGET": load.path,
        "TOKEN": load.token,
        "RUN": f"c{connections}-{os.urandom(3).hex()}",
    }
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "30s", "-s", str(SCRIPT), url]
    before_s, others_before_s = program.cpu_s(), _others_s(program)
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    used_s = program.cpu_s() - before_s
    program.check()
    others_s = _others_s(program) - others_before_s
    summary = re.search(r"SUMMARY (\d+) (\d+) (\d+) (\d+)", output)
    assert summary is not None, output
    total, elapsed_us, errors, received = (int(n) for n in summary.groups())
    p50, p99 = (re.search(rf"\s{share}%\s+(\S+)", output) for share in (50, 99))
    return Result(
        per_s=total / elapsed_us * 1e6, p50=_readable(p50), p99=_readable(p99),
        cpu_us=used_s / max(total, 1) * 1e6, cpu_share=used_s / elapsed_us * 1e6, others_cores=max(others_s, 0.0) / elapsed_us * 1e6,
        answer_bytes=received // max(total, 1), errors=errors,
    )  # fmt: skip


def _others_s(program: Program) -> float:
    """CPU of the whole machine less that of the server and of wrk, which is a child that has ended."""
    times = os.times()
    return machine_s() - program.cpu_s() - times.user - times.system - times.children_user - times.children_system


def _readable(latency: re.Match[str] | None) -> str:
    """As `1.20 ms` or `87 µs`, from wrk's `1.20ms` and `87.00us`."""
    if latency is None:
        return "?"
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", latency.group(1)).groups()  # type: ignore[union-attr]
    return f"{float(number):.0f} µs" if unit == "us" else f"{number} {unit}"
