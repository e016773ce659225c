"""The issue's user story B, line by line: each program in its own process, the real kubectl over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.processes import Kubectl, Process, eventually, free_port

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"
TMC_FLAGS = (
    "--enable-tmc",
    "--tmc-error-handling=true",
    "--tmc-health-monitoring=true",
    "--tmc-metrics=true",
    "--tmc-recovery=true",
    "--v=2",
)


@dataclass
class Fleet:
    """One control plane with two clusters and their syncers, in a directory of its own."""

    directory: Path
    kcp: Process
    clusters: dict[str, Process]
    syncers: dict[str, Process]

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.directory / ".kcp" / "admin.kubeconfig", self.directory)

    def downstream(self, name: str) -> Kubectl:
        return Kubectl(self.directory / f"{name}.kubeconfig", self.directory)

    def start_syncer(self, name: str) -> Process:
        uid = self.kubectl("get", "synctarget", name, "-o", "jsonpath={.metadata.uid}")
        started = Process.start(
            [
                "workload-syncer", f"--sync-target-name={name}", f"--sync-target-uid={uid}", "--workspace-cluster=root:hello-world",
                "--kcp-kubeconfig=.kcp/admin.kubeconfig", f"--cluster-kubeconfig={name}.kubeconfig", "--v=2",
            ],
            cwd=self.directory,
        )  # fmt: skip
        self.syncers[name] = started
        return started

    def stop(self) -> None:
        for process in [*self.syncers.values(), *self.clusters.values(), self.kcp]:
            process.kill()


def start_cluster(directory: Path, name: str) -> Process:
    process = Process.start(
        [
            "kcp", "sim", "cluster", name, "--port", str(free_port()), "--nodes", "3", "--labels", f"region={name}",
            "--kubeconfig-out", f"{name}.kubeconfig",
        ],
        cwd=directory,
    )  # fmt: skip
    eventually(lambda: (directory / f"{name}.kubeconfig").exists(), timeout_s=20, what=lambda: process.output, alive=process)
    return process


def start_kcp(directory: Path, port: int) -> Process:
    process = Process.start(["kcp", "start", "--root-directory=.kcp", f"--secure-port={port}", *TMC_FLAGS], cwd=directory)
    process.wait_for_line("kcp is ready")
    return process


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    kcp = start_kcp(directory, free_port())
    started = Fleet(directory, kcp, {}, {})
    try:
        for name in ("east", "west"):
            started.clusters[name] = start_cluster(directory, name)
        kubectl = started.kubectl
        kubectl("ws", "create", "hello-world", "--enter")
        for name in ("east", "west"):
            kubectl("apply", "-f", str(EXAMPLES / f"synctarget-{name}.yaml"))
            started.start_syncer(name)
        yield started
    finally:
        started.stop()


def ready_replicas(deployment: Any) -> int:
    found: int = (deployment.get("status") or {}).get("readyReplicas", 0)
    return found


def replicas_below(fleet: Fleet, name: str) -> int:
    found = fleet.downstream(name).json("get", "deployments", "-A", "--field-selector=metadata.namespace!=kube-system")["items"]
    return sum(d["spec"]["replicas"] for d in found)


def is_ready(obj: Any) -> bool:
    conditions = {c["type"]: c for c in (obj.get("status") or {}).get("conditions", [])}
    return bool(conditions.get("Ready", {}).get("status") == "True")


def test_1_the_workspace_is_entered(fleet: Fleet) -> None:
    assert fleet.kubectl(
        "ws", "current"
    ) == 'Current workspace is "root:hello-world" (type root:universal).' or "root:hello-world" in fleet.kubectl("ws", "current", "--short")


def test_2_sync_targets_become_ready(fleet: Fleet) -> None:
    for name in ("east", "west"):
        fleet.kubectl.until("get", "synctarget", name, is_right=is_ready)


def test_3_the_example_runs_on_both_clusters_and_reports_back(fleet: Fleet) -> None:
    fleet.kubectl("apply", "-f", str(EXAMPLES / "01-hello-world"))
    fleet.kubectl.until("get", "deployment", "hello-world", is_right=lambda d: ready_replicas(d) == 3)
    assert sorted(replicas_below(fleet, name) for name in ("east", "west")) == [1, 2]
    for name in ("east", "west"):
        below = fleet.downstream(name)
        pods = [p for p in below.json("get", "pods", "-A")["items"] if p["metadata"]["labels"].get("app") == "hello-world"]
        assert {p["status"]["phase"] for p in pods} == {"Running"}
        assert any(s["metadata"]["name"] == "hello-world" for s in below.json("get", "services", "-A")["items"])
        assert any(c["metadata"]["name"] == "hello-config" for c in below.json("get", "configmaps", "-A")["items"])


def test_4_tables_are_readable(fleet: Fleet) -> None:
    table = fleet.kubectl("get", "synctargets,placements")
    assert "synctarget.workload.kcp.io/east" in table
    assert "placement.scheduling.kcp.io/hello-world" in table
    wide = fleet.kubectl("get", "deployment", "hello-world", "-o", "wide")
    assert "3/3" in wide
    assert "nginx:1.27" in wide
    described = fleet.kubectl("describe", "deployment", "hello-world")
    assert "runs on east, west" in described or "AllClustersReported" in described


def test_5_the_placement_says_why(fleet: Fleet) -> None:
    decisions = fleet.kubectl.json("get", "placement", "hello-world")["status"]["decisions"]
    assert {d["syncTarget"]: d["chosen"] for d in decisions} == {"east": True, "west": True}
    assert all(d["message"] for d in decisions)


def test_6_scaling_spreads_again(fleet: Fleet) -> None:
    fleet.kubectl("scale", "deployment", "hello-world", "--replicas=6")
    fleet.kubectl.until("get", "deployment", "hello-world", is_right=lambda d: ready_replicas(d) == 6)
    assert [replicas_below(fleet, name) for name in ("east", "west")] == [3, 3]
    assert "successfully rolled out" in fleet.kubectl("rollout", "status", "deployment/hello-world", "--timeout=30s")


def test_7_drift_downstream_is_corrected(fleet: Fleet) -> None:
    below = fleet.downstream("east")
    namespace = next(
        d["metadata"]["namespace"]
        for d in below.json("get", "deployments", "-A", "--field-selector=metadata.namespace!=kube-system")["items"]
    )
    below("scale", "deployment", "hello-world", "-n", namespace, "--replicas=1")
    below.until("get", "deployment", "hello-world", "-n", namespace, is_right=lambda d: d["spec"]["replicas"] == 3)


def test_8_a_killed_syncer_catches_up(fleet: Fleet) -> None:
    fleet.syncers["west"].kill()
    fleet.kubectl("scale", "deployment", "hello-world", "--replicas=4")
    fleet.start_syncer("west")
    fleet.kubectl.until("get", "deployment", "hello-world", is_right=lambda d: ready_replicas(d) == 4 and d["status"].get("replicas") == 4)


def test_9_deleting_removes_it_on_both_sides(fleet: Fleet) -> None:
    fleet.kubectl("delete", "-f", str(EXAMPLES / "01-hello-world" / "deployment.yaml"), "--timeout=60s")
    for name in ("east", "west"):
        eventually(lambda name=name: replicas_below(fleet, name) == 0, timeout_s=20, what=lambda: "deletion downstream")  # type: ignore[misc]
    assert fleet.kubectl.run("get", "deployment", "hello-world", check=False).returncode != 0


def test_a_dead_cluster_makes_its_sync_target_not_ready_with_a_reason(fleet: Fleet) -> None:
    fleet.clusters["east"].stop()

    def is_unreachable(target: Any) -> bool:
        conditions = {c["type"]: c for c in target["status"]["conditions"]}
        return bool(conditions["Ready"]["status"] == "False" and conditions["Ready"]["reason"] == "ClusterUnreachable")

    fleet.kubectl.until("get", "synctarget", "east", is_right=is_unreachable, timeout_s=15)
    placement = fleet.kubectl.until(
        "get", "placement", "hello-world", is_right=lambda p: any("KeptWhileUnready" == d["reason"] for d in p["status"]["decisions"])
    )
    assert {d["syncTarget"] for d in placement["status"]["decisions"] if d["chosen"]} == {"east", "west"}


def test_b_a_killed_control_plane_comes_back_with_everything(fleet: Fleet) -> None:
    port = int(fleet.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}").rpartition(":")[2].partition("/")[0])
    before = {o["metadata"]["uid"] for o in fleet.kubectl.json("get", "synctargets")["items"]}
    fleet.kcp.kill()
    fleet.kcp = start_kcp(fleet.directory, port)
    fleet.kubectl("ws", "use", "root:hello-world")
    after = {o["metadata"]["uid"] for o in fleet.kubectl.json("get", "synctargets")["items"]}
    assert after == before
    fleet.kubectl("apply", "-f", str(EXAMPLES / "01-hello-world"))
    fleet.kubectl.until("get", "deployment", "hello-world", is_right=lambda d: ready_replicas(d) >= 1)
