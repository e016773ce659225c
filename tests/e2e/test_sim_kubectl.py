"""`kcp sim …` as a user meets it: real processes, TLS and the real kubectl. Deploy, scale, restart, break, mend, delete, come back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.processes import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")]

SIM = [sys.executable, "-c", "from kcp.cli.sim import sim_group; sim_group()"]

WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 3
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec: {containers: [{name: web, image: nginx}]}
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec: {selector: {app: hello}, ports: [{port: 80}]}
"""


class Shell:
    """Commands in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "KUBECONFIG": str(directory / "east.kubeconfig")}

    def run(self, *command: str, text: str = "", ok: bool = True) -> str:
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment, input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode == 0) == ok, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("Warning: v1 "))

    def kubectl(self, *words: str, text: str = "", ok: bool = True) -> str:
        return self.run("kubectl", *words, text=text, ok=ok)

    def get(self, *words: str) -> Any:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def sim(self, *words: str, ok: bool = True) -> str:
        return self.run(*SIM, *words, ok=ok)


@contextmanager
def cluster(shell: Shell, *flags: str) -> Iterator[str]:
    """A running `kcp sim cluster east`; gives its greeting. Ctrl-C ends it, within two seconds and without error."""
    process = subprocess.Popen(
        [*SIM, "cluster", "east", *flags], cwd=shell.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = []
        while (line := process.stdout.readline()) != "Ctrl-C ends it.\n":
            assert line, f"it ended: {process.communicate()[1]}"
            lines.append(line)
        yield "".join(lines)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=2)
        assert process.returncode == 0
        assert errors == ""
    finally:
        process.kill()
        process.communicate()


def test_a_deployment_lives_on_a_simulated_cluster(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with cluster(shell, "--nodes", "3", "--labels", "region=east") as greeting:
        assert "Simulated cluster east serves https://127.0.0.1:" in greeting
        assert {n["metadata"]["labels"]["region"] for n in shell.get("nodes")["items"]} == {"east"}
        shell.kubectl("apply", "-f", "-", text=WORKLOAD)
        shell.kubectl("rollout", "status", "deployment/hello", "--timeout=10s")
        shell.kubectl("scale", "deployment", "hello", "--replicas=5")
        shell.kubectl("rollout", "status", "deployment/hello", "--timeout=10s")
        assert [p["status"]["phase"] for p in shell.get("pods")["items"]] == ["Running"] * 5
        shell.kubectl("rollout", "restart", "deployment/hello")
        shell.kubectl("rollout", "status", "deployment/hello", "--timeout=10s")
        assert "2" in shell.kubectl("rollout", "history", "deployment/hello")
        shell.kubectl("rollout", "undo", "deployment/hello")
        shell.kubectl("rollout", "status", "deployment/hello", "--timeout=10s")
        assert len(shell.get("endpoints", "hello")["subsets"][0]["addresses"]) == 5
        assert "simulated" in shell.kubectl("logs", "deployment/hello")
        shell.kubectl("create", "job", "work", "--image=busybox")
        shell.kubectl("wait", "--for=condition=complete", "job/work", "--timeout=10s")
        shell.kubectl("delete", "job", "work", "--timeout=10s")
        shell.kubectl("delete", "deployment", "hello", "--cascade=foreground", "--timeout=10s")
        assert shell.get("pods,replicasets")["items"] == []


def test_the_dns_of_a_cluster_runs_in_kube_system_unless_it_is_not_wanted(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with cluster(shell, "--nodes", "2"):
        shell.kubectl("wait", "--for=create", "deployment/coredns", "-n", "kube-system", "--timeout=10s")
        shell.kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system", "--timeout=10s")
        assert len(shell.get("pods", "-n", "kube-system", "-l", "k8s-app=kube-dns")["items"]) == 2
        assert shell.get("service", "kube-dns", "-n", "kube-system")["spec"]["clusterIP"] == "10.96.0.10"
    with cluster(shell, "--no-system-pods"):
        assert shell.get("deployments,pods", "-n", "kube-system")["items"] == []


def test_faults_are_switched_from_another_terminal(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with cluster(shell, "--nodes", "1"):
        assert shell.sim("list").splitlines()[1].split()[:3:2] == ["east", "none"]
        shell.sim("kill", "east")
        assert "refused" in shell.kubectl("get", "nodes", ok=False)
        shell.sim("pause", "east")
        assert "Timeout" in shell.kubectl("get", "nodes", "--request-timeout=1s", ok=False)
        shell.sim("restore", "--kubeconfig", "east.kubeconfig", "east")
        shell.kubectl("get", "nodes")
        assert "running, by .kcp/sim: east" in shell.sim("kill", "west", ok=False)
        port = shell.get("endpoints", "kubernetes")["subsets"][0]["ports"][0]["port"]
        assert f"127.0.0.1:{port} is in use" in shell.sim("cluster", "west", "--port", str(port), ok=False)
    assert "No simulated clusters" in shell.sim("list")


FAULTS = """
apiVersion: sim.kcp.io/v1alpha1
kind: Fault
metadata: {name: dead}
spec: {type: kill, cluster: east}
---
apiVersion: sim.kcp.io/v1alpha1
kind: Scenario
metadata: {name: more}
spec:
  duration: 2h
  clusters: [east]
  steps:
  - {at: 1h, do: slow, target: east, by: 2s, for: 1m}
  - {at: 1s, do: deploy, name: web, replicas: 1}
