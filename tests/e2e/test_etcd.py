"""A control plane whose objects are in etcd, used with kubectl: what one life of it has written, the next one serves."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.e2e.processes import Kubectl, Process, free_port
from tests.etcd import Etcd

pytestmark = pytest.mark.e2e


def start(directory: Path, etcd: Etcd) -> Process:
    servers = ",".join(etcd.endpoints)
    process = Process.start(["kcp", "start", f"--secure-port={free_port()}", f"--etcd-servers={servers}", "--enable-tmc"], cwd=directory)
    process.wait_for_line("kcp is ready")
    return process


def test_workspaces_and_objects_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path).start()
    try:
        process = start(tmp_path, etcd)
        kubectl = Kubectl(tmp_path / ".kcp" / "admin.kubeconfig", tmp_path)
        kubectl("create", "workspace", "team", "--enter")
        kubectl("create", "configmap", "kept", "--from-literal=a=b")
        process.popen.send_signal(signal.SIGKILL)
        process.popen.wait(10)
        assert not (tmp_path / ".kcp" / "kcp.db").exists()
        process = start(tmp_path, etcd)
        kubectl("ws", "root:team")
        assert kubectl.json("get", "configmap", "kept")["data"] == {"a": "b"}
        process.stop()
    finally:
        etcd.stop()


def test_an_etcd_that_is_not_there_is_said_with_what_to_check(tmp_path: Path) -> None:
    process = Process.start(["kcp", "start", "--etcd-servers=http://127.0.0.1:1", "--etcd-request-timeout=1s"], cwd=tmp_path)
    process.wait_for_line("etcd does not answer")
    assert process.popen.wait(10) == 1
    process = Process.start(["kcp", "start", "--etcd-servers=127.0.0.1:1", "--etcd-username=me"], cwd=tmp_path)
    process.wait_for_line(r"--etcd-servers=127\.0\.0\.1:1: must be a URL such as https://10\.0\.0\.1:2379")
    process.wait_for_line("--etcd-username and --etcd-password-file: give both or none")
    process.popen.wait(10)
