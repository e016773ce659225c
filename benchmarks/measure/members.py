"""Many SyncTargets and workloads without a cluster behind them: what syncers would report is written through their own virtual workspace.

Before: `views.py`. After: the server, over HTTPS.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kcp.apimachinery.keys import ClusterName
from kcp.tmc.model.names import SPEC_DIFF_ANNOTATION, STATE_LABEL, STATUS_ANNOTATION, SYNCER_FINALIZER, sync_target_key
from measure.plain import Plain
from measure.processes import ControlPlane

AT_ONCE = 4
WORKSPACE = "bench"
BASE = f"/clusters/root:{WORKSPACE}"
TARGETS = f"{BASE}/apis/workload.kcp.io/v1alpha1/synctargets"
_PATCH = "application/merge-patch+json"


@dataclass
class Members:
    """A workspace whose namespace n-i is placed on clusters c-i, c-(i+1) and so on."""

    server: ControlPlane
    token: str
    clusters: int
    workloads: int
    copies: int
    cluster: str = ""
    """The workspace's logical cluster."""
    uids: dict[str, str] = field(default_factory=dict)

    def client(self) -> Plain:
        return self.server.client(self.token)

    def key(self, number: int) -> str:
        return sync_target_key(ClusterName(self.cluster), f"c-{number % self.clusters:04}")

    def clusters_of(self, namespace: int) -> list[int]:
        return [(namespace + copy) % self.clusters for copy in range(self.copies)]

    def set_up(self) -> None:
        client = self.client()
        made = client.json(
            "POST", "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces",
            {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": WORKSPACE},
             "spec": {"type": {"name": "universal", "path": "root"}}},
        )  # fmt: skip
        while made.get("status", {}).get("phase") != "Ready":
            time.sleep(0.05)
            made = client.json("GET", f"/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces/{WORKSPACE}")
        self.cluster = made["spec"]["cluster"]
        while client.call("GET", f"{BASE}/apis/apps/v1/deployments")[0] != 200:
            time.sleep(0.05)  # its APIs are being bound
        self.in_parallel(range(self.clusters), self._target)
        self.in_parallel(range(self.clusters), self._namespace)
        self.in_parallel(range(self.workloads), self._workload)

    def in_parallel(self, items: Iterable[int], send: Callable[[Plain, int], object]) -> None:
        numbered = list(items)

        def part(mine: Sequence[int]) -> None:
            client = self.client()
            for item in mine:
                send(client, item)
            client.close()

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(part, [numbered[i::AT_ONCE] for i in range(AT_ONCE)]))

    def _target(self, client: Plain, number: int) -> None:
        name = f"c-{number:04}"
        made = client.json(
            "POST", TARGETS, {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": {"name": name}, "spec": {}}
        )
        self.uids[name] = made["metadata"]["uid"]
        condition = {"type": "SyncerReady", "status": "True", "reason": "SyncerConnected", "lastTransitionTime": _now()}
        status = {"lastSyncerHeartbeatTime": _now(), "conditions": [condition]}
        client.json("PATCH", f"{TARGETS}/{name}/status", {"status": status}, _PATCH)

    def fail(self, client: Plain, number: int) -> None:
        """A cluster's syncer cannot reach it any more."""
        condition = {"type": "SyncerReady", "status": "False", "reason": "ClusterUnreachable", "lastTransitionTime": _now()}
        client.json("PATCH", f"{TARGETS}/c-{number:04}/status", {"status": {"conditions": [condition]}}, _PATCH)

    def _namespace(self, client: Plain, number: int) -> None:
        labels = {STATE_LABEL + self.key(n): "Sync" for n in self.clusters_of(number)}
        client.json(
            "POST", f"{BASE}/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n-{number:04}", "labels": labels}},
        )  # fmt: skip

    def _workload(self, client: Plain, number: int) -> None:
        """As placement and syncers leave it behind: nothing is left to do for any of them."""
        keys = [self.key(n) for n in self.clusters_of(number % self.clusters)]
        marks = {SPEC_DIFF_ANNOTATION + key: json.dumps([{"op": "replace", "path": "/replicas", "value": 1}]) for key in keys}
        marks |= {STATUS_ANNOTATION + key: json.dumps(status(1)) for key in keys}
        name, namespace = f"w-{number:05}", f"n-{number % self.clusters:04}"
        metadata = {
            "name": name, "namespace": namespace, "annotations": marks, "labels": {STATE_LABEL + key: "Sync" for key in keys},
            "finalizers": [SYNCER_FINALIZER + key for key in keys],
        }  # fmt: skip
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}
        spec = {"replicas": len(keys), "selector": {"matchLabels": {"app": name}}, "template": template}
        client.json(
            "POST", f"{BASE}/apis/apps/v1/namespaces/{namespace}/deployments",
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        )  # fmt: skip

    def report(self, client: Plain, number: int, ready: int) -> None:
        """What the first of its clusters' syncers says of a workload from now on."""
        namespace = number % self.clusters
        target = f"c-{self.clusters_of(namespace)[0]:04}"
        where = f"/services/syncer/{self.cluster}/{target}/{self.uids[target]}/clusters/{self.cluster}/apis/apps/v1"
        path = f"{where}/namespaces/n-{namespace:04}/deployments/w-{number:05}/status"
        client.json("PATCH", path, {"status": status(ready)}, _PATCH)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(ready: int) -> dict[str, Any]:
    available = {"type": "Available", "status": "True" if ready else "False", "reason": "MinimumReplicasAvailable", "message": "measured"}
    return {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": ready, "availableReplicas": ready,
        "conditions": [available],
    }  # fmt: skip
