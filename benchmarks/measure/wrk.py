"""wrk over HTTPS, with the server's CPU time per request beside its rate: on a shared machine only the former is steady."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measure.processes import Program

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
    errors: int

    def __str__(self) -> str:
        refused = f", {self.errors} ERRORS" if self.errors else ""
        return (
            f"{self.per_s:,.0f}/s, p50 {self.p50}, p99 {self.p99}, {self.cpu_us:.0f} µs CPU each ({self.cpu_share:.0%} of a core){refused}"
        )


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
    before_s = program.cpu_s()
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    used_s = program.cpu_s() - before_s
    program.check()
    total, elapsed_us, errors = (int(n) for n in re.search(r"SUMMARY (\d+) (\d+) (\d+)", output).groups())  # type: ignore[union-attr]
    p50, p99 = (re.search(rf"\s{share}%\s+(\S+)", output) for share in (50, 99))
    return Result(
        per_s=total / elapsed_us * 1e6, p50=p50.group(1) if p50 else "?", p99=p99.group(1) if p99 else "?",
        cpu_us=used_s / max(total, 1) * 1e6, cpu_share=used_s / elapsed_us * 1e6, errors=errors,
    )  # fmt: skip
