"""A kcp server put together: what it is made of, in which order the parts start, and how they stop.

    store → watch cache → catalog and index → security → request path → socket → first controllers → bootstrap → the other controllers → TMC

Before: `cli.kcp`, `cli.sandbox`, tests. After: every room below.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from kcp.aio.clock import Clock
from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.keys import ROOT, WILDCARD, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.schemas import load_crds
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.globalwebhook import read as read_global_webhook
from kcp.apiserver.asgi import App
from kcp.apiserver.authn.tokens import StaticTokens
from kcp.apiserver.conversion import ConversionWebhooks
from kcp.apiserver.health import Health, HealthCheck, of_store
from kcp.apiserver.metrics import Metrics
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServerHandle, ServingConfig, serve
from kcp.apiserver.tracing import TracedAdmission
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory, without_managed_fields
from kcp.controller.measures import show_queues
from kcp.exports.admission import BoundNames
from kcp.exports.conversionadmission import ConversionAdmission
from kcp.exports.keptschemas import SchemaKeeper
from kcp.exports.partitionsets import partition_plugin
from kcp.exports.scopes import ScopeAdmission
from kcp.exports.sharedlocks import SharedNameLocks
from kcp.exports.system import compute_apis, root_apis
from kcp.registry.backend import Admission, UserInfo
from kcp.registry.generic import Registry
from kcp.registry.writes import IsStale
from kcp.server.certificates import Certificates
from kcp.server.controllers import ControllerParts, build_first, build_rest
from kcp.server.foundation import OWN_COLUMNS, Foundation, open_store
from kcp.server.http import Entry, HttpParts, build_handler
from kcp.server.leading import Leadership
from kcp.server.objects import BuiltinObjects
from kcp.server.options import Options
from kcp.server.security import Security, SecurityParts, build_security
from kcp.server.startoptions import ADMIN, USER, chosen
from kcp.server.tokens import FILE, AdminTokens
from kcp.server.views import (
    admin_workspace,
    cache_workspace,
    export_workspace,
    lifecycle_workspaces,
    replication_workspace,
    schema_workspace,
)
from kcp.storage.compaction import CompactionConfig, Compactor
from kcp.storage.interface import Store
from kcp.storage.measures import MeasuredStore, show_objects
from kcp.storage.tracing import TracedStore, share
from kcp.storage.watchcache import WatchCache
from kcp.tenancy import kinds
from kcp.tenancy.authz.inactive import SERVER_NAME
from kcp.tenancy.bootstrap.content import BootstrapOptions, Piece
from kcp.tenancy.bootstrap.run import bootstrap
from kcp.tenancy.home import HomeWorkspaces, with_home_workspaces
from kcp.tenancy.kubeconfig import AdminAccess, write_admin_kubeconfig
from kcp.tenancy.kubesystem import KubeSystem, with_kube_system
from kcp.tenancy.mountproxy import MountProxy
from kcp.tenancy.workspacetype.lister import TypeLister

if TYPE_CHECKING:
    from kcp.apiserver.audit.auditor import Auditor
    from kcp.server.encryption import Encryption
    from kcp.tmc.columns import FleetColumns
    from kcp.tracing.exporting import Tracing

log = logging.getLogger(__name__)

SYSTEM = UserInfo(SERVER_NAME, ("system:masters", "system:authenticated"))
"""As whom the controllers in this process act. Source: k8s.io/apiserver/pkg/authentication/user APIServerUser."""


@dataclass(slots=True)
class KcpServer:
    """A running server; make it with `run_server`."""

    options: Options
    clock: Clock
    foundation: Foundation
    client: Client
    """Of the whole server, in this process, as system:masters."""
    app: App
    health: Health
    handle: ServerHandle | None
    admin: AdminAccess
    controllers: Supervisor
    feed: Supervisor
    """Of the watch cache: without it nothing that is served is true."""
    reload: Callable[[Options], None]
    """Take over those of other options that may change while everything runs: `Setting.is_live`."""
    is_bootstrapped: bool = field(default=False)
    is_draining: bool = field(default=False)
    """It will stop: everything works, but nobody should come any more."""

    @property
    def url(self) -> str:
        assert self.handle is not None, "this server runs without a socket"
        return self.handle.url

    async def wait_failed(self) -> None:
        """Wait until some part of the server has failed, and raise its error."""
        async with asyncio.TaskGroup() as group:
            for part in (self.controllers, self.feed):
                group.create_task(_raise_failure(part), name=f"until {part.name} fails")

    async def drain(self) -> None:
        """Let readyz fail, and go on as long as load balancers may need to see it. Source: k8s.io/apiserver genericapiserver.go."""
        self.is_draining = True
        if self.options.shutdown_delay_s:
            log.info("told to stop: serving for another %g s, not ready", self.options.shutdown_delay_s)
            await self.clock.sleep(self.options.shutdown_delay_s)

    def statistics(self) -> dict[str, int]:
        return {**self.foundation.cache.statistics(), **self.foundation.index.statistics()}


async def _raise_failure(part: Supervisor) -> None:
    raise await part.wait_failed()


@asynccontextmanager
async def run_server(
    options: Options, *, clock: Clock, with_socket: bool = True, store: Store | None = None, seed: int = 0
) -> AsyncIterator[KcpServer]:
    """A server that is ready, until the block is left. Raises what keeps it from starting, with what to do.

    Args:
    store: instead of the one that `options` name; it stays open.
    seed: of uids, generated names and identities, for a replay; 0: different each time.
    """
    async with AsyncExitStack() as stack:
        if store is None:
            store = await open_store(options, clock)
            stack.push_async_callback(store.close)
        encryption = _encryption(store, options, clock)
        store = encryption.store if encryption is not None else store
        meter = Meter()
        measured = MeasuredStore(store, meter, clock)
        cache = WatchCache(measured, clock=clock)
        await cache.start()
        show_objects(meter, cache.objects)
        feed = await stack.enter_async_context(Supervisor("watch cache"))
        feed.spawn(cache.run(), name="watch cache")
        if encryption is not None:
            feed.spawn(encryption.run(), name="encryption configuration")
        if interval_s := options.upkeep.compaction_interval_s:
            history = CompactionConfig.keeping(interval_s)
            feed.spawn(Compactor(store, clock=clock, cache=cache, config=history).run(), name="compaction")
        columns = _fleet_columns(options)
        foundation = await Foundation.lay(
            measured, cache, clock=clock, conversion_timeout_s=options.conversion_timeout_s, cache_apis=options.cache_apis,
            columns_of=columns.columns_of if columns is not None else OWN_COLUMNS,
        )  # fmt: skip
        certificates = Certificates(options, clock=clock)
        auditor = await stack.enter_async_context(_auditing(options, foundation, clock)) if options.audit.is_on else None
        traced = await stack.enter_async_context(_tracing(options, certificates.pki, clock)) if options.tracing.is_on else None
        random = Random(seed) if seed else SystemRandom()
        assembly = _Assembly(options, clock, foundation, certificates, random, auditor, columns, traced)
        assembly.show(meter)
        assembly.is_stale = encryption.store.is_stale if encryption is not None else None
        security = await assembly.connect()
        stack.push_async_callback(security.close)
        stack.push_async_callback(assembly.conversions.close)
        if assembly.mounts is not None:
            stack.push_async_callback(assembly.mounts.close)
        handle = None
        if with_socket:
            config = ServingConfig(
                host=options.bind_address, port=options.secure_port, tls=certificates.files, external_host=options.host,
                port_flag="--secure-port",
            )  # fmt: skip
            handle = await serve(assembly.app, config, clock=clock)
            stack.push_async_callback(handle.stop)
        stack.push_async_callback(assembly.app.shutdown)
        controllers = await stack.enter_async_context(Supervisor("controllers"))
        controllers.spawn(security.issuers.run(), name="authentication configuration")
        if handle is not None and handle.tls is not None:
            controllers.spawn(certificates.run(handle.tls), name="certificates")
        server = assembly.server(handle, controllers, feed)
        await assembly.start(controllers, server)
        yield server


def _encryption(store: Store, options: Options, clock: Clock) -> Encryption | None:
    """Imported only where it is wanted."""
    if options.encryption.config_file is None:
        return None
    from kcp.server.encryption import Encryption

    return Encryption(store, options.encryption, clock=clock)


def _auditing(options: Options, foundation: Foundation, clock: Clock) -> AbstractAsyncContextManager[Auditor]:
    """Imported only where it is wanted."""
    from kcp.server.auditing import auditing

    return auditing(options.audit, foundation.index, clock)


def _tracing(options: Options, pki: PKI, clock: Clock) -> AbstractAsyncContextManager[Tracing]:
    """Imported only where it is wanted; servers with the same key for tokens know each other's traces again."""
    from kcp.tracing.exporting import tracing

    return tracing(options.tracing, clock, component="kcp", secret=sha256(pki.service_accounts.key.read_bytes()).digest())


