"""`make cpu-profile` and `make memory-profile`: what they write, of few workspaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.processes import BIN

pytestmark = pytest.mark.e2e
PROJECT = Path(__file__).parents[2]
TRACING = Path("/proc/sys/kernel/yama/ptrace_scope")


def profile(kind: str, into: Path) -> str:
    command = [sys.executable, "-m", "measure.profiles", kind, str(into), "--count", "10"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "benchmarks")}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "open it in a browser" in done.stdout
    return next(into.iterdir()).read_text()


@pytest.mark.skipif(not (BIN / "py-spy").exists(), reason="needs py-spy: pip install -e .[analysis]")
@pytest.mark.skipif(
    os.geteuid() != 0 and TRACING.exists() and TRACING.read_text().strip() != "0",
    reason="another process may be traced by root only here (kernel.yama.ptrace_scope)",
)
def test_where_the_processor_s_time_goes_is_drawn(tmp_path: Path) -> None:
    drawn = profile("cpu", tmp_path)
    assert drawn.startswith("<?xml")
    assert "kcp/" in drawn, "frames of the server"


@pytest.mark.skipif(not (BIN / "memray").exists(), reason="needs memray: pip install -e .[analysis]")
def test_what_memory_holds_is_drawn(tmp_path: Path) -> None:
    assert "memray" in profile("memory", tmp_path)
