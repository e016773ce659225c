"""Certificates made by `kcp certs`: the server shows them, a syncer proves itself with its own instead of a token, and a renewal is taken up by
the running server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import EXAMPLES, Fleet
from tests.e2e.processes import Process, eventually

pytestmark = pytest.mark.e2e


def run(directory: Path, *command: str, code: int = 0) -> str:
    process = Process.start(["kcp", "certs", *command], cwd=directory)
    assert process.popen.wait(60) == code, process.output
    assert process.reader is not None
    process.reader.join()
    return process.output


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    shown = ("--tls-cert-file=certs/kcp-server.crt", "--tls-private-key-file=certs/kcp-server.key", "--client-ca-file=certs/ca.crt")
    started = Fleet(tmp_path, kcp_flags=("--enable-tmc", "--v=2", "--tls-min-version=VersionTLS13", *shown))
    try:
        yield started
    finally:
        started.stop()


def test_a_syncer_with_a_certificate_syncs_and_a_renewed_certificate_is_served_without_restart(fleet: Fleet) -> None:
    directory = fleet.directory
    assert "5 made in certs" in run(directory, "init", "--host=127.0.0.1,localhost")
    assert "all good" in run(directory, "check")
    fleet.start_cluster("east", wait=False)
    fleet.start_kcp()
    fleet.kubectl("ws", "create", "hello-world", "--enter")
    fleet.clusters["east"].wait_for_line("serves")
    fleet.kubectl("apply", "-f", str(EXAMPLES / "synctarget-east.yaml"))
    fleet.kubectl("kcp", "workload", "sync", "east", "--syncer-image=none", "--output-file=manifest.yaml")
    names = [item["metadata"]["name"] for item in fleet.kubectl.json("get", "clusterroles")["items"]]
    (role,) = [name for name in names if name.startswith("kcp-syncer-east")]
    entry = "--clusterrole=system:kcp:workspace:access"
    fleet.kubectl("create", "clusterrolebinding", "syncer-client-enters", entry, "--user=syncer-client")
    fleet.kubectl("create", "clusterrolebinding", "syncer-client", f"--clusterrole={role}", "--user=syncer-client")
    access = yaml.safe_load((directory / ".kcp" / "admin.kubeconfig").read_text())
    proof = {"client-certificate": "certs/syncer-client.crt", "client-key": "certs/syncer-client.key"}
    access["users"] = [{"name": "syncer", "user": proof}]
    access["contexts"] = [{"name": "kcp", "context": {"cluster": access["contexts"][0]["context"]["cluster"], "user": "syncer"}}]
    access["current-context"] = "kcp"
    (directory / "syncer.kubeconfig").write_text(yaml.safe_dump(access))
    command = fleet.syncer_command("east", kcp_kubeconfig="syncer.kubeconfig")
    fleet.syncers["east"] = Process.start(command, cwd=directory)
    fleet.wait_target("east", ready=True)

    before = ssl.get_server_certificate(("127.0.0.1", fleet.kcp_port))
    assert "4 renewed" in run(directory, "renew", "--all")
    eventually(
        lambda: ssl.get_server_certificate(("127.0.0.1", fleet.kcp_port)) != before, timeout_s=20, what=lambda: "the new certificate"
    )
    fleet.kubectl("get", "synctargets")
    metrics = fleet.kubectl("get", "--raw", "/metrics", "--server", fleet.url)
    assert 'kcp_certificate_expiration_timestamp_seconds{certificate="serving"}' in metrics
    (directory / "certs" / "etcd.key").unlink()
    assert "its key is not there" in run(directory, "check", code=1)
