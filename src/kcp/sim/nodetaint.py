"""TaintNodesAtCreation: a new node takes no pods until the node controller has seen that it is ready.

Before: `server`, as an admission plugin. After: `workloads.taints`, which takes the taint away.
Source: plugin/pkg/admission/nodetaint/admission.go.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes

NOT_READY = "node.kubernetes.io/not-ready"
_TAINT = {"key": NOT_READY, "effect": "NoSchedule"}


def plugin() -> Plugin:
    return Plugin(name="TaintNodesAtCreation", mutate=_taint, verbs=("CREATE",), resources=frozenset((GroupResource("", "nodes"),)))


async def _taint(attributes: Attributes) -> JSONObject | None:
    if attributes.new is not None:
        taints: list[JSONObject] = meta.ensure(attributes.new, "spec").setdefault("taints", [])
        if not any((taint.get("key"), taint.get("effect")) == tuple(_TAINT.values()) for taint in taints):
            taints.append(dict(_TAINT))
    return attributes.new
