"""The scripts and make targets that the build and production guides name, run as they say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.processes import Process, free_port

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def shell(script: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -eo pipefail\n{script}"],
        cwd=directory,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What the scripts need of the project, so that what they make is removed with the test."""
    for name in ("scripts", "examples", "test", "simple-tutorial"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    return tmp_path


@pytest.fixture
def sandbox(directory: Path) -> Iterator[Path]:
    process = Process.start(["kcp", "sandbox", "--clusters", "2", "--secure-port", str(free_port())], cwd=directory)
    try:
        process.wait_for_line("syncers of east, west", timeout_s=60)
        yield directory
    finally:
        process.kill()


HOSTED = """
kubectl --context east create namespace kcp-system
kubectl --context east -n kcp-system wait --for=create serviceaccount/default --timeout=10s
kubectl --context east -n kcp-system run kcp-server --image=kcp-tmc
kubectl ws :root:hello-world
HOST_CONTEXT=east scripts/test-tmc-functionality.sh
"""
"""One of the clusters in the place of that which kcp runs in."""


def test_an_installation_is_found_to_work_and_left_as_it_was(sandbox: Path) -> None:
    done = shell(HOSTED, sandbox, KUBECONFIG=".kcp/admin.kubeconfig:.kcp/clusters/east.kubeconfig", LIMIT_S="60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"kcp-server +1/1 +Running", done.stdout) or "pod/kcp-server condition met" in done.stdout
    assert "All checks passed." in done.stdout
    assert re.search(r"synced +\S+ s +\S+ s +20/20", done.stdout)
    left = shell("kubectl get namespaces,placements", sandbox, KUBECONFIG=".kcp/admin.kubeconfig")
    assert "tmc-" not in left.stdout


def test_an_installation_without_clusters_fails_and_says_so(directory: Path) -> None:
    server = Process.start(["kcp", "start", "--root-directory=.kcp", f"--secure-port={free_port()}", "--enable-tmc"], cwd=directory)
    try:
        server.wait_for_line("kcp is ready", timeout_s=60)
        script = "kubectl ws create empty --enter; scripts/test-tmc-functionality.sh"
        done = shell(script, directory, KUBECONFIG=".kcp/admin.kubeconfig")
        assert done.returncode == 1
        assert "FAILED: no cluster is ready" in done.stderr
    finally:
        server.kill()


def three_free_ports() -> int:
    """The first of three in a row."""
    for first in range(26000, 32000, 7):
        probes = [socket.socket() for _ in range(3)]
        try:
            for number, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + number))
            return first
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no three free ports in a row")


def test_the_first_tutorial(directory: Path) -> None:
    text = (directory / "simple-tutorial" / "README.md").read_text()
    script = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    try:
        done = shell(script, directory, BASE_PORT=str(three_free_ports()))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "pods in all clusters: 3; ready as the workspace says: 3" in done.stdout
        assert "pods in all clusters: 4; ready as the workspace says: 4" in done.stdout
        assert not (directory / "tutorial-env").exists()
    finally:
        if (directory / "tutorial-env").exists():
            shell("scripts/setup-tmc-tutorial.sh --cleanup", directory)


def test_programs_of_a_build_start_with_the_components_chosen(tmp_path: Path) -> None:
    command = f"{sys.executable} {ROOT}/scripts/build/programs.py"
    done = shell(f"{command} bin 'error-handling,health'; ./bin/kcp config view --show-origin || ./bin/kcp config view", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"KCP_TMC_RECOVERY", done.stdout)
    assert shell("./bin/kcp --help | grep -i tmc; ./bin/workload-syncer --help | grep -i tmc", tmp_path).returncode == 0
    refused = shell(f"{command} bin errors", tmp_path)
    assert refused.returncode == 1
    assert "TMC_COMPONENTS: unknown errors; there are: error-handling, health, metrics, recovery, all" in refused.stderr


def test_what_the_product_depends_on_is_shown() -> None:
    done = shell(f"{sys.executable} scripts/build/dependencies.py", ROOT, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert re.search(r"aiohttp \S+ Apache-2.0", done.stdout)
