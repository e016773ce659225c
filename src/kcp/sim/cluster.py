"""`SimCluster`: one simulated physical cluster, from store to controllers, with a kubeconfig and fault switches.

Before: `kcp sim cluster`, `kcp sandbox`, tests, benchmarks. After: `server` (the API), `workloads` (what happens in it), `faults`.

    async with SimCluster("east", nodes=3, port=7443) as east:
        east.write_kubeconfig(Path("east.kubeconfig"))
        await east.set_fault(Fault.KILL)
"""

from __future__ import annotations

import asyncio
import base64
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kcp.aio.clock import Clock, SystemClock, rfc3339
from kcp.aio.supervisor import Supervisor, retry_forever
from kcp.apimachinery.keys import LOCAL, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.asgi import App
from kcp.apiserver.authn.chain import with_authentication
from kcp.apiserver.filters import chain, with_errors, with_request_info
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServerHandle, ServingConfig, TLSFiles, serve
from kcp.client import kubeconfig
from kcp.client.discovery import APIResource
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.controller.builtin.certificatesigning import build_certificate_signer
from kcp.controller.builtin.clusterroles import build_cluster_role_aggregation
from kcp.controller.builtin.crds import build_crd_controller
from kcp.controller.builtin.eventttl import build_event_sweeper
from kcp.controller.builtin.garbagecollector import build_garbage_collector
from kcp.controller.builtin.namespace import build_namespace_controller
from kcp.controller.builtin.resourcequota import build_quota_controller
from kcp.controller.builtin.serviceaccounts import build_root_ca_publisher, build_service_account_controller
from kcp.controller.builtin.tokensecrets import build_token_secret_controller
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory, without_managed_fields
from kcp.registry.backend import UserInfo
from kcp.sim import bootstrap, control, server, startup
from kcp.sim.addresses import IP_ADDRESSES, SERVICE_CIDRS, Allocator
from kcp.sim.apiservices import build_api_service_controller
from kcp.sim.choice import Choice, ChoiceError
from kcp.sim.faultobjects import build_fault_controller, delete_all
from kcp.sim.faults import ASGIApp, Fault, FaultState, FaultSwitch, FaultyApp, FaultyTransport, FillableStore, SkewedClock
from kcp.sim.firstobjects import ensure_first_objects
from kcp.sim.flowschemas import build_flow_schema_controller
from kcp.sim.kubernetesservice import build_kubernetes_service_controller
from kcp.sim.runstate import ClusterRecord
from kcp.sim.systempods import ensure_dns
from kcp.sim.workloads import (
    cronjob,
    daemonset,
    deployment,
    disruption,
    endpoints,
    jobcontroller,
    kubelet,
    loadbalancer,
    mirroring,
    nodelifecycle,
    noderesources,
    protection,
    replicaset,
    scheduler,
    servicecidrs,
    statefulset,
    taints,
    volumes,
)
from kcp.sim.workloads.nodes import Nodes, NodeShape
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.remarks import Remarks
from kcp.sim.workloads.wiring import PODS, Wiring
from kcp.storage.compaction import Compactor
from kcp.storage.interface import Store, StoreError
from kcp.storage.memory import MemoryStore, revision_of
from kcp.storage.watchcache import WatchCache

ADMIN = UserInfo("kubernetes-admin", ("system:masters", "system:authenticated"))
"""Whose certificate the kubeconfig holds."""
_DISCOVER_S = 5.0
"""How late what other servers serve through this one may be noticed."""
_MANAGER = UserInfo("system:kube-controller-manager", ("system:masters", "system:authenticated"))
"""As whom the cluster's own controllers act."""

_WORKLOADS: tuple[Callable[[Wiring], Controller], ...] = (
    deployment.controller,
    replicaset.controller,
    replicaset.replication_controller,
    scheduler.controller,
    kubelet.controller,
    endpoints.controller,
    mirroring.controller,
    loadbalancer.controller,
    jobcontroller.controller,
    cronjob.controller,
    daemonset.controller,
    statefulset.controller,
    volumes.controller,
    volumes.volume_controller,
    protection.claim_controller,
    protection.volume_controller,
    disruption.controller,
    taints.controller,
    nodelifecycle.controller,
    noderesources.controller,
    servicecidrs.range_controller,
    servicecidrs.address_controller,
)
"""What makes a cluster of an API server; started in this order."""


