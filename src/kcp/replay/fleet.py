"""A whole fleet in one process under virtual time: the control plane, simulated clusters, their syncers, and the faults between them.

Every program can be killed and comes back with what it had stored, as its supervisor (systemd, a Deployment) would bring it back.
Before: `player`. After: the real server, the real syncers and the simulator, unchanged; only sockets and TLS are left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcp.aio.clock import Clock
from kcp.aio.durations import format_duration
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import StatusError
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import Transport, TransportError
from kcp.server.compose import SYSTEM, KcpServer, run_server
from kcp.server.options import Options, TMCOptions
from kcp.sim.cluster import SimCluster
from kcp.sim.faultobjects import FAULTS, delete_all
from kcp.sim.faults import Fault, FaultSwitch, FaultyTransport
from kcp.storage.interface import Event, Revision
from kcp.storage.memory import MemoryStore
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for
from kcp.tmc.errors import TMCError
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS
from kcp.tmc.syncer.engine import Syncer, first_contact
from kcp.tmc.syncer.settings import SyncerConfig

log = logging.getLogger(__name__)

WORKSPACE = "work"
PATH = f"root:{WORKSPACE}"
RESTART_S = 2.0
"""How long a supervisor takes to start a program again."""


class ControlPlane:
    """The server, its durable store, and the way to it, which can break."""

    def __init__(self, directory: Path, clock: Clock, seed: int) -> None:
        self._options = Options(root_directory=directory, in_memory=True, tmc=TMCOptions(enabled=True))
        self._clock = clock
        self._seed = seed
        self._store = MemoryStore()
        self._life: AsyncExitStack | None = None
        self.server: KcpServer | None = None
        self.faults = FaultSwitch("control-plane")
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        life = AsyncExitStack()
        seed = self._seed + self.starts * 1_000_003  # two lives must not make the same uids
        self.server = await life.enter_async_context(
            run_server(self._options, clock=self._clock, with_socket=False, store=self._store, seed=seed)
        )
        self._life = life

    async def stop(self) -> None:
        life, self._life, self.server = self._life, None, None
        if life is not None:
            await life.aclose()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application of whichever life of the server it is. What comes between two lives is refused by `faults`."""
        if self.server is not None:
            await self.server.app(scope, receive, send)

    def changes(self) -> AsyncGenerator[Sequence[Event], None]:
        """All writes from now on, through all lives of the server."""
        return self._store.watch(b"/registry/", Revision(self._store.current_revision_nowait() or 0), prev_values=False)

    def client(self, *, through_faults: bool = True, way: FaultSwitch | None = None) -> Client:
        """Args: way: a further switch between this client and the server."""
        transport: Transport = AsgiTransport(self, SYSTEM, where="the control plane")
        for switch in (self.faults, *((way,) if way is not None else ())) if through_faults else ():
            transport = FaultyTransport(transport, switch, self._clock)
        return Client(transport, clock=self._clock)


