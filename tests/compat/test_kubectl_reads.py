"""kubectl reads a simulated cluster: get in all forms, watch, describe, explain, api-resources, events, raw paths, errors.

What is expected is what kubernetes.io/docs/reference/kubectl documents and a cluster of kubeadm answers.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
import yaml
from tests.compat.servers import WORKLOAD, Server
from tests.e2e.processes import Kubectl, Process

pytestmark = pytest.mark.e2e
KUBECTL = shutil.which("kubectl") or "kubectl"


@pytest.fixture(scope="module")
def app(cluster: Server) -> Kubectl:
    """A namespace in which a Deployment of two Pods runs."""
    kubectl = cluster.namespace("app")
    kubectl("apply", "-f", "-", stdin=WORKLOAD)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    return kubectl


def table(text: str) -> list[dict[str, str]]:
    """The rows of a table by column; columns are where the header says."""
    head, *lines = text.splitlines()
    heads = list(re.finditer(r"\S+(?: \S+)*", head))
    ends = [*(h.start() for h in heads[1:]), None]
    return [{h[0]: line[h.start() : end].strip() for h, end in zip(heads, ends, strict=True)} for line in lines]


def test_get_shows_the_columns_of_each_kind(app: Kubectl) -> None:
    assert [(r["READY"], r["STATUS"], r["RESTARTS"]) for r in table(app("get", "pods"))] == [("1/1", "Running", "0")] * 2
    (deployment,) = table(app("get", "deployments"))
    assert {**deployment, "AGE": ""} == {"NAME": "web", "READY": "2/2", "UP-TO-DATE": "2", "AVAILABLE": "2", "AGE": ""}
    (replica_set,) = table(app("get", "rs"))
    assert (replica_set["DESIRED"], replica_set["CURRENT"], replica_set["READY"]) == ("2", "2", "2")
    (service,) = table(app("get", "svc"))
    assert (service["TYPE"], service["EXTERNAL-IP"], service["PORT(S)"]) == ("ClusterIP", "<none>", "80/TCP")
    (secret,) = table(app("get", "secrets"))
    assert (secret["NAME"], secret["TYPE"], secret["DATA"]) == ("token", "Opaque", "1")
    assert all(r["STATUS"] == "Ready" and r["ROLES"] == "<none>" for r in table(app("get", "nodes")))
    assert [r["STATUS"] for r in table(app("get", "ns", "app"))] == ["Active"]


def test_get_wide_shows_more_columns(app: Kubectl) -> None:
    for row in table(app("get", "pods", "-o", "wide")):
        assert row["NODE"].startswith("east-node-")
        assert row["IP"].startswith("10.")
        assert row["NOMINATED NODE"] == row["READINESS GATES"] == "<none>"
    (deployment,) = table(app("get", "deployments", "-o", "wide"))
    assert (deployment["CONTAINERS"], deployment["IMAGES"], deployment["SELECTOR"]) == ("web", "nginx:1.25", "app=web")
    assert "INTERNAL-IP" in app("get", "nodes", "-o", "wide")


def test_get_several_kinds_and_all(app: Kubectl) -> None:
    names = app("get", "deploy,svc", "-o", "name")
    assert names.splitlines() == ["deployment.apps/web", "service/web"]
    everything = app("get", "all", "-o", "name").splitlines()
    assert [n for n in everything if not n.startswith(("pod/", "replicaset.apps/"))] == ["service/web", "deployment.apps/web"]
    assert len([n for n in everything if n.startswith("pod/")]) == 2


def test_get_in_every_output_form(app: Kubectl) -> None:
    as_json = app.json("get", "deployment", "web")
    assert yaml.safe_load(app("get", "deployment", "web", "-o", "yaml")) == as_json
    assert "managedFields" not in as_json["metadata"]
    shown = json.loads(app("get", "deployment", "web", "-o", "json", "--show-managed-fields"))
    assert {m["manager"] for m in shown["metadata"]["managedFields"]} == {"kubectl-client-side-apply", "kube-controller-manager"}
    assert app("get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running Running"
    assert app("get", "pods", "-o", 'jsonpath={range .items[*]}{.spec.containers[0].image}{"\\n"}{end}') == "nginx:1.25\nnginx:1.25"
    assert app("get", "svc", "web", "-o", "custom-columns=NAME:.metadata.name,PORT:.spec.ports[0].port") == "NAME   PORT\nweb    80"
    assert app("get", "svc", "web", "-o", "custom-columns=NAME:.metadata.name", "--no-headers") == "web"
    assert app("get", "svc", "web", "-o", "go-template={{.spec.type}}") == "ClusterIP"
    assert app("get", "svc", "web", "-o", "jsonpath-as-json={.spec.selector}") == '[\n    {\n        "app": "web"\n    }\n]'
    assert app.json("get", "cm")["kind"] == "List"


def test_get_with_labels_selectors_and_order(app: Kubectl) -> None:
    assert all("pod-template-hash=" in row["LABELS"] for row in table(app("get", "pods", "--show-labels")))
    assert [row["APP"] for row in table(app("get", "pods", "-L", "app"))] == ["web", "web"]
    assert app("get", "cm", "-l", "app=web", "-o", "name") == "configmap/settings"
    assert app("get", "cm", "-l", "app notin (web),!other", "-o", "name") == "configmap/kube-root-ca.crt"
    assert app("get", "cm", "-l", "app in (web,api),tier!=back", "-o", "name") == "configmap/settings"
    assert app("get", "cm", "--field-selector", "metadata.name=settings", "-o", "name") == "configmap/settings"
    node = app("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    on_node = app.json("get", "pods", "--field-selector", f"spec.nodeName={node},status.phase=Running")["items"]
    assert {p["spec"]["nodeName"] for p in on_node} == {node}
    names = app("get", "cm", "--sort-by=.metadata.name", "-o", "name").splitlines()
    assert names == sorted(names)
    assert app("get", "pods", "-l", "app=nothing", "--ignore-not-found") == ""
    assert app.run("get", "pods", "-l", "app=nothing").stderr == "No resources found in app namespace.\n"


def test_get_in_pages_and_of_all_namespaces(app: Kubectl) -> None:
    whole = app("get", "cm", "-A", "-o", "name", "--chunk-size=0")
    assert app("get", "cm", "-A", "-o", "name", "--chunk-size=2") == whole
    assert {row["NAMESPACE"] for row in table(app("get", "cm", "-A"))} >= {"app", "default", "kube-system"}
    first = json.loads(app("get", "--raw", "/api/v1/configmaps?limit=2"))
    assert len(first["items"]) == 2
    assert first["metadata"]["remainingItemCount"] == len(whole.splitlines()) - 2
    rest = json.loads(app("get", "--raw", f"/api/v1/configmaps?limit=500&continue={first['metadata']['continue']}"))
    assert len(rest["items"]) == first["metadata"]["remainingItemCount"]


def test_get_by_subresource(app: Kubectl) -> None:
    (scale,) = table(app("get", "deployment", "web", "--subresource=scale"))
    assert (scale["NAME"], scale["DESIRED"], scale["AVAILABLE"]) == ("web", "2", "2")
    assert (
        app("get", "deployment", "web", "--subresource=scale", "-o", "jsonpath={.kind} {.spec.replicas} {.status.selector}")
        == "Scale 2 app=web"
    )
    assert app("get", "deployment", "web", "--subresource=status", "-o", "jsonpath={.status.readyReplicas}") == "2"


@pytest.fixture
def watching(app: Kubectl) -> Iterator[Process]:
    process = Process.start(
        [KUBECTL, "--kubeconfig", str(app.kubeconfig), "-n", "app", "get", "cm", "-w", "--output-watch-events"], cwd=app.cwd
    )
    process.wait_for_line("ADDED +settings")
    yield process
    process.kill()


def test_get_watch_shows_changes_as_they_come(app: Kubectl, watching: Process) -> None:
    app("create", "configmap", "seen")
    watching.wait_for_line("^ADDED +seen +0 ", timeout_s=5)
    app("label", "configmap", "seen", "a=b")
    watching.wait_for_line("^MODIFIED +seen ", timeout_s=5)
    app("delete", "configmap", "seen")
    watching.wait_for_line("^DELETED +seen ", timeout_s=5)
    assert watching.lines[0].split() == ["EVENT", "NAME", "DATA", "AGE"]


def section(text: str, *wanted: str) -> None:
    """Every wanted line is there, whatever the width of its columns."""
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert [w for w in wanted if w not in lines] == [], text


def test_describe_workloads(app: Kubectl) -> None:
    section(app("describe", "deployment", "web"), "Name: web", "Namespace: app", "Selector: app=web",
            "Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable", "StrategyType: RollingUpdate",
            "RollingUpdateStrategy: 25% max unavailable, 25% max surge", "Available True MinimumReplicasAvailable",
            "Progressing True NewReplicaSetAvailable", "OldReplicaSets: <none>")  # fmt: skip
    pod = app("get", "pods", "-o", "name").splitlines()[0]
    section(app("describe", pod), "Status: Running", "Service Account: default", "Image: nginx:1.25", "Port: 80/TCP", "Ready: True",
            "QoS Class: Burstable", "State: Running", "PodScheduled True")  # fmt: skip
    section(app("describe", "rs"), "Pods Status: 2 Running / 0 Waiting / 0 Succeeded / 0 Failed", "Replicas: 2 current / 2 desired")
    assert "Controlled By:  Deployment/web" in app("describe", "rs")


def test_describe_other_kinds(app: Kubectl) -> None:
    service = app("describe", "service", "web")
    section(service, "Type: ClusterIP", "Port: <unset> 80/TCP", "TargetPort: 80/TCP", "Session Affinity: None")
    assert len(next(line for line in service.splitlines() if line.startswith("Endpoints:")).split(",")) == 2
    section(app("describe", "configmap", "settings"), "Name: settings", "color:", "blue")
    section(app("describe", "secret", "token"), "Type: Opaque", "password: 6 bytes")
    section(app("describe", "serviceaccount", "default"), "Name: default", "Namespace: app")
    section(app("describe", "namespace", "app"), "Status: Active", "Labels: kubernetes.io/metadata.name=app", "No resource quota.")
    node = app("describe", "node", "east-node-1")
    section(node, "Unschedulable: false", "Taints: <none>", "cpu: 8", "Kubelet Version: v1.36.0")
    assert "KubeletReady" in node
    assert "Allocated resources:" in node


def test_explain_builtin_kinds(app: Kubectl) -> None:
    text = app("explain", "deployment.spec.strategy")
    assert text.startswith("GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nFIELD: strategy <DeploymentStrategy>")
    assert "rollingUpdate\t<RollingUpdateDeployment>" in text
    assert "    maxSurge\t<IntOrString>" in app("explain", "deployment.spec.strategy", "--recursive")
    recursive = app("explain", "pod", "--recursive")
    assert "      containers\t<[]Container> -required-" in "  " + "\n  ".join(recursive.splitlines())
    assert 'field "nope" does not exist' in app.run("explain", "pod.spec.nope", check=False).stderr
    older = app("explain", "hpa", "--api-version=autoscaling/v1", "--recursive")
    assert older.startswith("GROUP:      autoscaling\nKIND:       HorizontalPodAutoscaler\nVERSION:    v1\n")
    assert "targetCPUUtilizationPercentage\t<integer>" in older
    assert "FIELD: metrics <[]MetricSpec>" in app("explain", "hpa.spec.metrics", "--api-version=autoscaling/v2")
    assert "    involvedObject" not in app("explain", "events", "--api-version=events.k8s.io/v1", "--recursive")
    refused = app.run("explain", "hpa", "--api-version=autoscaling/v3", check=False).stderr
    assert "couldn't find resource for" in refused
    assert app("explain", "crd.spec.versions.schema").startswith("GROUP:      apiextensions.k8s.io")


def test_api_resources_and_versions(app: Kubectl) -> None:
    rows = {(r["NAME"], r["APIVERSION"]): r for r in table(app("api-resources"))}
    assert rows["deployments", "apps/v1"] == {
        "NAME": "deployments", "SHORTNAMES": "deploy", "APIVERSION": "apps/v1", "NAMESPACED": "true", "KIND": "Deployment",
    }  # fmt: skip
    assert rows["nodes", "v1"]["NAMESPACED"] == "false"
    wide = {r["NAME"]: r for r in table(app("api-resources", "--api-group=apps", "-o", "wide"))}
    assert wide["deployments"]["VERBS"] == "create,delete,deletecollection,get,list,patch,update,watch"
    assert wide["deployments"]["CATEGORIES"] == "all"
    assert {"pods", "deployments.apps"} <= set(app("api-resources", "--verbs=list", "--namespaced", "-o", "name").splitlines())
    assert {"v1", "apps/v1", "batch/v1", "apiextensions.k8s.io/v1"} <= set(app("api-versions").splitlines())
    assert app("get", "deployments.v1.apps", "web", "-o", "name") == "deployment.apps/web"


def test_cluster_info_and_version(app: Kubectl) -> None:
    assert "Kubernetes control plane" in app("cluster-info")
    dump = app("cluster-info", "dump", "--namespaces", "app")
    assert '"kind": "DeploymentList"' in dump
    assert app.json("version")["serverVersion"]["minor"] == "36"


def test_raw_paths(app: Kubectl) -> None:
    assert app("get", "--raw", "/healthz") == app("get", "--raw", "/livez") == app("get", "--raw", "/readyz") == "ok"
    assert "[+]ping ok" in app("get", "--raw", "/readyz?verbose")
    assert json.loads(app("get", "--raw", "/version"))["major"] == "1"
    assert json.loads(app("get", "--raw", "/api/v1/namespaces/app/configmaps/settings"))["data"] == {"color": "blue"}
    assert "v1" in json.loads(app("get", "--raw", "/api"))["versions"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("get", "pods", "nope"), 'Error from server (NotFound): pods "nope" not found'),
        (("get", "deploy/nope"), 'Error from server (NotFound): deployments.apps "nope" not found'),
        (("get", "nope"), 'error: the server doesn\'t have a resource type "nope"'),
        (("describe", "pod", "nope"), 'Error from server (NotFound): pods "nope" not found'),
        (("get", "cm", "--field-selector", "data.color=blue"), '"data.color" is not a known field selector: only "metadata.name"'),
        (("get", "pods", "--field-selector", "spec.nope=a"), "field label not supported: spec.nope"),
        (("top", "nodes"), "error: Metrics API not available"),
        (("top", "pods"), "error: Metrics API not available"),
        (("get", "--raw", "/nope"), "Error from server (NotFound): the server could not find the requested resource"),
        (("-n", "nope", "create", "configmap", "a"), 'error: failed to create configmap: namespaces "nope" not found'),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_errors_are_those_of_kubernetes(app: Kubectl, arguments: tuple[str, ...], told: str) -> None:
    done = app.run(*arguments, check=False)
    assert done.returncode == 1
    assert told in done.stderr


def test_logs_of_simulated_pods(app: Kubectl) -> None:
    assert "container web of pod web-" in app("logs", "deployment/web")
    assert len(app("logs", "-l", "app=web", "--prefix").splitlines()) == 2
    assert "container nope is not valid for pod" in app.run("logs", "deployment/web", "-c", "nope", check=False).stderr
