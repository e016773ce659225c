"""Everything of TMC in one process, without sockets: a control plane, simulated clusters, their syncers, and faults between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.faults import FailingTransport

from kcp.aio.clock import SystemClock
from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import Transport
from kcp.server.compose import SYSTEM, KcpServer, run_server
from kcp.server.options import Options, TMCOptions
from kcp.sim.cluster import SimCluster
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SYNC_TARGETS, SYNCED
from kcp.tmc.model.names import synced_keys
from kcp.tmc.placement.rebalancing import REBALANCE_ANNOTATION
from kcp.tmc.syncer.engine import Syncer, find_target
from kcp.tmc.syncer.metrics import SyncerMetrics
from kcp.tmc.syncer.record import Record
from kcp.tmc.syncer.settings import SyncerConfig
from kcp.tracing.tracer import Tracer

DEPLOYMENTS = GVR("apps", "v1", "deployments")
CLOCK = SystemClock()
TMC = TMCOptions(enabled=True)
QUIET = SyncerConfig(heartbeat_period_s=3600.0, discovery_period_s=3600.0, namespace_clean_delay_s=0.05)
"""Syncers that write only what they must."""


@dataclass
class World:
    """What a test holds of it. `faults`: one transport for each side that writes; arm one with `fail`."""

    server: KcpServer
    clusters: dict[str, SimCluster]
    client: Client
    """Of the test itself, for the workspace; meets no faults."""
    faults: dict[str, FailingTransport] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    """Of the syncers, with their metrics."""

    def writes(self, side: str) -> list[str]:
        return self.faults[side].written

    def fail(self, side: str, n: int, lost: Any) -> None:
        """Let the n-th write of a side from now on fail; 0: none."""
        for transport in self.faults.values():
            transport.writes, transport.n, transport.written = 0, 0, []
        self.faults[side].n, self.faults[side].lost = n, lost

    async def create(self, gvr: GVR, kind: str, name: str, *, namespace: str = "", **parts: Any) -> JSONObject:
        obj = {"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": name}, **parts}
        return await self.client.resource(gvr).create(obj, namespace=namespace)

    async def set_up(self) -> None:
        """SyncTargets of the clusters, and one Placement on all of them for every namespace."""
        for name in self.clusters:
            await self.create(SYNC_TARGETS, "SyncTarget", name, spec={})
        await self.create(PLACEMENTS, "Placement", "all", spec={"numberOfClusters": len(self.clusters)})

    async def spread(self) -> None:
        """Wait until the namespace is on all clusters: whoever is ready first would get the replica that does not divide evenly."""

        async def look() -> int:
            return len(synced_keys(await self.client.resource(NAMESPACES).get("default")))

        await until(look, lambda found: found == len(self.clusters))

    async def deploy(self, namespace: str, name: str, replicas: int) -> JSONObject:
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        return await self.create(DEPLOYMENTS, "Deployment", name, namespace=namespace, spec=spec)

    async def below(self, name: str) -> dict[str, int]:
        """Replicas that each cluster is asked to run of the Deployments of this name. Fails if one has two copies."""
        found: dict[str, int] = {}
        for cluster in self.clusters.values():
            for copy in (await cluster.client().resource(DEPLOYMENTS).list()).items:
                if meta.name(copy) == name:
                    assert cluster.name not in found, f"{name} is doubled in {cluster.name}"
                    found[cluster.name] = copy["spec"]["replicas"]
        return found

    async def report(self, **used: int) -> None:
        """As if these clusters used so many of ten CPUs, until their syncers say otherwise."""
        for name, cpu in used.items():
            status = {"allocatable": {"cpu": "10", "memory": "10Gi"}, "usage": {"cpu": str(cpu), "memory": "1Gi"}}
            await self.client.resource(SYNC_TARGETS).patch(name, {"status": status}, subresource="status")

    async def rebalance(self) -> None:
        """Ask for it, unless an earlier request has not been answered yet."""
        placements = self.client.resource(PLACEMENTS)
        held = await placements.get("all")
        asked = meta.annotations(held).get(REBALANCE_ANNOTATION, "")
        if meta.nested(held, "status", "rebalanceRequest", default="") == asked:
            await placements.patch("all", {"metadata": {"annotations": {REBALANCE_ANNOTATION: f"{asked}again "}}})

    async def settle(self, namespace: str, name: str, replicas: int) -> None:
        """Wait until the Deployment is ready, heard of by all clusters, and adds up downstream."""

        async def look() -> tuple[bool, dict[str, int]]:
            obj = await self.client.resource(DEPLOYMENTS).get(name, namespace=namespace)
            counted = (meta.nested(obj, "status", "replicas", default=0), meta.nested(obj, "status", "readyReplicas", default=0))
            return counted == (replicas, replicas) and conditions.is_true(obj, SYNCED), await self.below(name)

        await until(look, lambda found: found[0] and sum(found[1].values()) == replicas)

    async def gone(self, gvr: GVR, name: str, namespace: str = "") -> None:
        async def look() -> bool:
            try:
                await self.client.resource(gvr).get(name, namespace=namespace)
            except NotFound:
                return True
            return False

        await until(look, bool)


async def until(look: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool], *, timeout_s: float = 10.0) -> Any:
    """What `look` gives once it is right; several programs take part, none of which tells us."""
    found: Any = None
    try:
        async with asyncio.timeout(timeout_s):
            while not is_right(found := await look()):  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"never right; last: {found}") from None
    return found


@asynccontextmanager
async def with_clusters() -> AsyncIterator[dict[str, SimCluster]]:
    async with AsyncExitStack() as stack:
        clusters = [SimCluster.in_process(name, nodes=1, clock=CLOCK, start_delay_s=0.0) for name in ("east", "west")]
        yield {cluster.name: await stack.enter_async_context(cluster) for cluster in clusters}


Through: TypeAlias = Callable[[Transport], Transport]


@asynccontextmanager
async def running(
    directory: Path, patch: pytest.MonkeyPatch, *, through: Through = lambda inner: inner, config: SyncerConfig = QUIET
) -> AsyncIterator[World]:
    """Control plane and clusters, SyncTargets with their syncers, one Placement on both for every namespace."""
    async with with_clusters() as clusters:
        async with with_control_plane(directory, patch, clusters, in_memory=True) as world:
            await world.set_up()
            async with syncing(world, through=through, config=config):
                yield world


@asynccontextmanager
async def with_control_plane(
    directory: Path, patch: pytest.MonkeyPatch, clusters: dict[str, SimCluster], *, in_memory: bool, tmc: TMCOptions = TMC, **more: Any
) -> AsyncIterator[World]:
    """The server and its workspace `root:work`, made if it is not there. Args: more: options of the server."""
    options = Options(root_directory=directory / ".kcp", in_memory=in_memory, tmc=tmc, **more)
    async with run_server(options, clock=CLOCK, with_socket=False) as server:
        untouched = Client(AsgiTransport(server.app, SYSTEM), clock=CLOCK)
        workspaces = untouched.cluster("root").resource(kinds.WORKSPACES)
        if not (await workspaces.list(field_selector="metadata.name=work")).items:
            spec = {"type": {"name": "universal", "path": "root"}}
            made = {"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "work"}, "spec": spec}
            await workspaces.create(made)
        await wait_for(workspaces, "work", lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what="root:work")
        world = World(server, clusters, untouched.cluster("root:work"))
        world.faults["controllers"] = _interpose(server.client.transport, patch)
        yield world


@asynccontextmanager
async def with_target(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """The same with SyncTargets, but without syncers."""
    async with with_clusters() as clusters, with_control_plane(directory, patch, clusters, in_memory=True) as world:
        await world.set_up()
        yield world


def _interpose(transport: Transport, patch: pytest.MonkeyPatch) -> FailingTransport:
    """Put faults into a transport that clients hold already."""

    class Original:
        request = staticmethod(transport.request)
        stream = staticmethod(transport.stream)
        close = staticmethod(transport.close)

    failing = FailingTransport(Original())
    patch.setattr(transport, "request", failing.request)
    return failing


@asynccontextmanager
async def syncing(
    world: World, *, through: Through = lambda inner: inner, config: SyncerConfig = QUIET, tracer: Tracer | None = None
) -> AsyncIterator[None]:
    """A syncer for each cluster; east's meets the faults "syncer up" and "syncer down", and reaches its cluster `through` this."""
    async with Supervisor("syncers") as tasks:
        for name, cluster in world.clusters.items():
            up: Transport = AsgiTransport(world.server.app, SYSTEM)
            down = cluster.client().transport
            if name == "east":
                up = world.faults["syncer up"] = FailingTransport(up)
                down = world.faults["syncer down"] = FailingTransport(through(down))
            control_plane = Client(up, clock=CLOCK)
            target = await world.client.resource(SYNC_TARGETS).get(name)
            identity = await find_target(control_plane, "root:work", name, meta.uid(target))
            record = world.records[name] = Record(CLOCK, SyncerMetrics(Meter(), name, "root:work"))
            syncer = Syncer(identity, control_plane, Client(down, clock=CLOCK), cluster.clock, config, record, tracer=tracer)
            tasks.spawn(syncer.run(), name=f"syncer {name}")
        targets = world.client.resource(SYNC_TARGETS)
        for name in world.clusters:
            await wait_for(targets, name, lambda t: conditions.is_true(t, "Ready"), timeout_s=10.0, what=f"SyncTarget {name}")
        yield