"""


def test_faults_are_objects_in_a_file(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    (tmp_path / "faults.yaml").write_text(FAULTS)
    with cluster(shell, "--nodes", "1"):
        told = shell.sim("apply", "-f", "faults.yaml")
        assert told.splitlines() == ["Fault dead created in east: kill.", "Fault step-1 created in east: slow after 1h for 1m."]
        eventually(lambda: "kill" in shell.sim("list"), timeout_s=10, what=lambda: "a killed cluster")
        assert "refused" in shell.kubectl("get", "nodes", ok=False)
        past = ("--server", json.loads((tmp_path / ".kcp/sim/east.json").read_text())["control_url"])
        rows = {line.split()[0]: line.split()[1:3] for line in shell.kubectl(*past, "get", "faults").splitlines()[1:]}
        assert rows == {"dead": ["kill", "Active"], "step-1": ["slow", "Waiting"]}
        shell.kubectl(*past, "delete", "fault", "dead")
        eventually(lambda: "none" in shell.sim("list"), timeout_s=10, what=lambda: "a mended cluster")
        shell.kubectl("get", "nodes")
        shell.kubectl("create", "-f", "-", text=FAULTS.partition("---")[0].replace("kill", "pause"))
        eventually(lambda: "pause" in shell.sim("list"), timeout_s=10, what=lambda: "a paused cluster")
        shell.sim("restore", "east")
        assert shell.get("faults")["items"] == []
        (tmp_path / "west.yaml").write_text(FAULTS.partition("---")[0].replace("east", "west"))
        assert 'no simulated cluster "west" runs here' in shell.sim("apply", "-f", "west.yaml", ok=False)


def test_a_cluster_comes_back_with_its_data_and_the_same_kubeconfig(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with cluster(shell, "--data-dir", "data", "--port", "17997"):
        shell.kubectl("apply", "-f", "-", text=WORKLOAD)
        shell.kubectl("rollout", "status", "deployment/hello", "--timeout=10s")
        before = [p["metadata"]["uid"] for p in shell.get("pods")["items"]]
    kept = (tmp_path / "east.kubeconfig").read_text()
    with cluster(shell, "--data-dir", "data", "--port", "17997", "--kubeconfig-out", "other.kubeconfig"):
        assert (tmp_path / "east.kubeconfig").read_text() == kept
        assert [p["metadata"]["uid"] for p in shell.get("pods")["items"]] == before


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("Not_A_Name",), "Not_A_Name"),
        (("east", "--labels", "region"), "not KEY=VALUE"),
        (("east", "--cpu-per-node", "many"), "many"),
        (("east", "--nodes", "-1"), "--nodes"),
    ],
)
def test_bad_flags_are_told(tmp_path: Path, flags: tuple[str, ...], told: str) -> None:
    assert told in Shell(tmp_path).sim("cluster", *flags, ok=False)
