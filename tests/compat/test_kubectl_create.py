"""`kubectl create` and its like, whose bodies are protobuf: the real kubectl against a workspace and against a simulated cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.e2e.processes import Kubectl, Process, free_port

pytestmark = pytest.mark.e2e

PROTOBUF = "application/vnd.kubernetes.protobuf"

ANYWHERE = (
    ("create configmap settings --from-literal=colour=red --from-file=binary.dat", "configmap/settings", "{.data.colour}", "red"),
    ("create secret generic password --from-literal=password=hunter2", "secret/password", "{.data.password}", "aHVudGVyMg=="),
    ("create secret tls certificate --cert=tls.crt --key=tls.key", "secret/certificate", "{.type}", "kubernetes.io/tls"),
    (
        "create secret docker-registry registry --docker-server=example.com --docker-username=u --docker-password=p",
        "secret/registry",
        "{.type}",
        "kubernetes.io/dockerconfigjson",
    ),
    ("create serviceaccount robot", "serviceaccount/robot", "{.metadata.name}", "robot"),
    ("create namespace team-a", "namespace/team-a", "{.status.phase}", "Active"),
    ("create quota limits --hard=requests.storage=1.5Gi", "resourcequota/limits", "{.spec.hard.requests\\.storage}", "1536Mi"),
    ("create role reader --verb=get,list --resource=configmaps", "role/reader", "{.rules[0].verbs}", '["get","list"]'),
    ("create rolebinding readers --role=reader --user=alice --group=g", "rolebinding/readers", "{.subjects[*].name}", "alice g"),
    (
        "create clusterrole watcher --verb=get --non-resource-url=/metrics",
        "clusterrole/watcher",
        "{.rules[0].nonResourceURLs[0]}",
        "/metrics",
    ),
    ("create clusterrolebinding watchers --clusterrole=watcher --user=bob", "clusterrolebinding/watchers", "{.roleRef.name}", "watcher"),
)
WORKLOADS = (
    ("create deployment web --image=nginx --replicas=2 --port=8080", "deployment/web", "{.spec.replicas}", "2"),
    ("create service clusterip web --tcp=80:8080", "service/web", "{.spec.ports[0].targetPort}", "8080"),
    ("create ingress web --rule=example.com/=web:80", "ingress/web", "{.spec.rules[0].host}", "example.com"),
    ("create job once --image=busybox -- true", "job/once", "{.spec.template.spec.containers[0].command[0]}", "true"),
    ("create cronjob nightly --image=busybox --schedule=@daily", "cronjob/nightly", "{.spec.schedule}", "@daily"),
    ("create poddisruptionbudget web --selector=app=web --min-available=50%", "pdb/web", "{.spec.minAvailable}", "50%"),
)
CLUSTER_ONLY = (("create priorityclass high --value=1000", "priorityclass/high", "{.value}", "1000"),)


def rows(*tables: tuple[tuple[str, str, str, str], ...]) -> list[Any]:
    return [pytest.param(*row, id=row[1]) for table in tables for row in table]


def prepare(directory: Path) -> None:
    """The files that commands name."""
    (directory / "binary.dat").write_bytes(b"\x00\xff\xfe")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=20_000)).sign(key, hashes.SHA256())
    (directory / "tls.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A workspace with Kubernetes' workload kinds bound."""
    directory = tmp_path_factory.mktemp("workspace")
    prepare(directory)
    command = ["kcp", "start", "--root-directory=.kcp", "--in-memory", "--enable-tmc", f"--secure-port={free_port()}"]
    process = Process.start(command, cwd=directory)
    try:
        process.wait_for_line("kcp is ready")
        kubectl = Kubectl(directory / ".kcp" / "admin.kubeconfig", directory)
        kubectl("ws", "create", "team", "--enter")
        kubectl.until("get", "namespace", "default", is_right=lambda found: found["status"]["phase"] == "Active")
        kubectl.until("get", "deployments", is_right=lambda found: found["items"] == [])
        yield kubectl
    finally:
        process.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A simulated physical cluster."""
    directory = tmp_path_factory.mktemp("cluster")
    prepare(directory)
    process = Process.start(["kcp", "sim", "cluster", "east", "--port", str(free_port()), "--nodes", "1"], cwd=directory)
    try:
        process.wait_for_line("serves")
        yield Kubectl(directory / "east.kubeconfig", directory)
    finally:
        process.kill()


def check(kubectl: Kubectl, command: str, name: str, path: str, wanted: str) -> None:
    """The command sends protobuf, gets protobuf, and the object is as it should be."""
    done = kubectl.run("-v=8", *command.split(), check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(rf"Content-Type: {PROTOBUF}", done.stderr)) == 2, "the body and the answer"
    assert "Response Status: 201" in done.stderr
    assert kubectl("get", name, "-o", f"jsonpath={path}") == wanted


@pytest.mark.parametrize(("command", "name", "path", "wanted"), rows(ANYWHERE, WORKLOADS))
def test_create_in_a_workspace(workspace: Kubectl, command: str, name: str, path: str, wanted: str) -> None:
    check(workspace, command, name, path, wanted)


@pytest.mark.parametrize(("command", "name", "path", "wanted"), rows(ANYWHERE, WORKLOADS, CLUSTER_ONLY))
def test_create_in_a_cluster(cluster: Kubectl, command: str, name: str, path: str, wanted: str) -> None:
    check(cluster, command, name, path, wanted)


@pytest.fixture(params=["workspace", "cluster"])
def kubectl(request: pytest.FixtureRequest) -> Kubectl:
    found: Kubectl = request.getfixturevalue(request.param)
    return found


def test_binary_data_arrives_as_it_was(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "binary", "--from-file=binary.dat")
    assert kubectl("get", "configmap", "binary", "-o", "jsonpath={.binaryData.binary\\.dat}") == "AP/+"


def test_a_token_is_issued(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "caller")
    token = kubectl("create", "token", "caller", "--duration=20m", "--audience=x")
    assert token.count(".") == 2


def test_what_one_may_do_is_told(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "configmaps") == "yes"
    assert "*.*" in kubectl("auth", "can-i", "--list")
    assert kubectl.json("auth", "whoami")["status"]["userInfo"]["username"]


def test_creating_twice_is_refused_in_words(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "twice")
    done = kubectl.run("create", "configmap", "twice", check=False)
    assert (done.returncode, done.stderr.strip()) == (1, 'error: failed to create configmap: configmaps "twice" already exists')


def test_dry_run_on_the_server_writes_nothing(kubectl: Kubectl) -> None:
    assert kubectl("create", "configmap", "dry", "--dry-run=server", "-o", "jsonpath={.metadata.namespace}") == "default"
    assert kubectl.run("get", "configmap", "dry", check=False).returncode == 1


def test_an_invalid_object_is_refused_in_words(kubectl: Kubectl) -> None:
    done = kubectl.run("create", "serviceaccount", "UPPER", check=False)
    assert done.returncode == 1
    assert 'ServiceAccount "UPPER" is invalid: metadata.name: Invalid value: "UPPER"' in done.stderr


def test_verbs_of_a_running_cluster(cluster: Kubectl) -> None:
    """Scale, Eviction and DeleteOptions as typed clients send them."""
    cluster("create", "deployment", "busy", "--image=nginx", "--replicas=2")
    cluster("scale", "deployment", "busy", "--replicas=3")
    cluster.until("get", "deployment", "busy", is_right=lambda found: found.get("status", {}).get("readyReplicas") == 3, timeout_s=60)
    node = cluster("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    cluster("delete", "poddisruptionbudgets", "--all")  # what other tests budgeted would rightly stop the drain
    drained = cluster("drain", node, "--ignore-daemonsets", "--force", "--timeout=60s")
    assert f"node/{node} drained" in drained
    cluster("uncordon", node)
    cluster("delete", "deployment", "busy", "--cascade=foreground")
