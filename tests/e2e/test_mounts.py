"""A mount with kubectl and the plugin: one workspace seen in another, its watches included, until its object says that it is away."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.fleet import Fleet
from tests.e2e.processes import Kubectl

pytestmark = pytest.mark.e2e

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "links.example.com"},
    "spec": {
        "group": "example.com", "scope": "Cluster", "names": {"plural": "links", "singular": "link", "kind": "Link", "listKind": "LinkList"},
        "versions": [{
            "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }],
    },
}  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, kcp_flags=("--feature-gates=WorkspaceMounts=true",))
    try:
        made.start_kcp()
        yield made
    finally:
        made.stop()


def test_a_workspace_is_mounted_in_another(fleet: Fleet) -> None:
    root = fleet.at("root")
    for name in ("source", "destination"):
        spec = {"type": {"name": "universal", "path": "root"}}
        root("create", "-f", "-", stdin=json.dumps({**workspace(name), "spec": spec}))
        root("wait", f"workspace/{name}", "--for=jsonpath={.status.phase}=Ready", "--timeout=20s")
    source, mount = fleet.at("root:source"), fleet.at("root:source:mount")
    source("create", "-f", "-", stdin=json.dumps(CRD))
    source("wait", "crd/links.example.com", "--for=condition=Established", "--timeout=20s")
    marked = {"name": "away", "annotations": {"experimental.tenancy.kcp.io/is-mount": "true"}}
    source("create", "-f", "-", stdin=json.dumps({"apiVersion": "example.com/v1", "kind": "Link", "metadata": marked}))
    ref = {"apiVersion": "example.com/v1", "kind": "Link", "name": "away"}
    source("create", "-f", "-", stdin=json.dumps({**workspace("mount"), "spec": {"mount": {"ref": ref}}}))
    source("wait", "workspace/mount", "--for=jsonpath={.status.phase}=Unavailable", "--timeout=20s")
    refused = mount.run("get", "configmaps", check=False)
    assert refused.returncode != 0
    assert "ServiceUnavailable" in refused.stderr

    report(fleet, "Ready")
    source("wait", "workspace/mount", "--for=condition=WorkspaceMountReady", "--timeout=20s")
    mount("create", "configmap", "here", "--from-literal=a=1")
    assert fleet.at("root:destination")("get", "configmap", "here", "-o", "jsonpath={.data.a}") == "1"
    assert "mount [m]" in Kubectl(root.kubeconfig, root.cwd)("ws", "tree")
    waiting = ["kubectl", *mount.flags, "wait", "configmap/here", "--for=jsonpath={.data.b}=2", "--timeout=30s"]
    with subprocess.Popen(waiting, cwd=fleet.directory, env=mount.environment, text=True, stdout=subprocess.PIPE) as watching:
        fleet.at("root:destination")("patch", "configmap", "here", "--type=merge", "-p", '{"data": {"b": "2"}}')
        assert watching.wait(60) == 0

    report(fleet, "Connecting")
    source("wait", "workspace/mount", "--for=jsonpath={.status.phase}=Unavailable", "--timeout=20s")
    assert mount.run("get", "configmaps", check=False).returncode != 0


def workspace(name: str) -> dict[str, object]:
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}}


def report(fleet: Fleet, phase: str) -> None:
    url = fleet.at("root")("get", "workspace", "destination", "-o", "jsonpath={.spec.URL}")
    status = json.dumps({"status": {"URL": url, "phase": phase}})
    fleet.at("root:source")("patch", "link", "away", "--subresource=status", "--type=merge", "-p", status)