class SimError(Exception):
    """The cluster cannot start, or broke; the message says why."""


class SimCluster:
    """Start and stop it as an async context manager. Once started, it serves until stopped, whatever fault it has."""

    def __init__(  # noqa: PLR0913 - the shape of a cluster, spelled out; all but the name are keywords with defaults
        self,
        name: str,
        *,
        nodes: int = 3,
        labels: Mapping[str, str] | None = None,
        cpu_per_node: str = "8",
        memory_per_node: str = "32Gi",
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        data_dir: Path | None = None,
        start_delay_s: float = 0.05,
        listen: bool = True,
        system_pods: bool = False,
        choice: Choice | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        labels: of every node.
        port: of the API; 0 takes a free one.
        data_dir: keeps objects and certificates; None: in memory only, forgotten at the end.
        start_delay_s: how long a pod takes to start, and to stop.
        listen: False: no sockets, no TLS; reached by `client` only.
        system_pods: the cluster's DNS runs in `kube-system`.
        choice: of controllers and admission plugins; None: all of them.
        seed: of uids and generated names; 0: different each time.
        """
        self.name = name
        self.labels = dict(labels or {})
        self.faults = FaultSwitch(name)
        self._right_clock = clock or SystemClock()
        self.clock: Clock = SkewedClock(self._right_clock, self.faults)
        self._shape = NodeShape(cpu=cpu_per_node, memory=memory_per_node, labels=self.labels)
        self._node_count = nodes
        self._host, self._port = host, port
        self._data_dir = data_dir
        self._start_delay_s = start_delay_s
        self._listens = listen
        self._has_system_pods = system_pods
        self._choice = choice or Choice()
        self._seed = seed
        self._started = ""
        self._changing = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._tasks = Supervisor(f"simulated cluster {name}")
        self._pki: PKI | None = None
        self._server: server.ClusterServer
        self._api: ServerHandle | None = None
        self._control: ServerHandle | None = None
        self.controllers: dict[str, Controller[Any]] = {}

    @classmethod
    def in_process(
        cls,
        name: str,
        *,
        nodes: int = 3,
        labels: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        start_delay_s: float = 0.05,
        choice: Choice | None = None,
        seed: int = 1,
    ) -> Self:
        """A cluster without sockets, repeatable from its seed: for virtual time, tests and fleets in one process."""
        return cls(name, nodes=nodes, labels=labels, clock=clock, start_delay_s=start_delay_s, listen=False, choice=choice, seed=seed)

    # Life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Everything up: the API answers, nodes are Ready, controllers work.

        Raises: SimError, ListenError (port in use), PKIError.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        store = FillableStore(await self._open_store(), self.faults)
        self._stack.push_async_callback(store.close)
        if self._listens:  # before the tasks that read its files: what is made first goes last
            self._pki = PKI.ensure(self._directory(), hosts=[self._host], clock=self.clock)
        await self._stack.enter_async_context(self._tasks)
        cache = WatchCache(store, clock=self.clock)
        await cache.start()
        self._tasks.spawn(cache.run(), name="watch cache")
        self._tasks.spawn(Compactor(store, clock=self.clock, cache=cache).run(), name="compactor")
        allocator = Allocator(self.clock)
        try:
            self._server = await server.build(
                store, cache, allocator, clock=self.clock, pki=self._pki, seed=self._seed, choice=self._choice
            )
        except ChoiceError as error:
            raise SimError(str(error)) from error
        self._stack.push_async_callback(self._server.close)
        if self._listens:
            await self._serve()
        self._started = rfc3339(self.clock.now())
        await self._populate(allocator)

    async def _open_store(self) -> Store:
        if self._data_dir is None:
            return MemoryStore(first_revision=revision_of(self.clock.now())) if self._listens else MemoryStore()
        from kcp.storage.sqlite import SQLiteStore
        from kcp.storage.sqlitefile import SQLiteConfig

        self._data_dir.mkdir(parents=True, exist_ok=True)
        config = SQLiteConfig(is_fsynced=False, cache_kib=512, readers=1)  # a hundred of them share a disk, and are nobody's only copy
        try:
            return await SQLiteStore.open(self._data_dir / "cluster.db", config)
        except StoreError as error:
            raise SimError(f"simulated cluster {self.name} cannot use its data in {self._data_dir}: {error}") from error

    def _directory(self) -> Path:
        """Where the certificates are: with the data, or in a directory that goes with the cluster."""
        if self._data_dir is not None:
            return self._data_dir
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix=f"kcp-sim-{self.name}-")))

    async def _populate(self, allocator: Allocator) -> None:
        """Nodes and first objects in, controllers on."""
        client = self._own_client()
        informers = InformerFactory(client, clock=self.clock, seed=self._seed, transform=without_managed_fields)
        pods = PodBook(self.clock)
        informers.informer(PODS).add_handler(pods.on_event)
        informers.informer(endpoints.SERVICES).add_handler(allocator.on_event)
        informers.informer(SERVICE_CIDRS).add_handler(allocator.on_range)
        informers.informer(IP_ADDRESSES).add_handler(allocator.on_address)
        remarks = Remarks(client, self.clock)
        wiring = Wiring(client=client, informers=informers, pods=pods, clock=self.clock, remarks=remarks, start_delay_s=self._start_delay_s)
        nodes = Nodes(self.name, self._node_count, self._shape, client, self.clock)
        steps = startup.steps()
        self._server.health.add(*steps.checks, *startup.checks(informers, lambda: self._server.catalog.resources(LOCAL), self._is_stopping))
        steps.done(*startup.ADMISSION)
        made = self._chosen([*(build(wiring) for build in _WORKLOADS), *self._common_controllers(client, informers)])
        informers.run_all(self._tasks)
        await bootstrap.ensure_namespaces(client)
        steps.done(*startup.NAMESPACES)
        await bootstrap.ensure_storage_class(client)
        await bootstrap.ensure_priority_classes(client)
        steps.done(*startup.PRIORITIES)
        await nodes.ensure()
        await informers.wait_all_synced()
        steps.done(*startup.INFORMERS)
        if self._api is not None:
            await self._ensure_own_service(client)
        if self._pki is not None:
            _, proxy_ca = self._pki.ensure_proxy_client(server.PROXY)
            await bootstrap.ensure_authentication_info(client, self._pki.client_ca_pem(), server.PROXY, proxy_ca)
        steps.done(*startup.SERVICE, *startup.AUTHENTICATION)
        for controller in made:
            self.controllers[controller.name] = controller
            self._tasks.spawn(controller.run(), name=controller.name)
        steps.done(*startup.CONTROLLERS)
        self._tasks.spawn(retry_forever(nodes.run, sleep=self.clock.sleep, what="node heartbeats"), name="node heartbeats")
        self._tasks.spawn(remarks.run(), name="events")
        self._follow_faults()
        self._tasks.spawn(self._store_policy(client), name="default roles")

    async def _ensure_own_service(self, client: Client) -> None:
        await bootstrap.ensure_kubernetes_service(client, self._host, self._port)

    def _chosen(self, made: list[Controller[Any]]) -> list[Controller[Any]]:
        try:
            self._choice.check([controller.name for controller in made])
        except ChoiceError as error:
            raise SimError(str(error)) from error
        return [controller for controller in made if self._choice.is_on(controller.name)]

    def _follow_faults(self) -> None:
        """Break as the objects say, which are seen past what they break."""
        observer = self.observer()
        informers = InformerFactory(observer, clock=self._right_clock, seed=self._seed)
        made = build_fault_controller(self.name, observer, informers, self._set_fault, self._right_clock)
        informers.run_all(self._tasks)
        self._tasks.spawn(made.run(), name=made.name)

    def _is_stopping(self) -> bool:
        return self._server.app.is_stopping

    def _discovering(self, client: Client) -> Callable[[], Awaitable[Sequence[APIResource]]]:
        """What is served, for those who ask every second: a request when this server has something new, and at times for others' APIs."""
        held: list[Sequence[APIResource]] = []
        version, due_s = "", 0.0

        async def discover() -> Sequence[APIResource]:
            nonlocal version, due_s
            now_s, found = self.clock.monotonic(), self._server.catalog.version(LOCAL)
            if not held or found != version or now_s >= due_s:
                held[:] = [await client.discover()]
                version, due_s = found, now_s + _DISCOVER_S
            return held[0]

        return discover

    def _common_controllers(self, client: Client, informers: InformerFactory) -> list[Controller[Any]]:
        """Those that every Kubernetes API needs."""

        def for_cluster(_cluster: ClusterName) -> Client:
            return client

        discover = self._discovering(client)
        found: list[Controller[Any]] = [
            build_namespace_controller(
                informers, for_cluster=for_cluster, list_resources=lambda _: client.discover(), clock=self.clock, workers=2
            ),
            build_service_account_controller(informers, for_cluster=for_cluster, clock=self.clock, workers=1),
            build_cluster_role_aggregation(informers, for_cluster=for_cluster, clock=self.clock, workers=1),
            build_event_sweeper(client, for_cluster=for_cluster, clock=self.clock),
            build_crd_controller(informers, for_cluster=for_cluster, resolve=self._server.catalog.resolve, clock=self.clock, workers=1),
            build_api_service_controller(
                informers,
                client,
                served=lambda: self._server.catalog.resources(LOCAL),
                check=self._server.aggregated.check,
                clock=self.clock,
            ),
            build_flow_schema_controller(informers, client, clock=self.clock),
            build_quota_controller(client, informers, for_cluster=for_cluster, resources=discover, clock=self.clock, workers=1),
            build_garbage_collector(client, for_cluster=for_cluster, resources=discover, clock=self.clock, workers=4),
        ]
        if self._pki is not None:
            ca, tokens = self._pki.ca_pem, self._server.tokens
            found += [
                build_kubernetes_service_controller(informers, lambda: self._ensure_own_service(client), clock=self.clock),
                build_certificate_signer(informers, for_cluster=for_cluster, sign=self._pki.sign_client, clock=self.clock),
                build_root_ca_publisher(informers, for_cluster=for_cluster, clock=self.clock, ca_bundle=ca, workers=1),
                build_token_secret_controller(
                    informers, for_cluster=for_cluster, clock=self.clock, ca_bundle=ca, workers=1,
                    issue=lambda account, _cluster, name: tokens.issue_legacy(account, LOCAL, name),
                ),
            ]  # fmt: skip
        return found

    async def _store_policy(self, client: Client) -> None:
        await retry_forever(lambda: bootstrap.ensure_policy(client), sleep=self.clock.sleep, what="storing the default roles")
        now = rfc3339(self.clock.now())
        await retry_forever(lambda: ensure_first_objects(client, now), sleep=self.clock.sleep, what="storing the first objects")
        if self._has_system_pods:
            await retry_forever(lambda: ensure_dns(client), sleep=self.clock.sleep, what="storing the cluster's DNS")

    async def stop(self) -> None:
        """Everything down, in reverse order. Idempotent."""
        self.faults.restore()  # whoever waits for an answer gets its end instead
        for handle in (self._api, self._control):
            if handle is not None:
                await handle.stop()
        self._api = self._control = None
        await self._stack.aclose()

    async def wait_failed(self) -> None:
        """Wait until some part breaks for good. Raises: SimError."""
        error = await self._tasks.wait_failed()
        raise SimError(f"simulated cluster {self.name} broke: {type(error).__name__}: {error}") from error

    # Serving

    async def _serve(self) -> None:
        self._api = await self._listen(FaultyApp(self._server.app, self.faults, self.clock), self._port)
        self._port = self._api.port  # kept over kill and restore
        authenticated = chain(
            control.handler(self.name, lambda: self.faults.state, self._command),
            with_errors(),
            with_request_info(),
            with_authentication(self._server.authentication),
        )
        self._control = await self._listen(control.Switchboard(App(authenticated), self._server.app), 0)

    async def _listen(self, app: ASGIApp, port: int) -> ServerHandle:
        assert self._pki is not None, "only a cluster with certificates listens"
        files = TLSFiles(certificate=self._pki.serving.certificate, key=self._pki.serving.key, client_ca=self._pki.client_ca.certificate)
        return await serve(app, ServingConfig(host=self._host, port=port, tls=files, port_flag="--port"), clock=self.clock)

    # Reaching it

    @property
    def url(self) -> str:
        return f"https://{self._host}:{self._port}" if self._listens else f"in-process://{self.name}"

    def client(self, user: UserInfo = ADMIN) -> Client:
        """A client in this process, which meets the faults as one outside would."""
        inner = AsgiTransport(self._server.app, user, where=f"simulated cluster {self.name}")
        return Client(FaultyTransport(inner, self.faults, self.clock), clock=self.clock)

    def observer(self) -> Client:
        """A client for whoever watches from outside of the simulation: no fault keeps it from seeing what is."""
        return Client(AsgiTransport(self._server.app, ADMIN, where=f"simulated cluster {self.name}"), clock=self.clock)

    def _own_client(self) -> Client:
        inner = AsgiTransport(self._server.app, _MANAGER, where=f"simulated cluster {self.name}")
        return Client(FaultyTransport(inner, self.faults, self.clock, inside=True), clock=self.clock, user_agent="kube-controller-manager")

    def kubeconfig(self) -> JSONObject:
        """One context, named like the cluster, with the administrator's certificate. Raises: SimError for a cluster without sockets."""
        if self._pki is None or self._control is None:
            raise SimError(f"simulated cluster {self.name} does not listen: use client()")
        credentials = self._pki.ensure_client("admin", ADMIN.name, ["system:masters"])
        cluster = {
            "server": self.url,
            "certificate-authority-data": _base64(self._pki.ca.certificate),
            "extensions": [{"name": control.KUBECONFIG_EXTENSION, "extension": {"controlURL": self._control.url}}],
        }
        user = {
            "client-certificate-data": _base64(credentials.certificate),
            "client-key-data": _base64(credentials.key),
        }
        document = kubeconfig.empty()
        kubeconfig.put(document, "clusters", self.name, cluster)
        kubeconfig.put(document, "users", f"{self.name}-admin", user)
        kubeconfig.put(document, "contexts", self.name, {"cluster": self.name, "user": f"{self.name}-admin"})
        document["current-context"] = self.name
        return document

    def write_kubeconfig(self, path: Path) -> None:
        """Readable by the owner only."""
        kubeconfig.save(path, self.kubeconfig())

    def record(self, kubeconfig_path: Path) -> ClusterRecord:
        """For `runstate.announce`, so that other processes find the cluster."""
        if self._control is None:
            raise SimError(f"simulated cluster {self.name} does not listen: other processes cannot reach it")
        return ClusterRecord(
            name=self.name,
            pid=os.getpid(),
            url=self.url,
            control_url=self._control.url,
            kubeconfig=str(kubeconfig_path.absolute()),
            nodes=self._node_count,
            started=self._started,
            labels=self.labels,
            data_dir=str(self._data_dir.absolute()) if self._data_dir else "",
        )

    # Breaking it

    async def set_fault(self, fault: Fault, *, latency_s: float = 0.0, skew_s: float = 0.0) -> None:
        """Give the cluster a fault in place of the one it has; `Fault.NONE` mends it, whatever objects say."""
        await self._command(FaultState(fault, latency_s, skew_s))

    async def restore(self) -> None:
        await self.set_fault(Fault.NONE)

    async def _command(self, wanted: FaultState) -> None:
        await delete_all(self.observer())
        await self._set_fault(wanted)

    async def _set_fault(self, wanted: FaultState) -> None:
        async with self._changing:
            self.faults.set(wanted.fault, latency_s=wanted.latency_s, skew_s=wanted.skew_s)
            if wanted.fault is Fault.KILL:
                if self._api is not None:
                    api, self._api = self._api, None
                    await api.stop()
            elif self._api is None and self._listens:
                self._api = await self._listen(FaultyApp(self._server.app, self.faults, self.clock), self._port)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Counters of each controller."""
        return {name: controller.statistics() for name, controller in self.controllers.items()}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
