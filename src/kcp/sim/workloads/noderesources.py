"""What a kubelet makes of resources that somebody adds to its node's capacity: they can be allocated.

Before: `sim.cluster`, which starts it. After: the status of Nodes. Source: pkg/kubelet/nodestatus/setters.go (MachineInfo: allocatable).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.wiring import NODES, Wiring
from kcp.sim.workloads.writes import KUBELET, patch_status

_OWN = frozenset(("cpu", "memory", "pods", "ephemeral-storage"))
"""What a node is made with; hugepages and extended resources are added by others."""


def allocatable(node: Mapping[str, Any]) -> JSONObject:
    """As it should be: every added resource as its capacity says, and none whose capacity is gone.

    >>> allocatable({"status": {"capacity": {"cpu": "8", "example.com/gpu": "4"}, "allocatable": {"cpu": "7", "example.com/tpu": "1"}}})
    {'cpu': '7', 'example.com/gpu': '4'}
    """
    capacity, held = (meta.nested(node, "status", part, default={}) or {} for part in ("capacity", "allocatable"))
    added = {name: amount for name, amount in capacity.items() if name not in _OWN}
    return {name: amount for name, amount in held.items() if name in _OWN} | added


@dataclass
class NodeResourcesReconciler:
    nodes: Informer
    client: Client

    async def reconcile(self, key: ObjectKey) -> Result:
        node = self.nodes.get(key)
        if node is None or not str(meta.nested(node, "spec", "providerID", default="")).startswith("sim://"):
            return Result()  # made by hand: it has no kubelet
        wanted = {**(node.get("status") or {}), "allocatable": allocatable(node)}
        await patch_status(self.client.resource(NODES), node, wanted, field_manager=KUBELET)
        return Result()


def controller(wiring: Wiring) -> Controller:
    nodes = wiring.informers.informer(NODES)
    made = Controller("node-resources", NodeResourcesReconciler(nodes, wiring.client).reconcile, clock=wiring.clock, workers=1)
    made.watch(nodes)
    return made
