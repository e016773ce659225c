"""What the physical cluster has, and what of it is taken: for placement, in the SyncTarget's status.

Before: `heartbeat`, which writes it with every beat. After: nodes and pods of the cluster, and its metrics API where there is one.
Source: kubernetes/pkg/scheduler/framework (what a pod takes); tmc reference §2.1 (status of SyncTargets).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import orjson

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import quantity
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer

NODES, PODS = GVR("", "v1", "nodes"), GVR("", "v1", "pods")
_METRICS = "/apis/metrics.k8s.io/v1beta1/nodes"
_SHOWN = ("cpu", "memory", "ephemeral-storage", "pods")
"""Further resources, such as GPUs, are shown where nodes have them."""

_FIRST_LOOK_S = 2.0

Amounts = Mapping[str, Fraction]


def slim(obj: JSONObject) -> JSONObject:
    """Of nodes and pods only what they have and take: a cluster may run thousands of pods."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    metadata = {name: obj["metadata"][name] for name in ("name", "namespace", "resourceVersion", "uid") if name in obj["metadata"]}
    kept: JSONObject = {"apiVersion": "v1", "kind": obj.get("kind", ""), "metadata": metadata}
    if "containers" in spec:
        named = {field: [c.get("resources") or {} for c in spec.get(field) or ()] for field in ("containers", "initContainers")}
        kept["spec"] = {**named, "overhead": spec.get("overhead"), "nodeName": spec.get("nodeName")}
        kept["status"] = {"phase": status.get("phase")}
    else:
        kept["spec"] = {"unschedulable": spec.get("unschedulable")}
        kept["status"] = {name: status.get(name) for name in ("allocatable", "capacity")}
        kept["status"]["ready"] = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ())
        kept["status"]["version"] = (status.get("nodeInfo") or {}).get("kubeletVersion", "")
    return kept


def requests_of(pod: JSONObject) -> dict[str, Fraction]:
    """What a pod takes of a node: the sum over its containers, or the largest init container if that is more; and one pod.

    >>> requests_of({"spec": {"containers": [{"requests": {"cpu": "250m"}}]}})["cpu"]
    Fraction(1, 4)
    """
    spec = pod.get("spec") or {}
    taken = _sum(_amounts(c.get("requests")) for c in spec.get("containers") or ())
    for container in spec.get("initContainers") or ():
        for name, amount in _amounts(container.get("requests")).items():
            taken[name] = max(taken.get(name, Fraction(0)), amount)
    return _sum([taken, _amounts(spec.get("overhead")), {"pods": Fraction(1)}])


def _amounts(held: Mapping[str, Any] | None) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for name, text in (held or {}).items():
        try:
            found[name] = quantity.parse(text)
        except quantity.QuantityError:
            continue  # a resource that nobody can count
    return found


def _sum(parts: Iterable[Amounts]) -> dict[str, Fraction]:
    total: dict[str, Fraction] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, Fraction(0)) + amount
    return total


def _shown(amounts: Amounts, names: Iterable[str]) -> JSONObject:
    return {name: _text(name, amounts.get(name, Fraction(0))) for name in names}


def _text(name: str, amount: Fraction) -> str:
    is_bytes = name in ("memory", "ephemeral-storage") or name.startswith("hugepages-")
    return quantity.format(amount, quantity.Form.BINARY if is_bytes else quantity.Form.DECIMAL)


def status_of(nodes: Iterable[JSONObject], pods: Iterable[JSONObject]) -> JSONObject:
    """`capacity`, `allocatable`, `usage` and `clusterInfo` of a cluster. Allocatable are nodes that are ready and not cordoned."""
    listed = list(nodes)
    usable = [n for n in listed if n["status"].get("ready") and not n["spec"].get("unschedulable")]
    capacity = _sum(_amounts(n["status"].get("capacity")) for n in listed)
    allocatable = _sum(_amounts(n["status"].get("allocatable")) for n in usable)
    running = (p for p in pods if p["spec"].get("nodeName") and p["status"].get("phase") not in ("Succeeded", "Failed"))
    usage = _sum(requests_of(pod) for pod in running)
    names = [name for name in _SHOWN if name in capacity] + sorted(name for name in capacity if name not in _SHOWN and capacity[name])
    info: JSONObject = {"nodes": len(listed), "capacity": _shown(capacity, names)}
    if version := min((n["status"].get("version") or "" for n in listed), default=""):
        info["version"] = version
    return {
        "capacity": _shown(capacity, names), "allocatable": _shown(allocatable, names), "usage": _shown(usage, names), "clusterInfo": info,
    }  # fmt: skip


@dataclass(slots=True)
class Capacity:
    """Watches the cluster's nodes and pods. Without the right to see them the SyncTarget just does not show their sums."""

    downstream: Client
    clock: Clock
    _nodes: Informer | None = None
    _pods: Informer | None = None
    _seen: tuple[str, str] = ("", "")
    _known: JSONObject = field(default_factory=dict)
    _has_waited: bool = False

    def start(self, supervisor: Supervisor) -> None:
        factory = InformerFactory(self.downstream, clock=self.clock, transform=slim)
        self._nodes, self._pods = factory.informer(NODES), factory.informer(PODS)
        factory.run_all(supervisor)

    async def status(self) -> JSONObject:
        """Fields of the SyncTarget's status; {} while the cluster has not been seen in full."""
        if self._nodes is None or self._pods is None or not await self._wait_synced(self._nodes, self._pods):
            return {}
        seen = self._nodes.resource_version, self._pods.resource_version
        if seen != self._seen:
            self._known = status_of(_each(self._nodes), _each(self._pods))
            self._seen = seen
        measured = await self._measured()
        return {**self._known, "clusterInfo": {**self._known["clusterInfo"], "usage": measured}} if measured else self._known

    async def _wait_synced(self, nodes: Informer, pods: Informer) -> bool:
        """At the first time wait a little: the first beat should tell what there is."""
        if not self._has_waited and not (nodes.has_synced and pods.has_synced):
            self._has_waited = True
            try:
                await within(self.clock, _FIRST_LOOK_S, _both(nodes, pods))
            except TimeoutError:
                pass  # told with a later beat
        return nodes.has_synced and pods.has_synced

    async def _measured(self) -> JSONObject:
        """What the nodes really use just now, by metrics.k8s.io; {} where the cluster has no such API."""
        try:
            answer = await self.downstream.raw("GET", _METRICS)
        except (StatusError, TransportError):
            return {}
        items = orjson.loads(answer.body).get("items") or ()
        total = _sum(_amounts(item.get("usage")) for item in items)
        return _shown(total, [name for name in ("cpu", "memory") if name in total])


async def _both(nodes: Informer, pods: Informer) -> None:
    await nodes.wait_synced()
    await pods.wait_synced()


def _each(informer: Informer) -> Iterator[JSONObject]:
    for key in informer.keys():  # noqa: SIM118 - not a mapping
        obj = informer.get(key)
        if obj is not None:
            yield obj
