"""A kcp server of tenancy alone, in process: memory store, real registry and handlers, its kinds, admission and controllers.

What other rooms of the house would do is done by the smallest real thing: a controller that marks APIBindings as Bound.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from kcp.aio.clock import Clock, SystemClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import AdmissionChain, Plugin
from kcp.apiserver.asgi import App
from kcp.apiserver.filters import chain, with_errors, with_request_info
from kcp.apiserver.resources import ResourceHandler
from kcp.apiserver.router import Router
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import Transport
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.registry.backend import UserInfo
from kcp.registry.builtin import builtin_resources
from kcp.registry.generic import Registry
from kcp.registry.resource import Origin, Resource
from kcp.registry.schemas import hold
from kcp.registry.strategy import CUSTOM
from kcp.storage.keyspace import resource_prefix, scope_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache
from kcp.tenancy import kinds
from kcp.tenancy.bootstrap.content import BootstrapOptions
from kcp.tenancy.bootstrap.run import bootstrap
from kcp.tenancy.controllers import build_controllers
from kcp.tenancy.home import HomeWorkspaces, with_home_workspaces
from kcp.tenancy.logicalcluster.admission import LogicalClusterAdmission
from kcp.tenancy.logicalcluster.index import WorkspaceIndex
from kcp.tenancy.workspace.admission import WorkspaceAdmission
from kcp.tenancy.workspacetype.admission import WorkspaceTypeAdmission
from kcp.tenancy.workspacetype.lister import TypeLister

MASTER = UserInfo("system:apiserver", ("system:masters",))
ALICE = UserInfo("alice", ("dev", "system:authenticated"))
URL = "https://kcp.test:6443"

_BUILTIN = (
    GroupResource("", "configmaps"),
    GroupResource("rbac.authorization.k8s.io", "clusterroles"),
    GroupResource("rbac.authorization.k8s.io", "clusterrolebindings"),
    GroupResource("coordination.k8s.io", "leases"),
)
_OURS = (
    "core.kcp.io_logicalclusters",
    "core.kcp.io_shards",
    "tenancy.kcp.io_workspaces",
    "tenancy.kcp.io_workspacetypes",
    "apis.kcp.io_apibindings",
    "apis.kcp.io_apiexports",
)


@cache
def _our_resources(file: str) -> tuple[Resource, ...]:
    """The served versions of one of our kinds, from its definition."""
    crd = yaml.load(resources.files("kcp.apis.schemas").joinpath(f"{file}.yaml").read_text(), Loader=yaml.CSafeLoader)
    spec, group = crd["spec"], crd["spec"]["group"]
    made = []
    for version in spec["versions"]:
        held = hold(version["schema"]["openAPIV3Schema"])
        resource = Resource(
            gvr=GVR(group, version["name"], spec["names"]["plural"]),
            kind=spec["names"]["kind"],
            namespaced=False,
            origin=Origin.SYSTEM,
            storage_prefix=resource_prefix(GroupResource(group, spec["names"]["plural"])),
            schema_source=held.compiled,
            strategy=CUSTOM,
            has_status=True,
        )
        made.append(resource)
    return tuple(made)


def _namespaces() -> Resource:
    """Namespaces without the finalizer that the namespace controller would have to remove."""
    from dataclasses import replace

    from kcp.registry.strategy import BUILTIN

    return replace(builtin_resources([GroupResource("", "namespaces")])[0], strategy=BUILTIN)


class EverythingEverywhere:
    """A Catalog that serves the same in every cluster."""

    def __init__(self) -> None:
        found = [_namespaces(), *builtin_resources(_BUILTIN), *(r for file in _OURS for r in _our_resources(file))]
        self._found = {r.gvr: r for r in found}

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return self._found.get(gvr)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return self._found.values()

    def version(self, cluster: ClusterName) -> str:
        return "1"


@dataclass
class Kcp:
    """What a test holds of the server."""

    app: App
    index: WorkspaceIndex
    types: TypeLister
    store: MemoryStore
    controllers: list[Controller]
    supervisor: Supervisor
    denied_types: set[str]
    """Names of types that nobody but the system may use."""
    unbindable: set[str]
    """Exports whose bindings never become Bound."""

    def client(self, user: UserInfo = MASTER) -> Client:
        return Client(AsgiTransport(self.app, user))


@asynccontextmanager
async def kcp_server(
    *,
    clock: Clock | None = None,
    options: BootstrapOptions | None = None,
    transport: Transport | None = None,
    before_start: Callable[[Kcp], None] | None = None,
) -> AsyncIterator[Kcp]:
    """Args: transport: what the controllers write through, to make writes fail. before_start: called before anything runs."""
    clock = clock or SystemClock()
    async with Supervisor("kcp") as supervisor:
        store = MemoryStore()
        cache_ = WatchCache(store, clock=clock)
        await cache_.start()
        supervisor.spawn(cache_.run(), name="watch cache")
        kcp = _compose(store, cache_, clock, supervisor)
        informers = InformerFactory(kcp.client().cluster(WILDCARD), clock=clock)
        kcp.index.follow(informers.informer(kinds.WORKSPACES), informers.informer(kinds.LOGICAL_CLUSTERS))
        kcp.controllers += _controllers(kcp, informers, clock, transport)
        if before_start is not None:
            before_start(kcp)
        await run_controllers(kcp, informers, options)
        yield kcp


async def run_controllers(kcp: Kcp, informers: InformerFactory, options: BootstrapOptions | None) -> None:
    informers.run_all(kcp.supervisor)
    for controller in kcp.controllers:
        kcp.supervisor.spawn(controller.run(), name=controller.name)
    await informers.wait_all_synced()
    await bootstrap(kcp.client(), options or BootstrapOptions(shard_base_url=URL))


def _compose(store: MemoryStore, cache_: WatchCache, clock: Clock, supervisor: Supervisor) -> Kcp:
    index, catalog = WorkspaceIndex(), EverythingEverywhere()
    denied: set[str] = set()
    held: list[Client] = []

    async def fetch(key: ObjectKey) -> JSONObject | None:
        try:
            return await held[0].cluster(key.cluster).resource(kinds.WORKSPACE_TYPES).get(key.name)
        except NotFound:
            return None

    async def may_use(user: UserInfo, cluster: ClusterName, name: str) -> bool:
        return name not in denied

    async def may_create(user: UserInfo) -> bool:
        return "system:authenticated" in user.groups

    types = TypeLister(lambda _key: None, index.resolve, index.path_of, fetch)
    admission = AdmissionChain(
        [
            Plugin.of("Workspace", WorkspaceAdmission(types, index.record, may_use)),
            Plugin.of("WorkspaceType", WorkspaceTypeAdmission(index.path_of, index.resolve, may_use)),
            Plugin.of("LogicalCluster", LogicalClusterAdmission()),
        ]
    )
    registry = Registry(store, cache_, clock=clock, admission=admission, annotate_cluster=True)
    router = Router(ResourceHandler(catalog, registry, clock), {})
    homes = with_home_workspaces(HomeWorkspaces(_Later(held), types, url_of, index.expect, clock, may_create))
    app = App(chain(router, with_errors(), with_request_info(index), homes))
    kcp = Kcp(app, index, types, store, [], supervisor, denied, set())
    held.append(kcp.client())
    return kcp


class _Later(Client):
    """A client of the server that is only just being put together."""

    def __init__(self, held: list[Client]) -> None:
        self._held = held

    def cluster(self, path: str) -> Client:
        return self._held[0].cluster(path)


def url_of(path: str) -> str:
    return f"{URL}/clusters/{path}"


def _controllers(kcp: Kcp, informers: InformerFactory, clock: Clock, transport: Transport | None) -> list[Controller]:
    client, catalog = kcp.client(), EverythingEverywhere()
    writing = Client(transport) if transport is not None else client

    async def list_held(cluster: ClusterName) -> Iterable[Resource]:
        served = catalog.resources(cluster)
        return [r for r in served if (await kcp.store.list(scope_prefix(r.storage_prefix, cluster), limit=1)).items]

    built = build_controllers(writing, informers, clock, index=kcp.index, url_of=url_of, list_held=list_held)
    return [*built, _binder(client, informers, clock, kcp.unbindable)]


def _binder(client: Client, informers: InformerFactory, clock: Clock, unbindable: set[str]) -> Controller:
    """Every APIBinding is Bound at once, as if its export were there."""
    bindings = informers.informer(kinds.API_BINDINGS)

    async def reconcile(key: ObjectKey) -> Result:
        binding = bindings.get(key)
        if binding is None or meta.nested(binding, "status", "phase") == "Bound":
            return Result()
        if meta.nested(binding, "spec", "reference", "export", "name") not in unbindable:
            patch = {"status": {"phase": "Bound"}}
            await client.cluster(key.cluster).resource(kinds.API_BINDINGS).patch(key.name, patch, subresource="status")
        return Result()

    controller = Controller("binder", reconcile, clock=clock)
    controller.watch(bindings)
    return controller
