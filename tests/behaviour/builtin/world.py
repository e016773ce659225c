"""A server with Kubernetes' own kinds and the admission of limits, in this process, under virtual time; without and with workspaces.

Only the controllers that a test starts run in it.
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
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import LOCAL, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import AdmissionChain
from kcp.apiserver.admission.limitranger import LimitRanger
from kcp.apiserver.admission.resourcequota import QuotaAdmission
from kcp.apiserver.asgi import App
from kcp.apiserver.filters import chain, in_single_cluster, with_cluster, with_errors, with_request_info
from kcp.apiserver.resources import ResourceHandler
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import APIResource, Client, ResourceClient
from kcp.client.transport import Transport
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory
from kcp.registry.backend import UserInfo
from kcp.registry.builtin import CLUSTER_KINDS, builtin_resources
from kcp.registry.catalog import DynamicCatalog, StaticCatalog
from kcp.registry.crd import LocalCRDSource
from kcp.registry.generic import Registry
from kcp.storage.keyspace import resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.subscriptions import CacheEvent
from kcp.storage.watchcache import WatchCache

_CRDS = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")
_GVRS = {resource.kind: resource.gvr for resource in reversed(builtin_resources(CLUSTER_KINDS))}

Build: TypeAlias = Callable[["Parts"], Controller[Any]]


class _AnyWorkspace:
    def resolve(self, path: str) -> ClusterName | None:
        return ClusterName(path)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a controller under test is built from."""

    client: Client
    """Of the server, or of `*`; what it writes goes through the transport given to `running`."""
    informers: InformerFactory
    resources: Callable[[], Awaitable[Sequence[APIResource]]]
    clock: VirtualClock

    def for_cluster(self, cluster: ClusterName) -> Client:
        return self.client.cluster(cluster)


@dataclass
class World:
    clock: VirtualClock
    app: App
    store: MemoryStore
    catalog: DynamicCatalog
    has_workspaces: bool
    quotas: QuotaAdmission
    numbers: Any = field(default_factory=count)

    def transport(self) -> Transport:
        return AsgiTransport(self.app, UserInfo("test", ("system:masters",)))

    def client(self, transport: Transport | None = None) -> Client:
        client = Client(transport or self.transport(), clock=self.clock)
        return client.cluster("*") if self.has_workspaces else client

    @property
    def clusters(self) -> tuple[str, ...]:
        return ("one", "two") if self.has_workspaces else ("",)

    def resource(self, kind: str, cluster: str | None = None) -> ResourceClient:
        """In the first cluster unless another one is named."""
        return self.client().cluster(self.clusters[0] if cluster is None else cluster).resource(_GVRS[kind])

    async def create(self, kind: str, name: str, *, namespace: str = "default", cluster: str | None = None, **more: Any) -> JSONObject:
        """Create an object; `labels`, `annotations` and the like become metadata, the rest stands at the top."""
        metadata = {k: more.pop(k) for k in ("labels", "annotations", "finalizers", "generateName") if k in more}
        obj: JSONObject = {"apiVersion": _GVRS[kind].api_version, "kind": kind, "metadata": {"name": name, **metadata}, **more}
        return await self.resource(kind, cluster).create(obj, namespace=namespace)

    async def get(self, kind: str, name: str, *, namespace: str = "default", cluster: str | None = None) -> JSONObject:
        return await self.resource(kind, cluster).get(name, namespace=namespace)

    async def names(self, kind: str, *, namespace: str = "", cluster: str | None = None) -> Iterable[str]:
        found = await self.resource(kind, cluster).list(namespace=namespace)
        return [obj["metadata"]["name"] for obj in found.items]

    async def _served(self) -> Sequence[APIResource]:
        cluster = ClusterName("*") if self.has_workspaces else LOCAL
        return [APIResource(r.gvr, r.kind, r.namespaced, r.verbs) for r in self.catalog.resources(cluster)]

    @asynccontextmanager
    async def running(self, *builds: Build, transport: Transport | None = None) -> AsyncIterator[None]:
        """Run controllers with informers of their own, until the end of the block."""
        async with Supervisor("controllers under test") as tasks:
            client = self.client(transport)
            informers = InformerFactory(client, clock=self.clock, seed=next(self.numbers))
            controllers = [build(Parts(client, informers, self._served, self.clock)) for build in builds]
            informers.run_all(tasks)
            for controller in controllers:
                tasks.spawn(controller.run(), name=controller.name)
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
async def make_world(*, has_workspaces: bool) -> AsyncIterator[World]:
    clock, store = VirtualClock(), MemoryStore()
    cache = WatchCache(store, clock=clock)
    await cache.start()
    async with Supervisor("world") as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        crds = LocalCRDSource()

        def crd_changed(event: CacheEvent) -> None:
            crds.changed(event.item.key.cluster, event.item.key.name, None if event.type == "DELETED" else event.item.decode())

        (await cache.prefix(resource_prefix(_CRDS))).listen(crd_changed)
        catalog = DynamicCatalog([StaticCatalog(builtin_resources(CLUSTER_KINDS)), crds])
        quotas = await QuotaAdmission.open(store, cache, clock=clock)
        admission = AdmissionChain([*(await LimitRanger.open(cache)).plugins(), quotas.plugin()])
        registry = Registry(store, cache, clock=clock, admission=admission, annotate_cluster=has_workspaces, random=Random(1))
        locate = with_cluster(_AnyWorkspace()) if has_workspaces else in_single_cluster(LOCAL)
        app = App(chain(ResourceHandler(catalog, registry, clock), with_errors(), with_request_info(), locate))
        yield World(clock, app, store, catalog, has_workspaces, quotas)
    await store.close()
