"""Node lifecycle: a node of which no kubelet ever said anything, such as one made by hand, is soon known to be unknown.

`unknown` is pure. The nodes of the cluster itself are ready from the start and their heartbeats do not fail.
Before: `sim.cluster`, which starts it. After: status.conditions of Nodes, which `taints` looks at.
Source: pkg/controller/nodelifecycle/node_lifecycle_controller.go (tryUpdateNodeHealth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.wiring import NODES, Wiring
from kcp.sim.workloads.writes import patch_status

_STARTUP_GRACE_S = 60.0
"""Source: --node-startup-grace-period of kube-controller-manager."""
_KINDS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def unknown(node: Mapping[str, Any], now: str) -> list[JSONObject]:
    """The conditions of a node that nobody has told about; those that somebody has stay."""
    held: list[JSONObject] = list(meta.nested(node, "status", "conditions", default=()) or ())
    there = {condition.get("type") for condition in held}
    return [
        *held,
        *(
            {
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": meta.creation_timestamp(node), "lastTransitionTime": now,
            }
            for kind in _KINDS if kind not in there
        ),
    ]  # fmt: skip


@dataclass
class NodeLifecycleReconciler:
    nodes: Informer
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        node = self.nodes.get(key)
        if node is None or conditions.get(node, "Ready") is not None:
            return Result()
        now = self.clock.now()
        waits_s = _STARTUP_GRACE_S - (now - parse_rfc3339(meta.creation_timestamp(node))).total_seconds()
        if waits_s > 0:
            return Result(requeue_after_s=waits_s)
        wanted = {**(node.get("status") or {}), "conditions": unknown(node, rfc3339(now))}
        await patch_status(self.client.resource(NODES), node, wanted)
        return Result()


def controller(wiring: Wiring) -> Controller:
    nodes = wiring.informers.informer(NODES)
    reconciler = NodeLifecycleReconciler(nodes, wiring.client, wiring.clock)
    made = Controller("node-lifecycle", reconciler.reconcile, clock=wiring.clock, workers=1)
    made.watch(nodes)
    return made
