"""`Census`: how many objects of the resources that somebody asks about there are, per cluster and namespace.

Nothing is mirrored that nobody asks about. Of what is only counted the mirror keeps the key; of what is measured, the object.
Before: `resourcequota`. After: `controller.informer`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import APIResource, Client
from kcp.client.transport import TransportError
from kcp.controller.builtin.kinds import Monitored
from kcp.controller.builtin.ownergraph import plain
from kcp.controller.informer import Informer

log = logging.getLogger(__name__)

OnChange: TypeAlias = Callable[[GroupResource, ObjectKey, JSONObject | None, JSONObject | None], None]
_KEPT = ("name", "namespace", "uid", "resourceVersion")


@dataclass(slots=True)
class _Monitor:
    informer: Informer
    task: asyncio.Task[None]


class Census:
    """`run` keeps it up to date; everything else is a look-up in memory."""

    def __init__(
        self,
        client: Client,
        monitored: Monitored,
        *,
        wanted: Callable[[], Iterable[GroupResource]],
        measured: frozenset[GroupResource],
        on_change: OnChange,
        clock: Clock,
        poll_s: float = 1.0,
    ) -> None:
        """Args:
        client: of one cluster, or of `*`.
        wanted: the resources that somebody asks about, asked for every `poll_s` and after `wake`.
        measured: those of which whole objects are kept.
        """
        self._client = client
        self._monitored = monitored
        self._wanted = wanted
        self._measured = measured
        self._on_change = on_change
        self._clock = clock
        self._poll_s = poll_s
        self._monitors: dict[GroupResource, dict[GVR, _Monitor]] = {}
        """By plain name: in workspaces, exports of different identity may share one."""
        self._wake = asyncio.Event()

    def is_known(self, resource: GroupResource) -> bool:
        """Whether everything of a resource is mirrored, if it is served at all. False for one nobody asked about before: `wake`."""
        held = self._monitors.get(resource)
        return held is not None and all(monitor.informer.has_synced for monitor in held.values())

    def is_served(self, resource: GroupResource) -> bool:
        return bool(self._monitors.get(resource))

    def count(self, resource: GroupResource, cluster: ClusterName, namespace: str | None) -> int:
        """Args: namespace: None for the whole cluster."""
        return sum(m.informer.count(cluster=cluster, namespace=namespace) for m in self._monitors.get(resource, {}).values())

    def objects(self, resource: GroupResource, cluster: ClusterName, namespace: str | None) -> list[JSONObject]:
        """Of a measured resource."""
        held = self._monitors.get(resource, {}).values()
        return [obj for monitor in held for obj in monitor.informer.list(cluster=cluster, namespace=namespace)]

    def wake(self) -> None:
        """Somebody asks about something new."""
        self._wake.set()

    def statistics(self) -> dict[str, int]:
        held = [monitor for monitors in self._monitors.values() for monitor in monitors.values()]
        return {"resources": len(held), "objects": sum(len(monitor.informer) for monitor in held)}

    async def run(self) -> None:
        """Mirror what is asked about, until cancelled. While nobody asks, nothing happens."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                wanted = frozenset(self._wanted())
                if wanted or self._monitors:
                    await self._look(group, wanted)
                    await self._pause(group)
                else:
                    await self._wake.wait()

    async def _pause(self, group: asyncio.TaskGroup) -> None:
        """Until the next poll, or `wake`."""
        waits = [group.create_task(self._wake.wait()), group.create_task(self._clock.sleep(self._poll_s))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _look(self, group: asyncio.TaskGroup, wanted: frozenset[GroupResource]) -> None:
        try:
            served = _chosen(await self._monitored() if wanted else (), wanted)
        except (StatusError, TransportError) as error:
            log.warning("quota: cannot tell which resources there are: %s", error)
            return
        for resource in self._monitors.keys() | wanted:
            self._bring(group, resource, served.get(resource, frozenset()), is_wanted=resource in wanted)

    def _bring(self, group: asyncio.TaskGroup, resource: GroupResource, served: frozenset[GVR], *, is_wanted: bool) -> None:
        held = self._monitors.setdefault(resource, {})
        for gvr in held.keys() - served:
            held.pop(gvr).task.cancel()
        for gvr in sorted(served - held.keys()):
            informer = self._informer(resource, gvr)
            held[gvr] = _Monitor(informer, group.create_task(informer.run(), name=f"census {gvr}"))
        if not is_wanted:
            del self._monitors[resource]

    def _informer(self, resource: GroupResource, gvr: GVR) -> Informer:
        slim = resource not in self._measured
        informer = Informer(self._client, gvr, clock=self._clock, metadata_only=slim, transform=_slim if slim else None, is_patient=True)
        informer.add_handler(lambda key, old, new: self._on_change(resource, key, old, new))
        return informer


def _chosen(resources: Iterable[APIResource], wanted: frozenset[GroupResource]) -> dict[GroupResource, frozenset[GVR]]:
    """Where each wanted resource can be mirrored: at its preferred version, and under every identity."""
    best: dict[GroupResource, APIResource] = {}
    for resource in resources:
        if plain(resource.gvr).group_resource in wanted and {"list", "watch"} <= set(resource.verbs):
            held = best.get(resource.gvr.group_resource)
            if held is None or (resource.preferred and not held.preferred):
                best[resource.gvr.group_resource] = resource
    found: dict[GroupResource, set[GVR]] = {}
    for resource in best.values():
        found.setdefault(plain(resource.gvr).group_resource, set()).add(resource.gvr)
    return {name: frozenset(gvrs) for name, gvrs in found.items()}


def _slim(obj: JSONObject) -> JSONObject:
    """What counting needs of an object."""
    held = meta.metadata(obj)
    kept: JSONObject = {name: held[name] for name in _KEPT if held.get(name)}
    cluster = meta.cluster(obj)
    if cluster:
        kept["annotations"] = {CLUSTER_ANNOTATION: cluster}
    return {"metadata": kept}
