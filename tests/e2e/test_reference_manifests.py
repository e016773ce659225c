"""The manifests of the TMC reference, as they are written there, through kubectl: taken as they are, shown under each name, with effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.processes import Kubectl, Process, free_port

pytestmark = pytest.mark.e2e

MANIFESTS = """
apiVersion: workload.kcp.io/v1alpha1
kind: SyncTarget
metadata: {name: production-east, labels: {region: us-east-1, environment: production}}
spec:
  workloadCluster: {name: production-east, endpoint: "https://production-east-control-plane:6443"}
  supportedAPIExports:
  - export.apiresource.kcp.io/workload.kcp.io
---
apiVersion: workload.kcp.io/v1alpha1
kind: Location
metadata: {name: us-east, labels: {region: us-east-1}}
spec: {displayName: US East, locationType: Region, availabilityZones: [us-east-1a]}
---
apiVersion: workload.kcp.io/v1alpha1
kind: Placement
metadata: {name: web}
spec:
  source: {workspace: demo, namespace: default, name: web, kind: Deployment, apiVersion: apps/v1}
  locationSelector: {labelSelector: {matchLabels: {region: us-east-1}}}
  constraints: {}
  strategy: OneToAny
---
apiVersion: workload.kcp.io/v1alpha1
kind: SyncTargetHeartbeat
metadata: {name: production-east}
spec: {syncTarget: production-east}
---
apiVersion: scheduling.kcp.io/v1alpha1
kind: PlacementPolicy
metadata: {name: multi-region-policy}
spec:
  namespaceSelector: {matchLabels: {tier: "production"}}
  clusterSelector: {matchLabels: {environment: "production"}}
  placement:
    spreadConstraints:
    - {maxSkew: 1, topologyKey: "topology.kubernetes.io/region"}
  resourceQuota: {hard: {requests.cpu: "100", requests.memory: "200Gi"}}
---
apiVersion: workload.kcp.io/v1alpha1
kind: ResourceExport
metadata: {name: settings}
spec:
  resource: {version: v1, resource: configmaps, namespace: default, name: settings}
  target: {clusters: [production-east]}
---
apiVersion: workload.kcp.io/v1alpha1
kind: ResourceImport
metadata: {name: facts}
spec: {source: {cluster: production-east, resource: {version: v1, resource: configmaps, namespace: default, name: facts}}}
"""
BEAT = '{"status": {"lastHeartbeatTime": "2030-01-01T00:00:00Z", "clusterHealth": {"ready": true, "nodeCount": 3}}}'


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    process = Process.start(["kcp", "start", "--enable-tmc", "--root-directory=.kcp", f"--secure-port={free_port()}"], cwd=tmp_path)
    try:
        process.wait_for_line("kcp is ready")
        kubectl = Kubectl(tmp_path / ".kcp" / "admin.kubeconfig", tmp_path)
        kubectl("ws", "create", "demo", "--enter")
        yield kubectl
    finally:
        process.kill()


def test_the_manifests_of_the_reference_are_applied_and_work(kubectl: Kubectl) -> None:
    applied = kubectl("apply", "-f", "-", stdin=MANIFESTS).splitlines()
    assert len(applied) == 7
    assert all(line.endswith(" created") for line in applied)
    assert all(line.endswith(" unchanged") for line in kubectl("apply", "-f", "-", stdin=MANIFESTS).splitlines())
    kubectl("patch", "sth", "production-east", "--type=merge", "-p", BEAT)
    kubectl("wait", "--for=condition=Ready", "synctarget/production-east", "--timeout=20s")
    kubectl("wait", "--for=condition=Ready", "placements.workload.kcp.io/web", "--timeout=20s")
    for name in ("pl", "placement", "placements.workload.kcp.io", "placements.scheduling.kcp.io"):
        found = kubectl.json("get", name, "web")
        assert [d["cluster"] for d in found["status"]["placementDecisions"]] == ["production-east"]
    assert kubectl("get", "kcp", "-o", "name").splitlines().count("placement.scheduling.kcp.io/web") == 1
    location = kubectl.until("get", "loc", "us-east", is_right=lambda one: one["status"].get("availableClusters"))
    assert location["status"]["path"] == "us-east"
    kubectl("delete", "placements.workload.kcp.io", "web")
    assert kubectl("get", "pl", "-o", "name") == ""
