"""Helm 4 installs, upgrades, rolls back, tests and removes a chart with a custom kind, hooks and notes, by its own SDK.

With workloads on a simulated cluster; without them in a workspace. The chart is `tests/compat/chart`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.compat.servers import Server
from tests.e2e.processes import Kubectl

helm: Any = pytest.importorskip("helm_python", reason="needs helm-python-sdk: pip install -e .[compat]")

pytestmark = pytest.mark.e2e

CHART = Path(__file__).parent / "chart"


@pytest.fixture
def release(cluster: Server, kubectl: Kubectl) -> Iterator[Any]:
    """Helm's configuration for the test's own namespace."""
    config = helm.Config(kubeconfig_path=cluster.kubeconfig, namespace=kubectl.flags[1])
    yield config
    config.close()


def revisions(config: Any) -> list[tuple[int, str]]:
    return [(r["revision"], r["status"]) for r in config.history("web")]


def test_a_release_lives_on_a_cluster(release: Any, kubectl: Kubectl) -> None:
    chart = helm.Chart.load(CHART)
    installed = release.install(chart, "web", {"replicas": 2}, wait="watcher", timeout=60)
    assert (installed["status"], installed["revision"]) == ("deployed", 1)
    assert "web is blue, revision 1." in installed["notes"]
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    assert kubectl("get", "site", "web", "-o", "jsonpath={.spec.color} {.spec.pages}") == "blue 1"
    settings = kubectl.json("get", "cm", "web-settings")["data"]
    assert settings["kubernetes"].startswith("v1.36")
    assert settings["hasDeployments"] == "true"
    assert settings["namespaceUID"] == kubectl("get", "ns", kubectl.flags[1], "-o", "jsonpath={.metadata.uid}")
    assert kubectl("get", "cm", "web-installed", "-o", "jsonpath={.data.at}") == "1"
    assert kubectl.run("get", "job", "web-prepare", check=False).returncode == 1

    upgraded = release.upgrade(chart, "web", {"color": "red", "tag": "1.26"}, reuse_values=True, wait="watcher", timeout=60)
    assert (upgraded["status"], upgraded["revision"]) == ("deployed", 2)
    assert kubectl("get", "site", "web", "-o", "jsonpath={.spec.color}") == "red"
    assert kubectl("get", "cm", "web-upgraded", "-o", "jsonpath={.data.at}") == "2"
    assert release.get_values("web") == {"color": "red", "tag": "1.26", "replicas": 2}

    release.rollback("web", version=1, wait="watcher", timeout=60)
    assert revisions(release) == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "nginx:1.25"

    tested = release.test("web", timeout=60, logs=True)
    assert tested["release"]["status"] == "deployed"
    assert "web-test" in tested["logs"]

    assert [r["name"] for r in release.list()] == ["web"]
    release.uninstall("web", wait="watcher", timeout=60)
    assert release.list(all_states=True) == []
    assert kubectl("get", "deployment,service,secret,role,rolebinding,site", "-o", "name") == ""
    assert kubectl("get", "crd", "sites.compat.example.com", "-o", "name") != ""


def test_a_failed_upgrade_is_rolled_back(release: Any, kubectl: Kubectl) -> None:
    chart = helm.Chart.load(CHART)
    release.install(chart, "web", {"color": "red"}, wait="watcher", timeout=60)
    with pytest.raises(helm.HelmError, match="spec.replicas: Invalid value: -1: must be greater than or equal to 0"):
        release.upgrade(chart, "web", {"replicas": -1}, rollback_on_failure=True, wait="watcher", timeout=60)
    assert revisions(release) == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert kubectl("get", "cm", "web-settings", "-o", "jsonpath={.data.color}") == "red"
    with pytest.raises(helm.HelmError, match="cannot reuse a name that is still in use"):
        release.install(chart, "web")


def test_dry_run_stores_nothing_and_a_foreign_object_stops_an_installation(release: Any, kubectl: Kubectl) -> None:
    chart = helm.Chart.load(CHART)
    shown = release.install(chart, "web", {"workloads": False}, dry_run="server")
    assert "kind: Site" in shown["manifest"]
    assert release.list(all_states=True) == []
    assert kubectl("get", "cm", "-o", "name") == "configmap/kube-root-ca.crt"
    kubectl("create", "configmap", "web-settings")
    with pytest.raises(helm.HelmError, match="exists and cannot be imported into the current release"):
        release.install(chart, "web", {"workloads": False})


def test_a_release_without_workloads_lives_in_a_workspace(workspace: Server) -> None:
    kubectl = workspace.namespace("helm")
    config = helm.Config(kubeconfig_path=workspace.kubeconfig, namespace="helm")
    chart = helm.Chart.load(CHART)
    installed = config.install(chart, "web", {"workloads": False}, wait="watcher", timeout=60)
    assert installed["status"] == "deployed"
    assert kubectl("get", "site", "web", "-o", "jsonpath={.spec.color}") == "blue"
    assert kubectl("get", "cm", "web-settings", "-o", "jsonpath={.data.hasDeployments}") == "false"
    config.upgrade(chart, "web", {"workloads": False, "color": "red"}, wait="watcher", timeout=60)
    config.rollback("web", wait="watcher", timeout=60)
    assert kubectl("get", "site", "web", "-o", "jsonpath={.spec.color}") == "blue"
    assert revisions(config) == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    config.uninstall("web", wait="watcher", timeout=60)
    assert kubectl("get", "secret,role,rolebinding,site", "-o", "name") == ""
    config.close()


@pytest.mark.parametrize("name", ["cluster", "workspace"])
def test_what_helm_remembers_of_a_release(name: str, request: pytest.FixtureRequest) -> None:
    """Labels and pages of release Secrets, a release of half a MiB and one beyond what a Secret holds, what is kept after an uninstallation, a namespace made on the way."""
    server: Server = request.getfixturevalue(name)
    with closing(helm.Config(kubeconfig_path=server.kubeconfig, namespace="remembered")) as config:
        chart, quiet = helm.Chart.load(CHART), {"workloads": False}
        made = config.install(chart, "web", quiet, create_namespace=True, labels={"team": "a"}, description="the first")
        assert (made["status"], made["namespace"]) == ("deployed", "remembered")
        kubectl = server.kubectl("remembered")
        (secret,) = kubectl.json("get", "secret", "-l", "owner=helm,name=web,team=a")["items"]
        assert (secret["metadata"]["name"], secret["type"]) == ("sh.helm.release.v1.web.v1", "helm.sh/release.v1")
        large = {**quiet, "color": random.Random(1).randbytes(100_000).hex()}
        config.upgrade(chart, "web", large, max_history=2)
        assert len(kubectl("get", "secret", "sh.helm.release.v1.web.v2", "-o", "jsonpath={.data.release}")) > 400_000
        config.upgrade(chart, "web", quiet, max_history=2)
        assert revisions(config) == [(2, "superseded"), (3, "deployed")]
        assert config.status("web", revision=3)["revision"] == 3
        assert config.get_values("web", revision=2)["color"] == large["color"]
        assert config.get_metadata("web")["revision"] == 3
        assert [r["name"] for r in config.list(all_namespaces=True, name_filter="^web$", limit=1)] == ["web"]
        with pytest.raises(helm.HelmError, match="too large|Too long"):
            config.upgrade(chart, "web", {**quiet, "color": random.Random(2).randbytes(400_000).hex()})
        config.uninstall("web", keep_history=True)
        assert config.status("web")["status"] == "uninstalled"
        config.rollback("web", version=3)
        assert config.status("web")["status"] == "deployed"
        config.uninstall("web")
        with pytest.raises(helm.HelmError, match="not found"):
            config.status("web")