@dataclass
class Fleet:
    """A fleet that runs. `clusters` by name."""

    clock: Clock
    control_plane: ControlPlane
    clusters: Mapping[str, SimCluster]
    tasks: Supervisor
    uids: Mapping[str, str] = field(default_factory=dict)
    """Of the SyncTargets, as syncers are told them."""
    cuts: Mapping[str, FaultSwitch] = field(default_factory=dict)
    """By cluster: the way of its syncer to the control plane."""
    _syncers: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def user(self) -> Client:
        """Of a user in the workspace, who meets a broken control plane like everybody."""
        return self.control_plane.client().cluster(PATH)

    async def set_fault(self, target: str, fault: Fault, *, amount: float) -> None:
        """Args: target: a cluster's name, or `control-plane`. amount: seconds of `slow` or `skew`."""
        if target in self.clusters:
            await self._put_fault(self.clusters[target], fault, amount)
            return
        plane = self.control_plane
        plane.faults.set(fault, latency_s=amount)
        if fault is Fault.KILL:
            await plane.stop()
        elif plane.server is None:
            plane.faults.set(Fault.KILL)  # nobody is let in before it is ready
            await plane.start()
            plane.faults.set(fault, latency_s=amount)

    @staticmethod
    async def _put_fault(cluster: SimCluster, fault: Fault, amount: float) -> None:
        """As an object of the cluster, as whoever breaks clusters by a file would."""
        faults = cluster.observer().resource(FAULTS)
        await delete_all(cluster.observer())
        if fault is not Fault.NONE:
            amounts = {Fault.SLOW: "latency", Fault.SKEW: "skew"}
            spec = {"type": fault.value, **({amounts[fault]: format_duration(amount)} if fault in amounts else {})}
            await faults.create(_object(FAULTS.api_version, "Fault", "replayed", spec))
        while cluster.faults.state.fault is not fault:  # what follows is to meet it
            await cluster.faults.wait_change()

    def cut_off(self, name: str) -> None:
        """The cluster and its syncer hear nothing of the control plane; inside, everything goes on."""
        self.cuts[name].set(Fault.PARTITION)

    def start_syncer(self, name: str) -> None:
        if name not in self._syncers:
            self._syncers[name] = self.tasks.spawn(self._sync(name), name=f"syncer {name}")

    async def stop_syncer(self, name: str) -> None:
        """As by SIGKILL: nothing is finished, nothing is said."""
        task = self._syncers.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _sync(self, name: str) -> None:
        """The syncer of a cluster, started again whenever it ends, with the clock of its cluster."""
        cluster, config = self.clusters[name], SyncerConfig()
        while True:
            control_plane = self.control_plane.client(way=self.cuts.get(name))
            try:
                identity = await first_contact(
                    control_plane, cluster.client(), cluster.clock, config, workspace=PATH, name=name, uid=self.uids[name]
                )
                await Syncer(identity, control_plane, cluster.client(), cluster.clock, config, holder=name).run()
            except (TMCError, StatusError, TransportError) as error:  # anything else is a fault of the program, and ends the replay
                log.info("syncer of %s ended and starts again: %s", name, error)
            await self.clock.sleep(RESTART_S)


@asynccontextmanager
async def run_fleet(
    directory: Path, clock: Clock, clusters: tuple[str, ...], *, seed: int, number_of_clusters: int, eviction_s: int | None = None
) -> AsyncIterator[Fleet]:
    """The fleet, its SyncTargets and one Placement over all of them, until the block is left. Args: eviction_s: of the Placement."""
    async with AsyncExitStack() as stack:
        made = {
            name: await stack.enter_async_context(SimCluster.in_process(name, nodes=2, clock=clock, seed=seed + index))
            for index, name in enumerate(clusters, 1)
        }
        plane = ControlPlane(directory, clock, seed)
        await plane.start()
        stack.push_async_callback(plane.stop)
        uids = await _set_up(plane.client(through_faults=False), clusters, number_of_clusters, eviction_s)
        tasks = await stack.enter_async_context(Supervisor("replay"))
        fleet = Fleet(clock, plane, made, tasks, uids, {name: FaultSwitch(f"way of {name}") for name in clusters})
        for name in clusters:
            fleet.start_syncer(name)
        yield fleet


async def _set_up(client: Client, clusters: tuple[str, ...], number_of_clusters: int, eviction_s: int | None) -> dict[str, str]:
    """The uids of the SyncTargets by name."""
    workspaces = client.cluster("root").resource(kinds.WORKSPACES)
    await workspaces.create(_object(kinds.WORKSPACES.api_version, "Workspace", WORKSPACE, {"type": {"name": "universal", "path": "root"}}))
    await wait_for(workspaces, WORKSPACE, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=60.0, what=PATH)
    work = client.cluster(PATH)
    made = [await work.resource(SYNC_TARGETS).create(_object(SYNC_TARGETS.api_version, "SyncTarget", name, {})) for name in clusters]
    movement = {} if eviction_s is None else {"movement": {"evictionSeconds": eviction_s}}
    spec = {"numberOfClusters": number_of_clusters, "namespaceSelector": {}, **movement}
    await work.resource(PLACEMENTS).create(_object(PLACEMENTS.api_version, "Placement", "all", spec))
    return {meta.name(target): meta.uid(target) for target in made}


def _object(api_version: str, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
