"""`workload-syncer` as a process: told by a file, asked over HTTP how it fares, with its cluster there and away."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from tests.e2e.fleet import WORKSPACE, Fleet
from tests.e2e.processes import Process, eventually, free_port

pytestmark = pytest.mark.e2e


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(tmp_path)
    try:
        yield started
    finally:
        started.stop()


def asked(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def test_a_syncer_told_by_a_file_says_how_it_fares(fleet: Fleet) -> None:
    fleet.start(("east",))
    fleet.syncers["east"].stop()
    metrics, health = free_port(), free_port()
    uid = fleet.at(WORKSPACE)("get", "synctarget", "east", "-o", "jsonpath={.metadata.uid}")
    (fleet.directory / "syncer.yaml").write_text(
        f"""
        syncTarget: {{name: east, uid: {uid}, workspace: {WORKSPACE}}}
        kubeconfig: {{kcp: .kcp/admin.kubeconfig, cluster: east.kubeconfig}}
        performance: {{workers: 4, resyncPeriod: 5s}}
        sync: {{heartbeatPeriod: 1s}}
        logging: {{format: json, file: syncer.log}}
        metrics: {{bindAddress: "127.0.0.1:{metrics}"}}
        health: {{bindAddress: "127.0.0.1:{health}"}}
        """
    )
    fleet.syncers["east"] = Process.start(["workload-syncer", "--config=syncer.yaml"], cwd=fleet.directory)
    eventually(lambda: asked(health, "/readyz") == (200, "ok"), timeout_s=20, what=lambda: f"ready: {asked(health, '/readyz')}")
    assert asked(health, "/healthz") == (200, "ok")
    code, text = asked(health, "/health")
    report = json.loads(text)
    assert (code, report["status"], report["componentID"]) == (200, "Healthy", "syncer-east")
    assert report["details"]["resourceControllers"] >= 3
    _, shown = asked(metrics, "/metrics")
    assert 'syncer_connection_status{sync_target="east",target="cluster",workspace="root:hello-world"} 1.0' in shown
    assert "syncer_resource_controllers" in shown
    assert f'rest_client_requests_total{{code="200",host="127.0.0.1:{fleet.kcp_port}",method="GET"}}' in shown, shown
    assert asked(metrics, "/healthz")[0] == 404
    fleet.clusters["east"].kill()
    eventually(lambda: asked(health, "/readyz")[0] == 503, timeout_s=20, what=lambda: "readyz to fail")
    assert "cluster cannot be reached" in asked(health, "/readyz")[1]
    assert asked(health, "/healthz")[0] == 200, "starting it again would not bring the cluster back"
    first = (fleet.directory / "syncer.log").read_text().splitlines()[0]
    assert {"ts", "level", "msg"} <= json.loads(first).keys()
    assert fleet.syncers["east"].output == "", "the log goes to the file alone"


def test_of_two_processes_for_one_target_one_serves_until_it_is_gone(fleet: Fleet) -> None:
    fleet.start(("east",))
    first = fleet.at(WORKSPACE)("get", "synctarget", "east", "-o", "jsonpath={.status.syncerLease.holder}")
    assert first
    second = Process.start(fleet.syncer_command("east", heartbeat_period="1s", lease_duration="3s"), cwd=fleet.directory)
    try:
        second.wait_for_line(f"served by {first}; standing by")
        fleet.syncers["east"].stop()
        second.wait_for_line("serving SyncTarget east as")
        fleet.at(WORKSPACE)("create", "configmap", "late", "--from-literal=a=b")
        fleet.at(WORKSPACE)("apply", "-f", "-", stdin=PLACEMENT)
        fleet.below("east").until(
            "get", "configmaps", "-A", is_right=lambda found: any(m["metadata"]["name"] == "late" for m in found["items"])
        )
    finally:
        second.kill()


PLACEMENT = json.dumps({"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "all"}, "spec": {}})
