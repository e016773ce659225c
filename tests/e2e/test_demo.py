"""The issue's user story A: one command, a table at the end, and the commands to go on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.e2e.processes import Process, free_port

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_hello_world_runs_once_and_shows_what_happened(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    demo = Process.start(["kcp", "sandbox", "--once", "hello-world"], cwd=tmp_path)
    try:
        assert demo.popen.wait(30) == 0, demo.output
    finally:
        demo.kill()
    shown = demo.output
    for line in ("control plane with TMC at https://127.0.0.1:", "simulated cluster west", "applied Deployment hello-world"):
        assert line in shown
    rows = [line.split() for line in demo.lines if "Deployment hello-world" in line and "│" in line]
    assert {cell for row in rows for cell in row} >= {"east", "west"}
    assert "Done in" in shown
    assert "kubectl apply -f examples/01-hello-world/" in shown
    assert "Traceback" not in shown


def test_it_can_be_run_again_on_its_own_data(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    for _ in range(2):
        demo = Process.start(["kcp", "sandbox", "--once", "hello-world"], cwd=tmp_path)
        try:
            assert demo.popen.wait(30) == 0, demo.output
        finally:
            demo.kill()
    assert "hello-world runs on 2 clusters and reports back" in demo.output


def test_many_clusters_say_how_far_they_are(tmp_path: Path) -> None:
    sandbox = Process.start(["kcp", "sandbox", "--clusters", "12", "--secure-port", str(free_port())], cwd=tmp_path)
    try:
        sandbox.wait_for_line("12 of 12 syncers", timeout_s=60)
        shown = sandbox.output
        assert "10 of 12 simulated clusters, 3 nodes each" in shown
        assert shown.index("12 of 12 simulated clusters") < shown.index("10 of 12 syncers")
    finally:
        sandbox.kill()
