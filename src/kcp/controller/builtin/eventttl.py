"""Events do not live for ever: one sweeper deletes those that were last written an hour ago, in all logical clusters.

Nothing is mirrored: a sweep lists, and says when the next one is worthwhile. Before: `server.controllers`, `sim.cluster`.
Source: kube-apiserver's --event-ttl (1h), which etcd leases enforce; pkg/registry/core/event/storage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.builtin.kinds import ForCluster
from kcp.controller.controller import Controller, Result

EVENTS = (GVR("", "v1", "events"), GVR("events.k8s.io", "v1", "events"))
TTL_S = 3600.0
_SOONEST_S = 300.0
"""Between two sweeps; so an event may live this much longer."""
_EVERYTHING = ObjectKey(ClusterName(""), "", "events")


def written_at(event: Mapping[str, Any]) -> datetime:
    """When an event was last written, by the server's own marks: those in the event are the client's."""
    marks = [meta.creation_timestamp(event), *(entry.get("time") or "" for entry in meta.metadata(event).get("managedFields") or ())]
    return max(parse_rfc3339(mark) for mark in marks if mark)


@dataclass(frozen=True, slots=True)
class EventSweeper:
    client: Client
    """Of one cluster, or of `*`."""
    for_cluster: ForCluster
    clock: Clock
    ttl_s: float

    async def reconcile(self, _key: ObjectKey) -> Result:
        """Delete what is too old; the next sweep comes when the oldest of the rest is."""
        now = self.clock.now()
        left_s = self.ttl_s
        for gvr in EVENTS:
            async with aclosing(self.client.resource(gvr, metadata_only=True).pages()) as pages:
                async for page in pages:
                    ages = [(event, (now - written_at(event)).total_seconds()) for event in page.items]
                    left_s = min([left_s, *(self.ttl_s - age_s for _, age_s in ages if age_s < self.ttl_s)])
                    async with asyncio.TaskGroup() as group:
                        for event, age_s in ages:
                            if age_s >= self.ttl_s:
                                group.create_task(self._delete(gvr, event))
        return Result(requeue_after_s=max(left_s, min(_SOONEST_S, self.ttl_s)))

    async def _delete(self, gvr: GVR, event: JSONObject) -> None:
        resource = self.for_cluster(meta.cluster(event)).resource(gvr)
        try:
            await resource.delete(
                meta.name(event), namespace=meta.namespace(event), uid=meta.uid(event), resource_version=meta.resource_version(event)
            )
        except (NotFound, Conflict):
            return  # gone, or written again meanwhile


def build_event_sweeper(client: Client, *, for_cluster: ForCluster, clock: Clock, ttl_s: float = TTL_S) -> Controller:
    """Args: client: of one cluster, or of `*`."""
    controller: Controller = Controller("event-ttl", EventSweeper(client, for_cluster, clock, ttl_s).reconcile, clock=clock, workers=1)
    controller.enqueue(_EVERYTHING)
    return controller
