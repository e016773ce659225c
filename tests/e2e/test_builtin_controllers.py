"""What Kubernetes' own controllers do, as kubectl shows it: in a workspace of a real server, and on a simulated cluster."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.processes import Kubectl, Process

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")]

WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {color: {type: string, description: Its color.}}}}
"""
WIDGET = """
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
spec: {color: red}
"""
ACCESS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: whole}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {part: "yes"}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: part, labels: {part: "yes"}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: bot}
---
apiVersion: v1
kind: Secret
metadata: {name: bot-token, annotations: {kubernetes.io/service-account.name: bot}}
type: kubernetes.io/service-account-token
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bot}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: whole}
subjects: [{kind: ServiceAccount, name: bot}]
"""
STATEFUL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: "postgres:1"}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl inside a fresh workspace."""
    directory = tmp_path_factory.mktemp("kcp")
    kcp = Process.start(["kcp", "start", "--root-directory=.kcp", "--secure-port=0", "--in-memory"], cwd=directory)
    try:
        kcp.wait_for_line("kcp is ready")
        kubectl = Kubectl(directory / ".kcp" / "admin.kubeconfig", directory)
        kubectl("ws", "create", "team", "--enter")
        yield kubectl
    finally:
        kcp.kill()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl on a simulated cluster."""
    directory = tmp_path_factory.mktemp("sim")
    east = Process.start(["kcp", "sim", "cluster", "east", "--nodes", "3"], cwd=directory)
    try:
        east.wait_for_line("Ctrl-C ends it")
        yield Kubectl(directory / "east.kubeconfig", directory)
    finally:
        east.kill()


def apply(kubectl: Kubectl, text: str) -> None:
    kubectl("apply", "-f", "-", stdin=text)


def refusal(kubectl: Kubectl, *arguments: str) -> str:
    done = kubectl.run(*arguments, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.fixture(params=["workspace", "cluster"])
def api(request: pytest.FixtureRequest) -> Kubectl:
    """Both kinds of server, one after the other."""
    kubectl: Kubectl = request.getfixturevalue(request.param)
    return kubectl


def test_a_crd_is_served_explained_waited_for_and_removed(api: Kubectl) -> None:
    apply(api, WIDGETS)
    api("wait", "--for=condition=Established", "--timeout=10s", "crd/widgets.example.com")
    assert "wd" in api("api-resources", "--api-group=example.com")
    assert "Its color." in api("explain", "widgets.spec.color")
    apply(api, WIDGET)
    assert "widget.example.com/one" in api("get", "wd", "-o", "name")
    api("delete", "crd", "widgets.example.com", "--timeout=10s")
    assert "NotFound" in refusal(api, "get", "--raw", "/apis/example.com/v1")


def test_quotas_and_limits_are_kept(api: Kubectl) -> None:
    api("create", "namespace", "small")
    api("create", "quota", "q", "--hard=count/configmaps=2,secrets=0", "-n", "small")
    api.until("get", "quota", "q", "-n", "small", is_right=lambda q: q.get("status", {}).get("used", {}).get("count/configmaps") == "1")
    api("create", "configmap", "a", "-n", "small")
    text = "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=2, limited: count/configmaps=2"
    assert f'configmaps "b" is forbidden: {text}' in refusal(api, "create", "configmap", "b", "-n", "small")
    api("delete", "configmap", "a", "-n", "small")
    api.until("get", "quota", "q", "-n", "small", is_right=lambda q: q.get("status", {}).get("used", {}).get("count/configmaps") == "1")
    api("create", "configmap", "b", "-n", "small")
    assert "count/configmaps  2     2" in api("describe", "quota", "q", "-n", "small")
    api("delete", "namespace", "small", "--timeout=20s")


def test_access_is_aggregated_and_granted_to_a_token_in_a_secret(api: Kubectl) -> None:
    apply(api, ACCESS)
    role = api.until("get", "clusterrole", "whole", is_right=lambda r: bool(r.get("rules")))
    assert role["rules"] == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    secret = api.until("get", "secret", "bot-token", is_right=lambda s: "token" in s.get("data", {}))
    assert base64.b64decode(secret["data"]["namespace"]) == b"default"
    token = base64.b64decode(secret["data"]["token"]).decode()
    server = api("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    plain = Kubectl(Path("/dev/null"), api.cwd, ("--server", server, "--insecure-skip-tls-verify", "--token", token))
    assert "kube-root-ca.crt" in plain("get", "configmaps")
    assert 'cannot list resource "secrets"' in refusal(plain, "get", "secrets")
    api("delete", "serviceaccount", "bot")
    api("wait", "--for=delete", "secret/bot-token", "--timeout=10s")


def test_the_default_roles_of_a_cluster_show_their_rules(cluster: Kubectl) -> None:
    role = cluster.until("get", "clusterrole", "admin", is_right=lambda r: bool(r.get("rules")))
    assert any("rolebindings" in rule.get("resources", ()) for rule in role["rules"])


def test_a_stateful_set_has_volumes_and_a_history(cluster: Kubectl) -> None:
    apply(cluster, STATEFUL)
    cluster("rollout", "status", "statefulset/db", "--timeout=20s")
    claims = cluster.json("get", "pvc")["items"]
    assert [(c["metadata"]["name"], c["status"]["phase"]) for c in claims] == [(f"data-db-{n}", "Bound") for n in range(3)]
    cluster("set", "image", "statefulset/db", "c=postgres:2")
    cluster("rollout", "status", "statefulset/db", "--timeout=20s")
    assert cluster("rollout", "history", "statefulset/db").splitlines()[2:] == ["1         <none>", "2         <none>"]
    cluster("rollout", "undo", "statefulset/db")
    cluster("rollout", "status", "statefulset/db", "--timeout=20s")
    images = {p["spec"]["containers"][0]["image"] for p in cluster.json("get", "pods", "-l", "app=db")["items"]}
    assert images == {"postgres:1"}


def test_a_drain_keeps_to_the_disruption_budget(cluster: Kubectl) -> None:
    cluster("create", "deployment", "web", "--image=nginx", "--replicas=3")
    cluster("rollout", "status", "deployment/web", "--timeout=20s")
    cluster("create", "pdb", "web", "--selector=app=web", "--min-available=3")
    cluster.until("get", "pdb", "web", is_right=lambda b: b.get("status", {}).get("currentHealthy") == 3)
    node = cluster.json("get", "pods", "-l", "app=web")["items"][0]["spec"]["nodeName"]
    drain = ("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=web")
    assert "Cannot evict pod as it would violate the pod's disruption budget" in refusal(cluster, *drain, "--timeout=3s")
    cluster("delete", "pdb", "web")
    cluster("create", "pdb", "web", "--selector=app=web", "--min-available=2")
    cluster(*drain, "--timeout=30s")
    pods = cluster.json("get", "pods", "-l", "app=web")["items"]
    assert node not in {p["spec"].get("nodeName") for p in pods if "deletionTimestamp" not in p["metadata"]}
    cluster("uncordon", node)


def test_cron_jobs_run_when_told(cluster: Kubectl) -> None:
    cluster("create", "cronjob", "tick", "--image=busybox", "--schedule=* * * * *", "--", "date")
    assert "61 * * * *" in refusal(cluster, "create", "cronjob", "bad", "--image=busybox", "--schedule=61 * * * *")
    cluster("create", "job", "once", "--from=cronjob/tick")
    cluster("wait", "--for=condition=Complete", "job/once", "--timeout=20s")
    jobs = cluster.until("get", "jobs", is_right=lambda found: len(found["items"]) > 1, timeout_s=75)
    assert {j["metadata"]["ownerReferences"][0]["name"] for j in jobs["items"]} == {"tick"}
    assert json.loads(cluster("get", "cronjob", "tick", "-o", "json"))["status"]["lastScheduleTime"]
