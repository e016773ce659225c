"""kubectl commands that go over every kind, or over every way to ask: on a simulated cluster and in a workspace.

What is expected is what kubernetes.io/docs/reference/kubectl documents (test/cmd of kubernetes/kubernetes walks the same ways).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.compat.servers import WORKLOAD, Server
from tests.e2e.processes import Kubectl, Process

pytestmark = pytest.mark.e2e

ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: all}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
"""


@pytest.fixture(params=["cluster", "workspace"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_every_kind_is_listed_and_described_without_complaint(server: Server) -> None:
    kubectl = server.kubectl()
    kinds = kubectl("api-resources", "--verbs=list", "-o", "name").split()
    assert "configmaps" in kinds
    told = [kind for kind in kinds if kind not in ("ipaddresses.networking.k8s.io", "servicecidrs.networking.k8s.io")]
    # kubectl 1.32 describes those by their beta version, which 1.36 does not serve
    for words, which in ((("get", "-o", "wide"), kinds), (("describe",), told), (("get", "-o", "yaml"), kinds)):
        done = kubectl.run(words[0], ",".join(which), "-A", *words[1:])
        assert [line for line in done.stderr.splitlines() if not line.startswith(("Warning: v1 ", "No resources found"))] == []
    for kind in kinds[::8]:
        if kind != "events.events.k8s.io":  # kubectl takes the rest for a field
            assert "FIELDS:" in kubectl("explain", kind)


@pytest.mark.parametrize(
    ("flags", "user"),
    [
        (("--as=jane",), {"username": "jane", "groups": ["system:authenticated"]}),
        (("--as=jane", "--as-group=b", "--as-group=,,,a"), {"username": "jane", "groups": ["b", ",,,a", "system:authenticated"]}),
        (("--as=jane", "--as-uid=7"), {"username": "jane", "uid": "7", "groups": ["system:authenticated"]}),
    ],
)
def test_impersonation_is_who_it_says(server: Server, flags: tuple[str, ...], user: dict[str, Any]) -> None:
    """Source: apiserver/pkg/endpoints/filters/impersonation."""
    kubectl = server.kubectl()
    # Of a control plane only system:masters may be whoever they like; the administrator of the workspaces is none of them.
    context = ("--context=shard-base",) if "shard-base" in kubectl("config", "get-contexts", "-o", "name").split() else ()
    found = kubectl.json("auth", "whoami", "--as-group=system:masters", *context, *flags)["status"]["userInfo"]
    assert found == {**user, "groups": ["system:masters", *user["groups"]]}


DRY_RUNS = """
create configmap c
create secret generic s --from-literal=a=b
create namespace n
create serviceaccount a
create role r --verb=get --resource=secrets
create rolebinding b --role=r --user=u
create clusterrole cr --verb=get --resource=secrets
create clusterrolebinding cb --clusterrole=admin --user=u
create quota q --hard=secrets=1
label cm kube-root-ca.crt a=b
annotate cm kube-root-ca.crt a=b
delete cm kube-root-ca.crt
"""


def test_a_dry_run_on_the_server_answers_and_changes_nothing(server: Server) -> None:
    kubectl = server.namespace("dry")
    look = ("get", "cm,secret,sa,role,rolebinding,resourcequota", "-o", "json")
    before = kubectl(*look)
    for words in DRY_RUNS.strip().splitlines():
        assert "(server dry run)" in kubectl(*words.split(), "--dry-run=server"), words
    assert kubectl(*look) == before


def test_raw_bodies_are_created_replaced_and_deleted(cluster: Server) -> None:
    """Not in a workspace: with --raw kubectl leaves out the path of its server."""
    everywhere = cluster.namespace("raw")
    maps = f"/api/v1/namespaces/{everywhere.flags[1]}/configmaps"
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "raw"}}
    everywhere("create", "--raw", maps, "-f", "-", stdin=json.dumps(made))
    changed = json.loads(everywhere("replace", "--raw", f"{maps}/raw", "-f", "-", stdin=json.dumps({**made, "data": {"a": "b"}})))
    assert (changed["data"], bool(changed["metadata"]["uid"])) == ({"a": "b"}, True)
    everywhere("delete", "--raw", f"{maps}/raw")
    assert 'configmaps "raw" not found' in everywhere.run("get", "cm", "raw", check=False).stderr
    refused = everywhere.run("create", "--raw", "/api/v1/namespaces", "-f", "-", stdin="kind: Pod", check=False)
    assert "the object provided is unrecognized (must be of type Namespace)" in refused.stderr


@contextmanager
def proxied(kubectl: Kubectl, *flags: str) -> Iterator[str]:
    words = ["/usr/bin/env", "kubectl", "--kubeconfig", str(kubectl.kubeconfig), "proxy", "--port=0", *flags]
    process = Process.start(words, cwd=kubectl.cwd)
    try:
        yield "http://" + process.wait_for_line("Starting to serve").rpartition(" ")[2]
    finally:
        process.kill()


@pytest.mark.parametrize(("flags", "prefix"), [(("--www=.",), ""), (("--api-prefix=/custom",), "/custom")])
def test_kubectl_proxy(cluster: Server, flags: tuple[str, ...], prefix: str) -> None:
    with proxied(cluster.kubectl(), *flags) as address:
        for path, wanted in (("/api/kubernetes", "404"), ("/api/v1/namespaces", "200"), ("/metrics", "200"), ("/healthz", "200")):
            words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address + prefix + path]
            assert subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout == wanted, path


def test_watches_end_with_their_time_and_show_what_happens(cluster: Server) -> None:
    kubectl = cluster.namespace("watches")
    kubectl("apply", "-f", "-", stdin=WORKLOAD)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    shown = kubectl("get", "pods", "-w", "--request-timeout=1")
    assert shown.count("Running") == 2
    assert kubectl("get", "pods", "-o", "name", "-w", "--request-timeout=1").count("pod/web-") == 2
    events = kubectl("get", "cm", "-w", "--output-watch-events", "--request-timeout=1").splitlines()
    assert [line.split()[0] for line in events] == ["EVENT", "ADDED", "ADDED"]
    assert kubectl("get", "cm", "--chunk-size=1", "--watch-only", "--request-timeout=1") == ""
    assert '"nope" not found' in kubectl.run("get", "pod/nope", "-w", "--request-timeout=1", check=False).stderr
    assert kubectl("events", "--for=deployment/web", "--watch", "--request-timeout=1").count("ScalingReplicaSet") == 1


def test_a_role_of_everything_is_reconciled_and_listed(cluster: Server) -> None:
    everywhere = cluster.namespace("roles")
    namespaced = ROLES.replace("name: all", f"name: all, namespace: {everywhere.flags[1]}")
    assert "reconciled" in everywhere("auth", "reconcile", "-f", "-", stdin=namespaced)
    everywhere("create", "rolebinding", "all", "--role=all", "--user=jane")
    assert everywhere("auth", "can-i", "delete", "configmaps", "--as=jane") == "yes"
    assert everywhere.run("auth", "can-i", "delete", "namespaces", "-n", "default", "--as=jane", check=False).stdout == "no\n"
    assert "*.*" in everywhere("auth", "can-i", "--list", "--as=jane")
