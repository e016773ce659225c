"""Snapshots and migration of a control plane that people use: kubectl finds every object with its uid and version again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.e2e.processes import Kubectl, Process, free_port
from tests.etcd import Etcd

pytestmark = pytest.mark.e2e


def start(directory: Path, *flags: str) -> Process:
    process = Process.start(["kcp", "start", f"--secure-port={free_port()}", *flags], cwd=directory)
    process.wait_for_line("kcp is ready")
    return process


def run(directory: Path, *command: str, code: int = 0) -> str:
    process = Process.start(["kcp", *command], cwd=directory)
    assert process.popen.wait(60) == code, process.output
    assert process.reader is not None
    process.reader.join()
    return process.output


def test_a_control_plane_comes_back_from_a_snapshot_and_moves_to_etcd_and_back(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    server = start(first)
    kubectl = Kubectl(first / ".kcp" / "admin.kubeconfig", first)
    kubectl("create", "workspace", "team", "--enter")
    kubectl("create", "configmap", "kept", "--from-literal=a=b")
    kept = kubectl.json("get", "configmap", "kept")["metadata"]
    (tmp_path / "backups").mkdir()
    assert "objects" in run(first, "snapshot", "save", "../backups", "--keep=2")
    kubectl("create", "configmap", "too-late")
    server.stop()
    (snapshot,) = (tmp_path / "backups").iterdir()
    assert "whole" in run(first, "snapshot", "verify", str(snapshot))
    assert snapshot.name in run(first, "snapshot", "list", "../backups")

    assert "Start the server" in run(second, "snapshot", "restore", str(snapshot))
    assert "move it away first" in run(second, "snapshot", "restore", str(snapshot), code=1)
    for secret in ("pki", ".admin-token-store"):
        copy = shutil.copytree if (first / ".kcp" / secret).is_dir() else shutil.copy
        copy(first / ".kcp" / secret, second / ".kcp" / secret)

    def check(*flags: str) -> None:
        server = start(second, *flags)
        kubectl = Kubectl(second / ".kcp" / "admin.kubeconfig", second)
        kubectl("ws", "root:team")
        found = kubectl.json("get", "configmap", "kept")["metadata"]
        assert (found["uid"], found["resourceVersion"]) == (kept["uid"], kept["resourceVersion"])
        assert "NotFound" in kubectl.run("get", "configmap", "too-late", check=False).stderr
        server.stop()

    check()
    etcd = Etcd(tmp_path).start()
    try:
        servers = f"--etcd-servers={etcd.endpoints[0]}"
        assert "Next: kcp start" in run(second, "storage", "migrate", "--from=sqlite", "--to=etcd", servers)
        check(servers)
        (second / ".kcp" / "kcp.db").rename(second / "old.db")
        assert "Next: kcp start" in run(second, "storage", "migrate", "--from=etcd", "--to=sqlite", servers)
    finally:
        etcd.stop()
    check()
