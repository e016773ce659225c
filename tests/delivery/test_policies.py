"""The policies of each workspace tier refuse, in a workspace of a real server, what they say, and let the rest through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.delivery.charts import ROOT
from tests.e2e.processes import Kubectl, Process, free_port

pytestmark = pytest.mark.e2e

RESTRICTED = {
    "runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
PODS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "of a privileged container": ("relaxed", {"container": {"securityContext": {"privileged": True}}}, "must not be privileged"),
    "of a privileged init container": (
        "relaxed", {"pod": {"initContainers": [{"name": "i", "image": "i", "securityContext": {"privileged": True}}]}}, "must not be privileged",
    ),
    "in the node's network": ("relaxed", {"pod": {"hostNetwork": True}}, "hostNetwork are the node's own"),
    "with a folder of the node": ("moderate", {"pod": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}, "hostPath volumes"),
    "with a port of the node": ("moderate", {"container": {"ports": [{"containerPort": 1, "hostPort": 1}]}}, "host ports"),
    "with a capability more": ("moderate", {"container": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}}, "must not be added"),
    "as root": ("strict", {"container": {"securityContext": {**RESTRICTED, "runAsNonRoot": False}}}, "runAsNonRoot must be true"),
    "that says nothing": ("strict", {}, "runAsNonRoot must be true"),
    "that says half of it": ("strict", {"pod": {"securityContext": {"runAsNonRoot": True}}}, "allowPrivilegeEscalation must be false"),
    "without seccomp": ("strict", {"container": {"securityContext": {**RESTRICTED, "seccompProfile": None}}}, "seccompProfile must be"),
    "with a volume of another kind": (
        "strict", {"container": {"securityContext": RESTRICTED}, "pod": {"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}}, "volumes must be",
    ),
}  # fmt: skip
TIERS = ("relaxed", "moderate", "strict")


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Kubectl]]:
    """A workspace of each tier, its policies applied as the documents say."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian package kubernetes-client)")
    folder = tmp_path_factory.mktemp("tiers")
    port = free_port()
    process = Process.start(["kcp", "start", "--root-directory=.kcp", "--enable-tmc", f"--secure-port={port}"], cwd=folder)
    try:
        process.wait_for_line("kcp is ready")
        found = {}
        for tier in TIERS:
            Kubectl(folder / ".kcp" / "admin.kubeconfig", folder)("ws", "create", tier)
            url = f"https://127.0.0.1:{port}/clusters/root:{tier}"
            kubectl = found[tier] = Kubectl(folder / ".kcp" / "admin.kubeconfig", folder, ("--context=base", "--server", url))
            kubectl("wait", "--for=create", "namespace/default", "--timeout=20s")
            kubectl("apply", "-k", str(ROOT / "policies" / tier))
        yield found
    finally:
        process.kill()


def deployment(name: str, pod: dict[str, Any], container: dict[str, Any]) -> str:
    spec = {**pod, "containers": [{"name": "c", "image": "i", **container}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    whole = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": whole})


@pytest.mark.parametrize("name", sorted(PODS))
def test_a_workload_is_refused_from_its_tier_on(workspaces: Mapping[str, Kubectl], name: str) -> None:
    first, said, message = PODS[name]
    for tier in TIERS:
        text = deployment("w", said.get("pod", {}), said.get("container", {}))
        done = workspaces[tier].run("create", "--dry-run=server", "-f", "-", check=False, stdin=text)
        if TIERS.index(tier) >= TIERS.index(first):
            assert done.returncode == 1
            assert "denied request" in done.stderr
            if tier == first:
                assert message in done.stderr
        else:
            assert done.returncode == 0, done.stderr


def test_a_restricted_workload_runs_in_every_tier(workspaces: Mapping[str, Kubectl]) -> None:
    for kubectl in workspaces.values():
        kubectl("create", "-f", "-", stdin=deployment("good", {}, {"securityContext": RESTRICTED}))


def test_cron_jobs_and_pods_are_looked_at_as_well(workspaces: Mapping[str, Kubectl]) -> None:
    container = {"name": "c", "image": "i", "securityContext": {"privileged": True}}
    job = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c", "namespace": "default"}}
    objects = [
        {**cron, "spec": {"schedule": "0 2 * * *", "jobTemplate": {"spec": job}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [container]}},
    ]
    for obj in objects:
        done = workspaces["relaxed"].run("create", "-f", "-", check=False, stdin=json.dumps(obj))
        assert "relaxed: a container must not be privileged" in done.stderr


def test_the_policies_leave_everything_else_alone(workspaces: Mapping[str, Kubectl], tmp_path: Path) -> None:
    workspaces["strict"]("create", "configmap", "settings", "--from-literal=a=b", "-n", "default")
