"""`OwnerGraph`: who owns whom, over all resources and logical clusters, from metadata only.

A changing set of resources is mirrored; of each object only identity, finalizers and owner references are kept. Before:
`garbagecollector`. After: `controller.informer`. Source: kubernetes pkg/controller/garbagecollector/graph_builder.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVK, GVR, GroupResource
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import APIResource, Client
from kcp.client.transport import TransportError
from kcp.controller.builtin.kinds import Monitored
from kcp.controller.informer import Informer

log = logging.getLogger(__name__)

_OWNER = "owner"
_KEPT = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp", "finalizers", "ownerReferences")
_DELETED_REMEMBERED = 500
_SYNC_PATIENCE_S = 30.0
"""How long a resource that cannot be listed holds up the rest. Source: garbagecollector.go, Sync."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """One object in the graph."""

    gvr: GVR
    """As mirrored: the resource may carry an identity, `deployments:<hash>`."""
    key: ObjectKey

    @property
    def plain_gvr(self) -> GVR:
        """As it stands in the URL of a single cluster."""
        return plain(self.gvr)

    def __str__(self) -> str:
        return f"{self.gvr.group_resource} {self.key}"


def plain(gvr: GVR) -> GVR:
    return GVR(gvr.group, gvr.version, gvr.resource.partition(":")[0])


OnChange: TypeAlias = Callable[[Node, JSONObject | None, JSONObject | None], None]


@dataclass(slots=True)
class _Monitor:
    resource: APIResource
    informer: Informer
    task: asyncio.Task[None]
    since_s: float


class OwnerGraph:
    """`run` keeps it up to date; everything else is a look-up in memory."""

    def __init__(self, client: Client, monitored: Monitored, *, clock: Clock, on_change: OnChange, poll_s: float) -> None:
        """Args: client: of one cluster, or of `*`. poll_s: how often the set of resources is asked for."""
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._client = client
        self._monitored = monitored
        self._clock = clock
        self._on_change = on_change
        self._poll_s = poll_s
        self._monitors: dict[GVR, _Monitor] = {}
        self._kinds: dict[tuple[str, str], list[APIResource]] = {}
        self._discovered = False
        self._seen: Iterable[APIResource] = ()

    def get(self, node: Node) -> JSONObject | None:
        monitor = self._monitors.get(node.gvr)
        return monitor.informer.get(node.key) if monitor is not None else None

    def dependents(self, uid: str) -> list[Node]:
        """Objects with an owner reference to `uid`, in order."""
        return [Node(gvr, key) for gvr, monitor in self._monitors.items() for key in monitor.informer.index_keys(_OWNER, uid)]

    def is_deleted(self, uid: str) -> bool:
        """Whether the server has said that the owner with this uid is gone, lately."""
        return uid in self._deleted

    def resources_of(self, owner: GVK) -> Sequence[APIResource]:
        """Resources that an owner reference of this group and kind may mean; several where exports differ, none if unknown."""
        return self._kinds.get((owner.group, owner.kind), ())

    def resource(self, gvr: GVR) -> APIResource | None:
        monitor = self._monitors.get(gvr)
        return monitor.resource if monitor is not None else None

    def find_uid(self, resource: APIResource, cluster: ClusterName, uid: str) -> ObjectKey | None:
        """Where in `cluster` the object with this uid is; looks at each object of the resource there."""
        monitor = self._monitors.get(resource.gvr)
        if monitor is None:
            return None
        return next((meta.key(obj) for obj in monitor.informer.list(cluster=cluster) if meta.uid(obj) == uid), None)

    @property
    def is_complete(self) -> bool:
        """Whether every resource has been listed once; one that cannot be for 30 s no longer counts."""
        oldest_s = self._clock.monotonic() - _SYNC_PATIENCE_S
        return self._discovered and all(m.informer.has_synced or m.since_s < oldest_s for m in self._monitors.values())

    def statistics(self) -> dict[str, int]:
        return {"resources": len(self._monitors), "objects": sum(len(m.informer) for m in self._monitors.values())}

    async def run(self) -> None:
        """Mirror what there is, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    self._monitor(group, await self._monitored())
                    self._discovered = True
                except (StatusError, TransportError) as error:
                    log.warning("garbage collector: cannot tell which resources there are: %s", error)
                await self._clock.sleep(self._poll_s)

    def _monitor(self, group: asyncio.TaskGroup, resources: Iterable[APIResource]) -> None:
        if resources is self._seen:
            return
        self._seen = resources
        wanted = _deletable(resources)
        for gvr in self._monitors.keys() - wanted.keys():
            self._monitors.pop(gvr).task.cancel()
        for gvr in wanted.keys() - self._monitors.keys():
            informer = self._informer(gvr)
            task = group.create_task(informer.run(), name=f"garbage collector {gvr}")
            self._monitors[gvr] = _Monitor(wanted[gvr], informer, task, self._clock.monotonic())
        self._monitors = dict(sorted(self._monitors.items()))
        self._kinds = {}
        for gvr in self._monitors:
            self._kinds.setdefault((gvr.group, wanted[gvr].kind), []).append(wanted[gvr])

    def _informer(self, gvr: GVR) -> Informer:
        informer = Informer(
            self._client, gvr, clock=self._clock, metadata_only=True, transform=_slim, indexers={_OWNER: _owner_uids}, is_patient=True
        )

        def changed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
            self._on_change(Node(gvr, key), old, new)

        informer.add_handler(changed)
        informer.add_deletion_handler(self._note_deleted)
        return informer

    def _note_deleted(self, obj: JSONObject) -> None:
        """Owners only: once their kind is no longer served, as when its definition was deleted, nobody can be asked about them.

        Source: graph_builder.go, processGraphChanges (absentOwnerCache).
        """
        uid = meta.uid(obj)
        if not self.dependents(uid):
            return
        self._deleted[uid] = None
        if len(self._deleted) > _DELETED_REMEMBERED:
            self._deleted.popitem(last=False)


def _deletable(resources: Iterable[APIResource]) -> dict[GVR, APIResource]:
    """Resources that can be mirrored and deleted; of several versions the preferred one, in the order of names."""
    chosen: dict[GroupResource, APIResource] = {}
    for resource in resources:
        if not {"list", "watch", "delete"} <= set(resource.verbs):
            continue
        held = chosen.get(resource.gvr.group_resource)
        if held is None or (resource.preferred and not held.preferred):
            chosen[resource.gvr.group_resource] = resource
    return {chosen[name].gvr: chosen[name] for name in sorted(chosen)}


def _slim(obj: JSONObject) -> JSONObject:
    """What the graph needs of an object: a tenth of its metadata."""
    held = meta.metadata(obj)
    kept: JSONObject = {name: held[name] for name in _KEPT if held.get(name)}
    cluster = meta.cluster(obj)
    if cluster:
        kept["annotations"] = {CLUSTER_ANNOTATION: cluster}
    return {"metadata": kept}


def _owner_uids(obj: Mapping[str, Any]) -> list[str]:
    return [ref.get("uid") or "" for ref in meta.owner_references(obj)]
