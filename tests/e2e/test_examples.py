"""The examples for TMC, as their READMEs say, run by a shell against one sandbox: failover, a controller across clusters, overrides, drain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.e2e.fleet import EXAMPLES
from tests.e2e.processes import Process, eventually, free_port

pytestmark = pytest.mark.e2e

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C has ended, as shells have it."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a running sandbox with two clusters."""
    made = tmp_path_factory.mktemp("sandbox")
    (made / "examples").symlink_to(EXAMPLES)
    sandbox = Process.start(["kcp", "sandbox", "--clusters", "2", "--secure-port", str(free_port())], cwd=made)
    try:
        sandbox.wait_for_line("syncers of east, west", timeout_s=60)
        yield made
    finally:
        sandbox.kill()


def told(directory: Path, example: str) -> str:
    """What the blocks of an example's README print."""
    blocks = re.findall(r"```\n(.*?)```", (EXAMPLES / example / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -eo pipefail", *blocks])],
        cwd=directory,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_copies_differ_from_cluster_to_cluster(directory: Path) -> None:
    shown = told(directory, "06-overrides")
    assert "east: nginx:1.27\nwest: registry.west.example/nginx:1.27\n" in shown


def test_a_controller_in_one_cluster_works_for_all(directory: Path) -> None:
    shown = told(directory, "05-cross-cluster-controller")
    rows = [line.split() for line in shown.splitlines() if "Completed" in line]
    assert {row[0]: row[1] for row in rows} == {
        "east-data-processing": "east",
        "west-ml-training": "west",
        "global-health-monitor": "global",
    }
    assert all(row[4] == "west" for row in rows)


def test_a_drained_cluster_is_left(directory: Path) -> None:
    assert "blog" in told(directory, "07-drain")


def test_work_goes_on_elsewhere_when_its_cluster_is_lost(directory: Path) -> None:
    shown = told(directory, "04-failover")
    assert re.search(r"^kcp-\w+ +shop ", shown, re.MULTILINE), shown


def test_a_preview_says_what_will_happen(directory: Path) -> None:
    shown = told(directory, "08-preview")
    assert "east 2/2, west 2/2" in shown, "the tables show where it runs"
    assert "cart/cart    east 2, west 2   west 4          2 from east to west" in shown
    assert "Placement cart: 1 of 2 clusters found: east: not ready: lost (what if)" in shown
    assert "east-new-1" in shown


def test_an_object_is_projected_to_clusters_and_withdrawn(directory: Path) -> None:
    shown = told(directory, "10-projection")
    assert "tmc-demo-config: hello from east Atlantic\ntmc-demo-config: hello from west \n" in shown
    assert "greeting: hello from west" in shown, "what render says"


def test_the_tutorial_counts_over_clusters_and_scales(directory: Path) -> None:
    shown = told(directory, "11-tutorial")
    assert "east 2/2, west 1/1" in shown
    assert "<h1>Hello from east</h1>\n<h1>Hello from west</h1>\n" in shown
    assert "east 3/3, west 3/3" in shown
    assert "hello-world is placed on east and west" in shown


def test_a_disaster_in_one_cluster_is_recovered_from(directory: Path) -> None:
    shown = told(directory, "12-disaster-recovery")
    assert re.findall(r"(?:east \d/\d, )?west \d/\d", shown) == ["east 2/2, west 2/2", "west 4/4", "east 2/2, west 2/2"], shown


def test_what_fails_is_mended_and_says_how_and_who_watches_sees_it(directory: Path) -> None:
    with watching_status(directory) as seen:
        eventually(lambda: HEALTHY.search(seen) is not None, timeout_s=60, what=lambda: repr(seen))
        shown = told(directory, "13-recovery")
        unwell = re.search(rb"ClusterHealthTracker +east-\S+ +east +Unhealthy", seen)
        assert unwell, seen
        eventually(lambda: HEALTHY.search(seen, unwell.end()) is not None, timeout_s=60, what=lambda: repr(seen))
    assert re.search(r"^TMC is Unhealthy: .*1 Unhealthy", shown, re.MULTILINE), shown
    assert re.search(r"^clusterunreachable-east-\S+ +ClusterUnreachable +ClusterConnectivity +east +Completed ", shown, re.MULTILINE), shown
    assert "Completed: every object of east was looked at and put in line" in shown


HEALTHY = re.compile(rb"TMC is Healthy: of \d+ components")


@contextmanager
def watching_status(directory: Path) -> Iterator[bytearray]:
    """What `kubectl tmc status --watch` shows in a terminal, until it is interrupted."""
    terminal, inner = os.openpty()
    termios.tcsetwinsize(inner, (60, 200))
    environment = {**_environment(), "KUBECONFIG": ".kcp/admin.kubeconfig", "TERM": "xterm"}
    watching = subprocess.Popen(
        ["kubectl", "tmc", "status", "--watch"], cwd=directory, env=environment, stdin=inner, stdout=inner, stderr=inner
    )
    os.close(inner)
    seen = bytearray()

    def read() -> None:
        with suppress(OSError):  # the terminal goes with its last program
            while piece := os.read(terminal, 4096):
                seen.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield seen
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == INTERRUPTED
    finally:
        watching.kill()
        reader.join(20)
        os.close(terminal)


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_a_workload_moves_to_another_cluster_and_back(directory: Path) -> None:
    shown = told(directory, "14-migration")
    assert re.search(r"^depot-\S+ +Deployment +depot +(east +west|west +east) +live +Completed +100 ", shown, re.MULTILINE), shown
    assert re.search(r"^report-\S+ +Job +report +(east +west|west +east) +halt-resume +Completed +100 ", shown, re.MULTILINE), shown
    assert re.search(r"^kcp-\w+ +deployment.apps/depot +3/3 ", shown, re.MULTILINE), shown
    assert re.search(r"^depot-\S+ +Deployment .* RolledBack +0 ", shown, re.MULTILINE), shown


def test_one_view_shows_what_all_clusters_run_and_what_is_unknown(directory: Path) -> None:
    shown = told(directory, "09-views")
    assert re.search(r"^atlas +deployment.apps/atlas +east,west +Healthy +3/3 +3 +3 +0 ", shown, re.MULTILINE), shown
    assert len(re.findall(r"^atlas +pod/atlas-\S+ +(?:east|west) +Healthy ", shown, re.MULTILINE)) == 3, shown
    assert re.search(r"^atlas +atlas +east,west\? +Unknown ", shown, re.MULTILINE), shown
    assert re.search(r"^atlas +Active +2 +1 ", shown, re.MULTILINE), shown
