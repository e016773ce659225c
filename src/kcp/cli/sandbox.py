"""`kcp sandbox`: a control plane with TMC, simulated clusters and their syncers, in one process. A newcomer's fleet in one command.

Everything speaks HTTPS as it would between machines; only the processes are one. Before: the shell, `make demo`.
After: `server.compose`, `sim.cluster`, `tmc.syncer`, `cli.walkthrough`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kcp.cli.flags import setup_logging

if TYPE_CHECKING:
    from kcp.aio.clock import Clock
    from kcp.aio.supervisor import Supervisor
    from kcp.client.rest import Client
    from kcp.server.compose import KcpServer
    from kcp.sim.cluster import SimCluster

log = logging.getLogger(__name__)

REGIONS = ("east", "west", "north", "south", "central")
WORKSPACE = "hello-world"


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxOptions:
    root_directory: Path
    secure_port: int
    clusters: int
    once: str
    verbosity: int


@click.command("sandbox", help="Run a whole fleet here: the control plane with TMC, simulated clusters and their syncers.")
@click.option("--once", default="", metavar="EXAMPLE", help="Run one example, show what happens, and end: hello-world.")
@click.option("--clusters", default=2, show_default=True, type=click.IntRange(1, 50), help="How many simulated clusters.")
@click.option(
    "--root-directory", type=click.Path(path_type=Path), default=Path(".kcp"), show_default=True, help="Where everything is kept."
)
@click.option("--secure-port", default=0, type=int, help="Port of the control plane. [default: 6443, or a free one with --once]")
@click.option("--v", "verbosity", default=1, show_default=True, help="Log level: 0 errors, 1 warnings, 2 progress, 4 debug.")
def sandbox_command(verbosity: int, **flags: object) -> None:
    setup_logging(verbosity)
    options = SandboxOptions(verbosity=verbosity, **flags)  # type: ignore[arg-type]
    if options.once and options.once != WORKSPACE:
        raise click.BadParameter(f"{options.once!r}: the examples are: {WORKSPACE}", param_hint="--once")
    from kcp.apiserver.listening import ListenError
    from kcp.apiserver.pki import PKIError
    from kcp.cli.running import run_until_stopped
    from kcp.sim.cluster import SimError
    from kcp.storage.interface import StoreError
    from kcp.tmc.errors import TMCError

    run_until_stopped(lambda: _run(options), expected=(ListenError, PKIError, SimError, StoreError, TMCError, OSError))


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a sandbox runs."""

    server: KcpServer
    clusters: dict[str, SimCluster]
    workspace: Client
    """Of the workspace with the SyncTargets."""
    root_directory: Path

    def kubeconfig_of(self, cluster: str) -> Path:
        return self.root_directory / "clusters" / f"{cluster}.kubeconfig"


async def _run(options: SandboxOptions) -> None:
    from kcp.aio.clock import SystemClock
    from kcp.cli import walkthrough

    clock = SystemClock()
    started_s = clock.monotonic()
    async with run_fleet(options, clock, walkthrough.show_step) as fleet:
        if options.once:
            await walkthrough.hello_world(fleet, clock, started_s)
        else:
            walkthrough.show_fleet(fleet)
            await fleet.server.wait_failed()


@asynccontextmanager
async def run_fleet(options: SandboxOptions, clock: Clock, told: object) -> AsyncIterator[Fleet]:
    """The fleet, ready to be used, until the block is left."""
    from kcp.aio.supervisor import Supervisor
    from kcp.cli.walkthrough import Tell
    from kcp.server.compose import run_server
    from kcp.server.options import Options, TMCOptions

    tell: Tell = told  # type: ignore[assignment]
    async with AsyncExitStack() as stack:
        port = options.secure_port or (0 if options.once else 6443)
        kcp = Options(root_directory=options.root_directory, secure_port=port, tmc=TMCOptions(enabled=True))
        server = await stack.enter_async_context(run_server(kcp, clock=clock))
        tell(f"control plane with TMC at {server.url}")
        names = [REGIONS[i] if i < len(REGIONS) else f"cluster-{i + 1}" for i in range(options.clusters)]
        clusters = {name: await _start_cluster(stack, options, name, clock, tell) for name in names}
        workspace = await _ensure_workspace(server, tell)
        fleet = Fleet(server, clusters, workspace, options.root_directory)
        connections = await stack.enter_async_context(AsyncExitStack())  # closed after the syncers that use them have stopped
        syncers = await stack.enter_async_context(Supervisor("syncers"))
        for name in names:
            await _start_syncer(connections, syncers, fleet, name, clock)
        tell(f"syncers of {', '.join(names)}")
        yield fleet


async def _start_cluster(stack: AsyncExitStack, options: SandboxOptions, name: str, clock: Clock, tell: object) -> SimCluster:
    from kcp.sim import runstate
    from kcp.sim.cluster import SimCluster

    directory = options.root_directory / "clusters"
    directory.mkdir(parents=True, exist_ok=True)
    cluster = await stack.enter_async_context(SimCluster(name, nodes=3, labels={"region": name}, clock=clock, data_dir=directory / name))
    path = directory / f"{name}.kubeconfig"
    cluster.write_kubeconfig(path)
    record, state = cluster.record(path), options.root_directory / "sim"
    runstate.announce(record, state)
    stack.callback(runstate.withdraw, record, state)
    tell(f"simulated cluster {name} at {cluster.url}, 3 nodes, region={name}")  # type: ignore[operator]
    return cluster


async def _ensure_workspace(server: KcpServer, tell: object) -> Client:
    """Workspace root:hello-world, made if it is not there yet."""
    from kcp.apimachinery import meta
    from kcp.apimachinery.errors import AlreadyExists
    from kcp.tenancy import kinds
    from kcp.tenancy.waiting import wait_for

    root = server.client.cluster("root").resource(kinds.WORKSPACES)
    wanted = {"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": WORKSPACE}, "spec": {}}
    try:
        await root.create(wanted)
    except AlreadyExists:
        pass  # left from the last time
    is_ready = lambda w: bool(meta.nested(w, "status", "phase") == kinds.READY)  # noqa: E731 - said once, used once
    await wait_for(root, WORKSPACE, is_ready, timeout_s=30.0, what=f"workspace root:{WORKSPACE}")
    tell(f"workspace root:{WORKSPACE}")  # type: ignore[operator]
    return server.client.cluster(f"root:{WORKSPACE}")


async def _start_syncer(stack: AsyncExitStack, syncers: Supervisor, fleet: Fleet, name: str, clock: Clock) -> None:
    """A SyncTarget and the syncer that serves it, over HTTPS on both sides."""
    from kcp.apimachinery import meta
    from kcp.apimachinery.errors import AlreadyExists
    from kcp.client import kubeconfig
    from kcp.tmc.model.kinds import SYNC_TARGETS
    from kcp.tmc.syncer.engine import Syncer, find_target

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
    upstream = kubeconfig.connect(fleet.server.options.admin_kubeconfig, "base")
    downstream = kubeconfig.connect(fleet.kubeconfig_of(name))
    stack.push_async_callback(upstream.close)
    stack.push_async_callback(downstream.close)
    control_plane = upstream.at("")
    identity = await find_target(control_plane, f"root:{WORKSPACE}", name, meta.uid(target))
    syncers.spawn(Syncer(identity, control_plane, downstream, clock).run(), name=f"syncer {name}")
