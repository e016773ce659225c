"""The fleet of a sandbox: a control plane with TMC, simulated clusters and their syncers, in one process.

Everything speaks HTTPS as it would between machines; only the processes are one. Before: `sandbox`, tests.
After: `server.compose`, `sim.cluster`, `tmc.syncer`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options, TMCOptions
from kcp.sim import runstate
from kcp.sim.cluster import SimCluster
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.syncer.engine import Syncer, find_target
from kcp.tmc.syncer.settings import SyncerConfig

Tell: TypeAlias = Callable[[str], None]
"""Told, in a few words, of each step that is done."""

REGIONS = ("east", "west", "north", "south", "central")
_TOLD_ONE_BY_ONE = len(REGIONS)
"""Of more clusters than these, progress is told ten by ten."""
_TOLD_AT_ONCE = 10
WORKSPACE = "hello-world"
_SHOWN = ("pods", "persistentvolumes")
"""Of the clusters, in the workspace, where there are few: every pod is written a second time for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxOptions:
    root_directory: Path
    secure_port: int
    clusters: int
    once: str = ""
    """Name of the example to run; "" to stay up."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a sandbox runs."""

    server: KcpServer
    clusters: dict[str, SimCluster]
    workspace: Client
    """Of the workspace with the SyncTargets."""
    root_directory: Path
    parts: Supervisor
    """Syncers, and watchers over the others."""

    def kubeconfig_of(self, cluster: str) -> Path:
        return self.root_directory / "clusters" / f"{cluster}.kubeconfig"

    async def wait_failed(self) -> None:
        """Wait until some part of the fleet has failed, and raise its error."""
        raise await self.parts.wait_failed()


@asynccontextmanager
async def run_fleet(options: SandboxOptions, clock: Clock, tell: Tell) -> AsyncIterator[Fleet]:
    """The fleet, ready to be used, until the block is left."""

    async with AsyncExitStack() as stack:
        port = options.secure_port or (0 if options.once else 6443)
        kcp = Options(root_directory=options.root_directory, secure_port=port, tmc=TMCOptions(enabled=True))
        server = await stack.enter_async_context(run_server(kcp, clock=clock))
        tell(f"control plane with TMC at {server.url}")
        names = [REGIONS[i] if i < len(REGIONS) else f"cluster-{i + 1}" for i in range(options.clusters)]
        clusters = await _start_clusters(stack, options, names, clock, tell)
        workspace = await _ensure_workspace(server, tell)
        connections = await stack.enter_async_context(AsyncExitStack())  # closed after the syncers that use them have stopped
        fleet = Fleet(server, clusters, workspace, options.root_directory, await stack.enter_async_context(Supervisor("fleet")))
        fleet.parts.spawn(server.wait_failed(), name="server")
        for cluster in clusters.values():
            fleet.parts.spawn(cluster.wait_failed(), name=f"cluster {cluster.name}")
        await _start_syncers(connections, fleet, names, tell)
        yield fleet


async def _start_clusters(
    stack: AsyncExitStack, options: SandboxOptions, names: Sequence[str], clock: Clock, tell: Tell
) -> dict[str, SimCluster]:
    clusters = {}
    for number, name in enumerate(names, 1):
        cluster = clusters[name] = await _start_cluster(stack, options, name, clock)
        if len(names) <= _TOLD_ONE_BY_ONE:
            tell(f"simulated cluster {name} at {cluster.url}, 3 nodes, region={name}")
        elif number % _TOLD_AT_ONCE == 0 or number == len(names):
            tell(f"{number} of {len(names)} simulated clusters, 3 nodes each")
    return clusters


async def _start_cluster(stack: AsyncExitStack, options: SandboxOptions, name: str, clock: Clock) -> SimCluster:
    directory = options.root_directory / "clusters"
    directory.mkdir(parents=True, exist_ok=True)
    cluster = await stack.enter_async_context(SimCluster(name, nodes=3, labels={"region": name}, clock=clock, data_dir=directory / name))
    path = directory / f"{name}.kubeconfig"
    cluster.write_kubeconfig(path)
    record, state = cluster.record(path), options.root_directory / "sim"
    runstate.announce(record, state)
    stack.callback(runstate.withdraw, record, state)
    return cluster


async def _ensure_workspace(server: KcpServer, tell: Tell) -> Client:
    """Workspace root:hello-world, made if it is not there yet."""

    root = server.client.cluster("root").resource(kinds.WORKSPACES)
    wanted = {"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": WORKSPACE}, "spec": {}}
    try:
        await root.create(wanted)
    except AlreadyExists:
        pass  # left from the last time
    is_ready = lambda w: bool(meta.nested(w, "status", "phase") == kinds.READY)  # noqa: E731 - said once, used once
    await wait_for(root, WORKSPACE, is_ready, timeout_s=30.0, what=f"workspace root:{WORKSPACE}")
    tell(f"workspace root:{WORKSPACE}")
    return server.client.cluster(f"root:{WORKSPACE}")


async def _start_syncers(stack: AsyncExitStack, fleet: Fleet, names: Sequence[str], tell: Tell) -> None:
    """SyncTargets and the syncers that serve them, over HTTPS on both sides."""
    upstream = kubeconfig.connect(fleet.server.options.admin_kubeconfig, "base")  # one for all: they are one program here
    stack.push_async_callback(upstream.close)
    for number, name in enumerate(names, 1):
        await _start_syncer(stack, fleet, name, upstream.at(""))
        if len(names) > _TOLD_ONE_BY_ONE and (number % _TOLD_AT_ONCE == 0 or number == len(names)):
            tell(f"{number} of {len(names)} syncers")
    if len(names) <= _TOLD_ONE_BY_ONE:
        tell(f"syncers of {', '.join(names)}")


async def _start_syncer(stack: AsyncExitStack, fleet: Fleet, name: str, control_plane: Client) -> None:
    """It stands in its cluster, and has the clock of it."""
    targets = fleet.workspace.resource(SYNC_TARGETS)
    wanted = {
        "apiVersion": SYNC_TARGETS.api_version,
        "kind": "SyncTarget",
        "metadata": {"name": name, "labels": {"region": name}},
        "spec": {},
    }
    try:
        target = await targets.create(wanted)
    except AlreadyExists:
        target = await targets.get(name)
    downstream = kubeconfig.connect(fleet.kubeconfig_of(name))
    stack.push_async_callback(downstream.close)
    identity = await find_target(control_plane, f"root:{WORKSPACE}", name, meta.uid(target))
    config = SyncerConfig(upsync=_SHOWN if len(fleet.clusters) <= _TOLD_ONE_BY_ONE else ())
    fleet.parts.spawn(Syncer(identity, control_plane, downstream, fleet.clusters[name].clock, config).run(), name=f"syncer {name}")
