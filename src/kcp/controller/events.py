"""Kubernetes Events: what a controller wants a user to read in `kubectl describe`.

Before: reconcilers. After: `events` of the core group, in the cluster and namespace of the object concerned.
Source: k8s.io/client-go/tools/record (event.go, events_cache.go), reduced: one Event per object, reason and message, counted up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from zlib import crc32

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.client.transport import TransportError

log = logging.getLogger(__name__)

EVENTS = GVR("", "v1", "events")
NORMAL, WARNING = "Normal", "Warning"


class EventRecorder:
    """Writes Events. They are remarks: one that cannot be written is logged, and nothing else happens."""

    def __init__(self, for_cluster: Callable[[ClusterName], Client], *, component: str, clock: Clock) -> None:
        self._for_cluster = for_cluster
        self._component = component
        self._clock = clock

    async def record(
        self, obj: JSONObject, *, kind: str, reason: str, message: str, field_path: str = "", host: str = ""
    ) -> None:  # fmt: skip
        """A remark on `obj`, which needs apiVersion, kind, name and uid.

        Args: kind: NORMAL or WARNING; reason: one CamelCase word; field_path: the part concerned; host: the node that says it.
        """
        resource = self._for_cluster(meta.cluster(obj)).resource(EVENTS)
        event = self._event(obj, kind, reason, message, field_path)
        if field_path:
            event["involvedObject"]["fieldPath"] = field_path
        if host:
            event["source"]["host"] = event["reportingInstance"] = host
        try:
            try:
                await resource.create(event)
            except AlreadyExists:
                await self._count_up(resource, event)
        except (StatusError, TransportError) as error:
            log.info("event %s for %s not recorded: %s", reason, meta.key(obj), error)

    async def _count_up(self, resource: ResourceClient, event: JSONObject) -> None:
        name, namespace = meta.name(event), meta.namespace(event)
        held = await resource.get(name, namespace=namespace)
        patch = {"count": (held.get("count") or 1) + 1, "lastTimestamp": event["lastTimestamp"]}
        await resource.patch(name, patch, namespace=namespace)

    def _event(self, obj: JSONObject, kind: str, reason: str, message: str, field_path: str) -> JSONObject:
        now = rfc3339(self._clock.now())
        namespace = meta.namespace(obj) or "default"
        about = f"{obj.get('kind')}/{meta.uid(obj)}/{kind}/{reason}/{message}/{field_path}"
        involved = {
            "apiVersion": obj.get("apiVersion") or "",
            "kind": obj.get("kind") or "",
            "name": meta.name(obj),
            "namespace": meta.namespace(obj),
            "uid": meta.uid(obj),
            "resourceVersion": meta.resource_version(obj),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta.name(obj)[:200]}.{crc32(about.encode()):08x}", "namespace": namespace},
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
