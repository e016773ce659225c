"""A whole API server in this process, with a memory store, virtual time and a few resources, for tests of controllers.

Two kinds: one without workspaces, as a simulated cluster is, and one with, as kcp is, where every path names a logical cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, TypeAlias

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import LOCAL, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.asgi import App
from kcp.apiserver.filters import chain, in_single_cluster, with_cluster, with_errors, with_request_info
from kcp.apiserver.request import Handler
from kcp.apiserver.resources import ResourceHandler
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import APIResource, Client
from kcp.client.transport import Transport
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory
from kcp.registry.backend import UserInfo
from kcp.registry.generic import AdmitEverything, Registry
from kcp.registry.resource import Resource
from kcp.registry.strategy import BUILTIN, NAMESPACE
from kcp.storage.keyspace import resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache, WatchCacheConfig

NAMESPACES = GVR("", "v1", "namespaces")
CONFIG_MAPS = GVR("", "v1", "configmaps")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
EVENTS = GVR("", "v1", "events")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICA_SETS = GVR("apps", "v1", "replicasets")
LEASES = GVR("coordination.k8s.io", "v1", "leases")
KINDS = {
    NAMESPACES: "Namespace",
    CONFIG_MAPS: "ConfigMap",
    SERVICE_ACCOUNTS: "ServiceAccount",
    PODS: "Pod",
    NODES: "Node",
    EVENTS: "Event",
    DEPLOYMENTS: "Deployment",
    REPLICA_SETS: "ReplicaSet",
    LEASES: "Lease",
}
CLUSTER_SCOPED = {NAMESPACES, NODES}

Build: TypeAlias = Callable[[InformerFactory, Transport], Controller[Any]]
"""Makes the controller under test, which is to write through the transport given."""


def resource(gvr: GVR) -> Resource:
    is_namespace = gvr == NAMESPACES
    return Resource(
        gvr=gvr,
        kind=KINDS[gvr],
        namespaced=gvr not in CLUSTER_SCOPED,
        storage_prefix=resource_prefix(gvr.group_resource),
        strategy=NAMESPACE if is_namespace else BUILTIN,
        has_status=True,
        subresources=frozenset({"finalize"} if is_namespace else ()),
    )


class Served:
    """The catalog of the test: the same resources everywhere, minus those that a test takes away."""

    def __init__(self) -> None:
        self.by_gvr = {gvr: resource(gvr) for gvr in KINDS}

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:  # noqa: ARG002
        return self.by_gvr.get(gvr)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:  # noqa: ARG002
        return self.by_gvr.values()

    def version(self, cluster: ClusterName) -> str:  # noqa: ARG002
        return str(len(self.by_gvr))


class AnyWorkspace:
    """Every path is a workspace, and its own name."""

    def resolve(self, path: str) -> ClusterName | None:
        return ClusterName(path)


@dataclass
class World:
    clock: VirtualClock
    app: App
    served: Served
    supervisor: Supervisor
    has_workspaces: bool
    numbers: Any = field(default_factory=count)

    def transport(self) -> Transport:
        return AsgiTransport(self.app, UserInfo("test", ("system:masters",)))

    def client(self, transport: Transport | None = None) -> Client:
        """For informers: all workspaces, or the server."""
        client = Client(transport or self.transport(), clock=self.clock)
        return client.cluster("*") if self.has_workspaces else client

    def of(self, cluster: str, transport: Transport | None = None) -> Client:
        """One workspace, or the server."""
        return self.client(transport).cluster(cluster if self.has_workspaces else "")

    def clusters(self) -> list[str]:
        """Logical clusters to try things in, as they stand in keys."""
        return ["one", "two"] if self.has_workspaces else [""]

    def for_cluster(self, transport: Transport | None = None) -> Callable[[ClusterName], Client]:
        client = self.client(transport)
        return client.cluster

    async def api_resources(self, cluster: ClusterName = LOCAL) -> Sequence[APIResource]:  # noqa: ARG002
        return [APIResource(r.gvr, r.kind, r.namespaced, r.verbs) for r in self.served.by_gvr.values()]

    async def create(self, gvr: GVR, name: str, *, cluster: str = "", namespace: str = "", **more: Any) -> JSONObject:
        """Create an object; keyword arguments become metadata, or `spec`, `data` and the like where they are one of these."""
        body: JSONObject = {part: more.pop(part) for part in ("spec", "data", "status") if part in more}
        obj: JSONObject = {"apiVersion": gvr.api_version, "kind": KINDS[gvr], "metadata": {"name": name, **more}, **body}
        if namespace:
            obj["metadata"]["namespace"] = namespace
        return await self.of(cluster).resource(gvr).create(obj)

    async def names(self, gvr: GVR, *, cluster: str = "", namespace: str = "") -> list[str]:
        found = await self.of(cluster).resource(gvr).list(namespace=namespace)
        return sorted(obj["metadata"]["name"] for obj in found.items)

    @asynccontextmanager
    async def running(
        self, build: Callable[[InformerFactory, Transport], Controller[Any]], transport: Transport | None = None
    ) -> AsyncIterator[None]:
        """Run a controller with informers of its own, until the end of the block."""
        through = transport or self.transport()
        async with Supervisor("controller under test") as tasks:
            informers = InformerFactory(self.client(through), clock=self.clock, seed=next(self.numbers))
            controller = build(informers, through)
            informers.run_all(tasks)
            tasks.spawn(controller.run(), name="controller")
            yield

    async def until(self, check: Callable[[], Awaitable[bool]], *, limit_s: float = 120.0) -> None:
        """Let time pass until `check` holds."""
        deadline = self.clock.monotonic() + limit_s
        step_s = 0.01
        while not await check():
            assert self.clock.monotonic() < deadline, f"it did not come to pass within {limit_s:g} s"
            await self.clock.advance(step_s)
            step_s = min(step_s * 1.5, 5.0)


@asynccontextmanager
async def make_world(*, has_workspaces: bool, history_events: int = 10_000) -> AsyncIterator[World]:
    clock, store, served = VirtualClock(), MemoryStore(), Served()
    cache = WatchCache(store, clock=clock, config=WatchCacheConfig(history_events=history_events))
    await cache.start()
    registry = Registry(store, cache, clock=clock, admission=AdmitEverything(), annotate_cluster=has_workspaces, random=Random(1))
    handler: Handler = ResourceHandler(served, registry, clock=clock)
    locate = with_cluster(AnyWorkspace()) if has_workspaces else in_single_cluster(LOCAL)
    app = App(chain(handler, with_errors(), with_request_info(), locate))
    async with Supervisor("world") as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        yield World(clock, app, served, supervisor, has_workspaces)
    await store.close()
