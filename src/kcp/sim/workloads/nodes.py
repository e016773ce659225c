"""The nodes of the cluster: made at start, kept Ready by heartbeats.

`node` is pure. Before: `sim.cluster`. After: Node objects and their Leases in kube-node-lease.
Source: pkg/kubelet/kubelet_node_status.go, component-helpers/apimachinery/lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock, rfc3339, rfc3339_micro
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.sim.nodetaint import NOT_READY
from kcp.sim.workloads.wiring import NODES
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, KUBELET

LEASES = GVR("coordination.k8s.io", "v1", "leases")
LEASE_NAMESPACE = "kube-node-lease"

_LEASE_RENEWAL_S = 10.0
_STATUS_REPORT_S = 300.0
"""Source: kubelet's nodeLeaseDurationSeconds / 4 and nodeStatusReportFrequency."""

KUBELET_VERSION = "v1.36.0"
_KUBELET_PORT = 10250

_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeShape:
    """What every node of a simulated cluster offers."""

    cpu: str = "8"
    """A quantity of cores."""
    memory: str = "32Gi"
    pods: int = 110
    """Source: kubelet's maxPods default."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """On every node, beside the well-known ones; `region` and `zone` also become topology labels."""


def node(cluster: str, number: int, shape: NodeShape, now: datetime) -> JSONObject:
    """The Node object number `number`, counted from 1, Ready."""
    name = f"{cluster}-node-{number}"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "simulated",
        **shape.labels,
        **{f"topology.kubernetes.io/{k}": shape.labels[k] for k in ("region", "zone") if k in shape.labels},
    }
    offer = {"cpu": shape.cpu, "memory": shape.memory, "pods": str(shape.pods), "ephemeral-storage": "100Gi"}
    cidr = f"10.{244 + number // 256}.{number % 256}.0/24"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr], "providerID": f"sim://{cluster}/{name}"},
        "status": {
            "capacity": dict(offer),
            "allocatable": dict(offer),
            "conditions": _conditions(now),
            "addresses": [
                {"type": "InternalIP", "address": f"172.18.{number // 250}.{number % 250 + 1}"},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": _info(name),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": _KUBELET_PORT}},
        },
    }


def _conditions(now: datetime, since: Mapping[str, str] | None = None) -> list[JSONObject]:
    at = rfc3339(now)
    return [
        {
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": at, "lastTransitionTime": (since or {}).get(kind, at),
        }
        for kind, status, reason, message in _HEALTHY
    ]  # fmt: skip


def _info(name: str) -> JSONObject:
    return {
        "machineID": name,
        "systemUUID": name,
        "bootID": name,
        "kernelVersion": "simulated",
        "osImage": "Simulated Linux",
        "containerRuntimeVersion": "sim://1.0",
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }


@dataclass
class Nodes:
    """Makes the nodes and keeps their heartbeats going."""

    cluster: str
    count: int
    shape: NodeShape
    client: Client
    clock: Clock

    async def ensure(self) -> None:
        """Create the nodes that are not there. Nodes of an earlier, larger cluster stay, without heartbeat."""
        resource = self.client.resource(NODES)
        for number in range(1, self.count + 1):
            wanted = node(self.cluster, number, self.shape, self.clock.now())
            try:
                made = await resource.create(wanted, field_manager=KUBELET)
            except AlreadyExists:
                made = await resource.get(meta.name(wanted))
            await self._admit(made)
            if made.get("status") != wanted["status"]:
                await resource.patch(meta.name(wanted), {"status": wanted["status"]}, subresource="status", field_manager=KUBELET)

    async def _admit(self, made: JSONObject) -> None:
        """Take the taint of new nodes away before the node controller runs: the first pods find nodes without a detour."""
        taints = meta.nested(made, "spec", "taints", default=())
        kept = [taint for taint in taints if taint.get("key") != NOT_READY]
        if len(kept) != len(taints):
            await self.client.resource(NODES).patch(meta.name(made), {"spec": {"taints": kept or None}}, field_manager=CONTROLLER_MANAGER)

    async def run(self) -> None:
        """Renew leases every 10 s and conditions every 5 minutes, until cancelled."""
        reported_s = self.clock.monotonic()
        while True:
            for number in range(1, self.count + 1):
                await self._renew(f"{self.cluster}-node-{number}")
            await self.clock.sleep(_LEASE_RENEWAL_S)
            if self.clock.monotonic() - reported_s >= _STATUS_REPORT_S:
                reported_s = self.clock.monotonic()
                await self._report()

    async def _renew(self, name: str) -> None:
        leases = self.client.resource(LEASES)
        renewed = {"spec": {"renewTime": rfc3339_micro(self.clock.now())}}
        try:
            await leases.patch(name, renewed, namespace=LEASE_NAMESPACE, field_manager=KUBELET)
        except NotFound:
            try:
                owner = await self.client.resource(NODES).get(name)
            except NotFound:
                return  # deleted by hand: nobody's lease
            reference = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": meta.uid(owner)}
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [reference]},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, **renewed["spec"]},
            }
            await leases.create(lease, field_manager=KUBELET)

    async def _report(self) -> None:
        resource = self.client.resource(NODES)
        for number in range(1, self.count + 1):
            name = f"{self.cluster}-node-{number}"
            try:
                held = await resource.get(name)
            except NotFound:
                continue  # deleted by hand: it comes back with the next start
            since = {c["type"]: c["lastTransitionTime"] for c in meta.nested(held, "status", "conditions", default=())}
            patch: dict[str, Any] = {"status": {"conditions": _conditions(self.clock.now(), since)}}
            await resource.patch(name, patch, subresource="status", field_manager=KUBELET)