def _fleet_columns(options: Options) -> FleetColumns | None:
    """What `kubectl get` shows of clusters; None without `--enable-tmc`."""
    if not options.tmc.enabled:
        return None
    from kcp.tmc.columns import FleetColumns

    return FleetColumns()


class _Assembly:
    """The parts on their way to a server."""

    def __init__(  # noqa: PLR0913 - what a server is made of
        self, options: Options, clock: Clock, foundation: Foundation, certificates: Certificates, random: Random, auditor: Auditor | None,
        columns: FleetColumns | None, traced: Tracing | None,
    ) -> None:  # fmt: skip
        self._random = random
        self._follows_workspaces = False
        self._running: list[Controller[Any]] = []
        self._options, self._clock, self._foundation, self._pki = options, clock, foundation, certificates.pki
        self._auditor, self._columns, self._traced = auditor, columns, traced
        self._entry = Entry()
        self.is_stale: IsStale | None = None
        """Whether what is stored would be encrypted otherwise now; None without encryption."""
        self.conversions = ConversionWebhooks()
        self.app = App(self._entry)
        self._client = Client(AsgiTransport(self.app, SYSTEM), clock=clock, user_agent="kcp")
        self._informers = InformerFactory(self._client.cluster(WILDCARD), clock=clock, transform=without_managed_fields)
        self._tokens = StaticTokens()
        self._metrics = Metrics()
        self._metrics.add_families(certificates.collect)
        self._metrics.add_statistics("storage", foundation.cache.statistics)
        self._metrics.add_statistics("store", foundation.store.statistics)
        self._health = Health(tuple(of_store(foundation.store.current_revision)))
        self._admin_tokens = AdminTokens.ensure(options.admin_token_path or options.root_directory / FILE)
        self._url = options.shard.base_url or f"https://{options.host}:{options.secure_port}"
        own = options.own_certificate.certificate
        ca_pem = self._ca_pem = self._pki.ca_pem() + (own.read_text() if own is not None else "")
        index = foundation.index
        self._kube_system = KubeSystem(self._client, BuiltinObjects(foundation.cache).namespace, index.record)
        self._types = TypeLister(self._workspace_type, index.resolve, index.path_of, self._fetch_type)
        self._security: Security
        self._parts = ControllerParts(
            foundation, self._client, self._informers, clock, self._url_of, self._views_url, lambda: ca_pem,
            has_mounts=options.mounts.enabled, has_cache=options.cache_apis,
            issue_token=lambda account, cluster, name: self._security.account_tokens.issue_legacy(account, cluster, name),
            new_identity=lambda: random.randbytes(32).hex(), has_export_urls=options.export_urls,
        )  # fmt: skip
        if options.has_peers:
            foundation.names.shared = SharedNameLocks(self._client.cluster, clock)
        self.mounts = self._build_mounts()
        self._tmc = self._build_tmc()

    def show(self, meter: Meter) -> None:
        """At /metrics."""
        self._metrics.add_families(meter.text)

    def _build_mounts(self) -> MountProxy | None:
        options = self._options.mounts
        if not options.enabled:
            return None
        files = (options.client_cert_file, options.client_key_file, options.server_ca_file)
        certificate, key, authorities = (file.read_bytes() if file is not None else b"" for file in files)
        return MountProxy(lambda: self._url, cert_pem=certificate, key_pem=key, ca_pem=authorities)

    def _build_tmc(self) -> Any:
        """None without `--enable-tmc`: then nothing of it is even imported."""
        if self._columns is None:
            return None
        from kcp.server.tmc import TMC
        from kcp.tmc.metrics.controlplane import show_requests

        meter = Meter(is_on=self._options.tmc.metrics)
        self._metrics.add_families(meter.text)
        if meter.is_on:
            show_requests(meter, self._metrics.requests.by_endpoint)
        tracer = self._traced.tracer if self._traced is not None else None
        return TMC(self._parts, self._options.tmc, self._views_url, meter, self._columns, tracer)

    async def connect(self) -> Security:
        """Security, registry and request path."""
        foundation, clock = self._foundation, self._clock
        self._add_tokens()
        parts = SecurityParts(
            self._pki, foundation.store, foundation.cache, foundation.catalog, foundation.index, self._types, clock, self._tokens,
            foundation.exports, foundation.claims, foundation.policies, foundation.bound.identity_of, foundation.bound.provider_of,
            self._informers.informer,
            plugins=self._plugins(), first_plugins=[self._kube_system.plugin()],
            authentication=self._options.authentication,
            authorization=self._options.authorization, cached=foundation.cached if self._options.cache_apis else (),
            global_webhook=self._global_webhook(), object_limit=self._options.object_limit, has_mounts=self._options.mounts.enabled,
        )  # fmt: skip
        security = self._security = await build_security(parts)
        store: Store = foundation.store
        admission: Admission = security.admission
        if self._traced is not None:
            share(store, self._traced.revisions)
            store, admission = TracedStore(store, self._traced.revisions), TracedAdmission(admission, self._traced.tracer)
        registry = Registry(
            store, foundation.cache, clock=clock, admission=admission, annotate_cluster=True,
            converter=self.conversions, random=Random(self._random.getrandbits(64)), is_stale=self.is_stale,
        )  # fmt: skip
        foundation.crds.on_retired(registry.end_watches)
        foundation.bound.on_retired(registry.end_watches)
        foundation.index.on_closing(registry.end_all_watches)
        homes = HomeWorkspaces(
            self._client, self._types, self._url_of, foundation.index.expect, clock,
            lambda user: security.allows(user, ROOT, "create", kinds.WORKSPACES.group, kinds.WORKSPACES.resource, "~"),
        )  # fmt: skip
        meter = Meter()
        show_queues(meter, lambda: (*self._running, *(self._tmc.running if self._tmc is not None else ())))
        self._metrics.add_families(meter.text)
        if self._auditor is not None:
            self._metrics.add_families(self._auditor.collect)
        if self._traced is not None:
            self._metrics.add_statistics("tracing", self._traced.statistics)
        http = HttpParts(
            foundation.catalog, registry, security, foundation.index, self._health, self._metrics, clock,
            virtual_workspaces=[
                admin_workspace(foundation, registry),
                cache_workspace(foundation, registry),
                export_workspace(foundation, registry, security),
                await schema_workspace(foundation, registry, security),
                *([replication_workspace(foundation, registry, security)] if self._options.cache_apis else ()),
                *lifecycle_workspaces(foundation, registry, security, self._types),
                *(self._tmc.virtual_workspaces(registry, security) if self._tmc is not None else ()),
            ],
            mounts=self.mounts,
            inner_filters=[with_kube_system(self._kube_system), *([with_home_workspaces(homes)] if self._options.home_workspaces else ())],
            auditor=self._auditor, traced=self._traced,
            connectors=self._tmc.connectors(registry, security) if self._tmc is not None else {},
            routes=self._tmc.routes(security) if self._tmc is not None else {},
        )  # fmt: skip
        self._entry.handler = build_handler(http)
        return security

    def _global_webhook(self) -> JSONObject | None:
        file = self._options.admission_config_file
        return read_global_webhook(file) if file is not None else None

    def _plugins(self) -> Sequence[Plugin]:
        foundation = self._foundation
        return [
            BoundNames(foundation.bound.binding_of, foundation.names).plugin(),
            ConversionAdmission(foundation.schemas.schema).plugin(),
            ScopeAdmission(foundation.schemas.schema, foundation.bound.scope_of).plugin(),
            SchemaKeeper(foundation.bound.is_bound, self._client).plugin(),
            partition_plugin(),
            *(self._tmc.admission_plugins() if self._tmc is not None else ()),
        ]

    def _reload(self, options: Options) -> None:
        if self._traced is not None:
            self._traced.tracer.ratio = options.tracing.complete().ratio
        if self._tmc is not None:
            self._tmc.reload(options.tmc)

    def _add_tokens(self) -> None:
        if self._options.has_battery(ADMIN):
            self._tokens.add(self._admin_tokens.kcp_admin, UserInfo("kcp-admin", (kinds.KCP_ADMIN,)))
            self._tokens.add(self._admin_tokens.shard_admin, UserInfo("shard-admin", (kinds.MASTERS,)))
        if self._options.has_battery(USER):
            self._tokens.add(self._admin_tokens.user, UserInfo(USER))
        if self._options.token_auth_file is not None:
            self._tokens.load_csv(self._options.token_auth_file)

    def server(self, handle: ServerHandle | None, controllers: Supervisor, feed: Supervisor) -> KcpServer:
        """The server as others see it, its kubeconfig written."""
        if handle is not None and not self._options.shard.base_url:
            self._url = handle.url
        tokens, ca_pem = self._admin_tokens, self._ca_pem.encode()
        users = {USER: tokens.user} if self._options.has_battery(USER) else {}
        admin = AdminAccess(
            server=self._url, ca_pem=ca_pem, kcp_admin_token=tokens.kcp_admin, shard_admin_token=tokens.shard_admin, user_tokens=users
        )
        if handle is not None and self._options.has_battery(ADMIN):
            write_admin_kubeconfig(self._options.admin_kubeconfig, admin)
        server = KcpServer(
            self._options, self._clock, self._foundation, self._client, self.app, self._health, handle, admin, controllers, feed,
            self._reload,
        )  # fmt: skip
        ready = HealthCheck("poststarthook/bootstrap", lambda: "" if server.is_bootstrapped else "root is not there yet", ("readyz",))
        stopping = HealthCheck("shutdown", lambda: "process is shutting down" if self._is_stopping(server) else "", ("readyz",))
        self._health.add(ready, stopping, HealthCheck("informer-sync", self._informers.to_come, ("readyz",)))
        return server

    def _is_stopping(self, server: KcpServer) -> bool:
        return server.is_draining or self.app.is_stopping

    async def start(self, supervisor: Supervisor, server: KcpServer) -> None:
        """Controllers and the content of `root`, each as soon as what it needs is there; of several servers, by the one that leads."""
        self._informers.run_all(supervisor)
        if not self._options.has_peers:
            await self._lead(supervisor)
            self._serve_tmc(supervisor)
            server.is_bootstrapped = True
            return
        leadership = Leadership(self._client, self._options.leadership, self._clock)

        async def lead() -> None:
            async with Supervisor("leading") as leading:
                await self._lead(leading)
                await leadership.tell_filled()
                raise await leading.wait_failed()

        supervisor.spawn(leadership.run(lead), name="leadership")
        async with asyncio.TaskGroup() as group:
            failing = group.create_task(server.wait_failed(), name="until the server fails")
            await leadership.wait_filled()
            failing.cancel()
        await self._follow_workspaces()
        self._serve_tmc(supervisor)
        server.is_bootstrapped = True

    def _serve_tmc(self, supervisor: Supervisor) -> None:
        if self._tmc is not None:
            self._tmc.serve(supervisor, lambda: self._running)

    async def _lead(self, supervisor: Supervisor) -> None:
        self._defragment(supervisor)
        self._run(supervisor, build_first(self._parts))

        async def start_rest() -> None:
            await self._follow_workspaces()
            if self._options.authentication.workspace_issuers:
                self._informers.informer(kinds.WORKSPACE_AUTHENTICATION)
            self._run(supervisor, build_rest(self._parts))

        await bootstrap(self._client, self._bootstrap_options(), on_root_apis=start_rest)
        if self._tmc is not None:
            self._tmc.run(supervisor)

    def _defragment(self, supervisor: Supervisor) -> None:
        etcd, interval_s = self._options.etcd, self._options.upkeep.defragment_interval_s
        if etcd.endpoints and interval_s:
            from kcp.storage.etcd.defragment import Defragmenter

            supervisor.spawn(Defragmenter(etcd, self._clock, interval_s).run(), name="defragmentation of etcd")

    def _run(self, supervisor: Supervisor, controllers: Iterable[Controller[Any]]) -> None:
        for controller in controllers:
            if self._traced is not None:
                controller.trace(self._traced.tracer)
            self._running.append(controller)
            supervisor.spawn(controller.run(), name=f"controller {controller.name}")

    async def _follow_workspaces(self) -> None:
        """The index hears of Workspaces from the cache itself, so that a path works as soon as its workspace was answered."""
        if self._follows_workspaces:
            return
        self._follows_workspaces = True
        resource = self._foundation.catalog.resolve(WILDCARD, kinds.WORKSPACES)
        assert resource is not None, "root binds tenancy.kcp.io before anything else"
        index = self._foundation.index
        await self._foundation.follow(resource.storage_prefix, lambda key, obj: index.on_workspace(key, None, obj))

    def _bootstrap_options(self) -> BootstrapOptions:
        tmc = self._options.tmc
        apis = [Piece(gvr, obj) for gvr, obj in root_apis(load_crds(), tmc=tmc.enabled, cache_apis=self._options.cache_apis)]
        compute = []
        if tmc.enabled:
            from kcp.apis.kubernetes.compute import compute_schemas

            compute = [Piece(gvr, obj) for gvr, obj in compute_apis(compute_schemas())]
        return BootstrapOptions(
            tmc=tmc.enabled, compute_binding=tmc.bind_compute, root_apis=apis, compute_apis=compute,
            batteries=chosen(self._options.batteries), shard_base_url=self._url,
            shard_external_url=self._options.shard.external_url, shard_virtual_workspace_url=self._options.shard.virtual_workspace_url,
            home_creator_groups=self._options.home_creator_groups,
        )  # fmt: skip

    def _workspace_type(self, key: ObjectKey) -> JSONObject | None:
        return self._informers.informer(kinds.WORKSPACE_TYPES).peek(key)

    async def _fetch_type(self, key: ObjectKey) -> JSONObject | None:
        from kcp.apimachinery.errors import NotFound

        try:
            return await self._client.cluster(key.cluster).resource(kinds.WORKSPACE_TYPES).get(key.name)
        except NotFound:
            return None

    def _url_of(self, path: str) -> str:
        return f"{self._options.shard.external_url or self._url}/clusters/{path}"

    def _views_url(self) -> str:
        """Of virtual workspaces."""
        return self._options.shard.virtual_workspace_url or self._url
