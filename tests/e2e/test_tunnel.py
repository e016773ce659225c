"""kubectl logs, exec, cp and port-forward in a workspace, on pods that run in a cluster: through the tunnel of its syncer, processes and TLS."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.fleet import WORKSPACE, Fleet
from tests.e2e.processes import Kubectl, Process, eventually, free_port

pytestmark = pytest.mark.e2e

DEPLOYMENT = """
apiVersion: scheduling.kcp.io/v1alpha1
kind: Placement
metadata: {name: everywhere}
spec: {numberOfClusters: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: talking}
spec:
  selector: {matchLabels: {app: talking}}
  template:
    metadata: {labels: {app: talking}}
    spec:
      containers:
      - name: app
        image: busybox
        command: [sh, -c, "while true; do echo tick; sleep 1; done"]
        ports: [{containerPort: 8080}]
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(tmp_path)
    try:
        yield started
    finally:
        started.stop()


def start_syncer(fleet: Fleet) -> None:
    fleet.syncers["east"] = Process.start(fleet.syncer_command("east", upsync_resources="pods"), cwd=fleet.directory)


def shown_pod(workspace: Kubectl) -> str:
    def names() -> list[str]:
        return workspace("get", "pods", "-l", "app=talking", "--field-selector=status.phase=Running", "-o", "name").split()

    eventually(lambda: len(names()) == 1, timeout_s=20, what=lambda: f"one pod: {names()}")
    return names()[0].removeprefix("pod/")


def test_pods_are_reached_through_the_workspace_and_their_absence_is_explained(fleet: Fleet) -> None:
    fleet.start(("east",))
    fleet.syncers["east"].stop()
    start_syncer(fleet)
    workspace = fleet.at(WORKSPACE)
    workspace("apply", "-f", "-", stdin=DEPLOYMENT)
    pod = shown_pod(workspace)

    def tried(*words: str) -> str:
        done = workspace.run(*words, check=False)
        return done.stdout or done.stderr

    eventually(lambda: tried("logs", pod).startswith("tick\n"), timeout_s=20, what=lambda: tried("logs", pod))
    failed = workspace.run("exec", "-i", pod, "--", "sh", "-c", "cat; echo oh >&2; exit 7", stdin="typed", check=False)
    assert (failed.returncode, failed.stdout, failed.stderr) == (7, "typed", "oh\ncommand terminated with exit code 7\n")
    (fleet.directory / "in").write_bytes(bytes(range(256)) * 100)
    workspace("cp", "in", f"{pod}:/tmp/there")
    workspace("cp", f"{pod}:/tmp/there", "out")
    assert (fleet.directory / "out").read_bytes() == bytes(range(256)) * 100
    port = free_port()
    command = ["kubectl", *workspace.flags, "port-forward", f"pod/{pod}", f"{port}:8080"]
    with subprocess.Popen(command, env=workspace.environment, cwd=fleet.directory, stdout=subprocess.PIPE, text=True) as forwarding:
        try:
            assert forwarding.stdout is not None
            forwarding.stdout.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=10) as answer:
                assert answer.read().startswith(b"GET /x\nanswered by container app of pod kcp-")
        finally:
            forwarding.kill()
    fleet.syncers["east"].stop()
    refused = workspace.run("exec", pod, "--", "hostname", check=False)
    assert refused.returncode == 1
    assert 'cluster "east" has had no tunnel since' in refused.stderr
    start_syncer(fleet)
    eventually(lambda: tried("exec", pod, "--", "hostname") == f"{pod}\n", timeout_s=20, what=lambda: tried("exec", pod, "--", "hostname"))
