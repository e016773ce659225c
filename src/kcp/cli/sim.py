"""`kcp sim …`: run a simulated physical cluster, list those that run here, and break or mend them.

Included in `kcp` as `sim_group`. Before: the shell. After: `sim.cluster` (in this process), `sim.control` (of another).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kcp.aio.durations import format_duration
from kcp.cli.flags import Duration, fail, verbosity_flag
from kcp.cli.logs import LogOptions, setup_logging
from kcp.cli.sim_apply import apply_command
from kcp.cli.sim_replay import replay_command

if TYPE_CHECKING:
    from kcp.sim.faults import FaultState

log = logging.getLogger(__name__)

_STATE_DIR = click.option(
    "--state-dir", type=click.Path(path_type=Path), default=Path(".kcp/sim"), show_default=True,
    help="Where running simulated clusters leave their addresses.",
)  # fmt: skip


@click.group("sim", help="Simulated physical clusters: run them, list them, break them, mend them.")
def sim_group() -> None:
    """The subcommands do the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _ClusterFlags:
    name: str
    host: str
    port: int
    nodes: int
    labels: dict[str, str]
    cpu_per_node: str
    memory_per_node: str
    pod_start_delay: float
    system_pods: bool
    controllers: tuple[str, ...]
    disable_admission_plugins: tuple[str, ...]
    kubeconfig_out: Path
    data_dir: Path | None
    state_dir: Path


def _labels(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`region=east,zone=a`, any number of times."""
    from kcp.apimachinery import names

    found: dict[str, str] = {}
    for item in (part for value in values for part in value.split(",") if part):
        key, equals, value = item.partition("=")
        faults = [] if equals else [f"{item!r} is not KEY=VALUE"]
        faults += names.qualified_name(key) + names.label_value(value)
        if faults:
            raise click.BadParameter(f"{item!r}: {'; '.join(faults)}")
        found[key] = value
    return found


def _list(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part for item in value.split(",") if (part := item.strip()))


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    from kcp.apimachinery import names

    if faults := names.dns1123_label(value):
        raise click.BadParameter(f"{value!r}: {'; '.join(faults)}")
    return value


def _quantity(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    from kcp.apimachinery import quantity

    try:
        if quantity.parse(value) <= 0:
            raise click.BadParameter(f"{value!r} must be greater than zero")
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from error
    return value


@sim_group.command("cluster", help="Run a simulated cluster called NAME until Ctrl-C.")
@click.argument("name", callback=_name)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port of its API; 0 takes a free one.", show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--nodes", default=3, type=click.IntRange(0, 1000), show_default=True, help="Number of nodes.")
@click.option("--labels", multiple=True, callback=_labels, help="Labels of every node, such as region=east,zone=a.")
@click.option("--cpu-per-node", default="8", callback=_quantity, show_default=True, help="Cores of each node.")
@click.option("--memory-per-node", default="32Gi", callback=_quantity, show_default=True, help="Memory of each node.")
@click.option("--pod-start-delay", type=Duration(), default="50ms", show_default=True, help="How long a pod takes to start, and to stop.")
@click.option("--system-pods/--no-system-pods", default=True, show_default=True, help="Run the cluster's DNS in kube-system.")
@click.option(
    "--controllers", default="*", callback=_list, show_default=True, metavar="LIST",
    help="Controllers to run: * for all, NAME for one, -NAME for not that one; empty for an API server alone.",
)  # fmt: skip
@click.option(
    "--disable-admission-plugins",
    default="",
    callback=_list,
    metavar="LIST",
    help="Admission plugins that are off, such as ServiceAccount.",
)
@click.option("--kubeconfig-out", type=click.Path(path_type=Path), default=None, help="Kubeconfig to write.  [default: NAME.kubeconfig]")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=None, help="Keep objects and certificates here. Without it all is forgotten."
)
@_STATE_DIR
@verbosity_flag(default=1, help="Log level: 0 errors, 1 warnings, 2 progress, 4 debug.")
def cluster_command(verbosity: int, kubeconfig_out: Path | None, name: str, **flags: object) -> None:
    setup_logging(LogOptions(verbosity=verbosity))
    from kcp.apiserver.listening import ListenError
    from kcp.apiserver.pki import PKIError
    from kcp.cli.running import run_until_stopped
    from kcp.sim.cluster import SimError
    from kcp.sim.runstate import NameTaken

    wanted = _ClusterFlags(name=name, kubeconfig_out=kubeconfig_out or Path(f"{name}.kubeconfig"), **flags)  # type: ignore[arg-type]
    run_until_stopped(lambda: _serve(wanted), expected=(ListenError, NameTaken, PKIError, SimError, OSError))


async def _serve(flags: _ClusterFlags) -> None:
    from contextlib import AsyncExitStack

    from kcp.aio.clock import SystemClock
    from kcp.cli.running import files_of
    from kcp.sim import runstate
    from kcp.sim.choice import Choice
    from kcp.sim.cluster import SimCluster

    runstate.check_free(flags.name, flags.state_dir)
    clock = SystemClock()
    started_s = clock.monotonic()
    cluster = SimCluster(
        flags.name,
        nodes=flags.nodes,
        labels=flags.labels,
        cpu_per_node=flags.cpu_per_node,
        memory_per_node=flags.memory_per_node,
        host=flags.host,
        port=flags.port,
        clock=clock,
        data_dir=flags.data_dir,
        start_delay_s=flags.pod_start_delay,
        system_pods=flags.system_pods,
        choice=Choice(controllers=flags.controllers, without_admission=flags.disable_admission_plugins),
    )
    async with AsyncExitStack() as stack:
        with files_of(f"--data-dir={flags.data_dir}" if flags.data_dir else "the directory for temporary files"):
            await stack.enter_async_context(cluster)
        with files_of(f"--kubeconfig-out={flags.kubeconfig_out}"):
            cluster.write_kubeconfig(flags.kubeconfig_out)
        record = cluster.record(flags.kubeconfig_out)
        runstate.announce(record, flags.state_dir)
        try:
            click.echo(_greeting(flags, cluster.url, clock.monotonic() - started_s))
            await cluster.wait_failed()
        finally:
            runstate.withdraw(record, flags.state_dir)


def _greeting(flags: _ClusterFlags, url: str, took_s: float) -> str:
    state = "" if flags.state_dir == Path(".kcp/sim") else f" --state-dir {flags.state_dir}"
    kept = f", data kept in {flags.data_dir}" if flags.data_dir else ", nothing is kept"
    labels = ",".join(f"{k}={v}" for k, v in flags.labels.items())
    shape = f"{flags.nodes} nodes of {flags.cpu_per_node} cores and {flags.memory_per_node}" + (f", {labels}" if labels else "")
    return (
        f"Simulated cluster {flags.name} serves {url} ({shape}{kept}); ready after {took_s:.2f} s.\n"
        f"\n"
        f"  kubectl --kubeconfig {flags.kubeconfig_out} get nodes,pods -A\n"
        f"  kubectl --kubeconfig {flags.kubeconfig_out} create deployment hello --image=nginx --replicas=3\n"
        f"  kcp sim kill {flags.name}{state}       and back: kcp sim restore {flags.name}{state}\n"
        f"\n"
        f"Ctrl-C ends it."
    )


@sim_group.command("list", help="List the simulated clusters that run on this machine.")
@_STATE_DIR
def list_command(state_dir: Path) -> None:
    import asyncio

    from kcp.sim import runstate

    records = runstate.running(state_dir)
    if not records:
        click.echo(f"No simulated clusters run here (looked in {state_dir}). Start one with: kcp sim cluster NAME")
        return
    rows = [("NAME", "URL", "FAULT", "NODES", "LABELS", "PID", "KUBECONFIG")]
    for record in records:
        fault = asyncio.run(_state_of(record.name, state_dir))
        labels = ",".join(f"{k}={v}" for k, v in record.labels.items()) or "<none>"
        rows.append((record.name, record.url, fault, str(record.nodes), labels, str(record.pid), record.kubeconfig))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


async def _state_of(name: str, state_dir: Path) -> str:
    """The fault of a cluster, or that it cannot be asked."""
    from kcp.apimachinery.errors import StatusError
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.client.transport import TransportError
    from kcp.sim import control, runstate

    try:
        state = await control.change(control.endpoint(runstate.find(name, state_dir)), None)
    except (KubeConfigError, StatusError, TransportError, runstate.UnknownCluster):
        return "unreachable"
    if state.skew_s:
        return f"skew {format_duration(state.skew_s)}"
    return f"slow {state.latency_s:g}s" if state.latency_s else state.fault.value


_FAULTS = {
    "kill": "End the API of a simulated cluster: connections are refused. Its process stays, so that restore can bring it back.",
    "pause": "Freeze a simulated cluster: connections are accepted and never answered.",
    "partition": "Cut a simulated cluster off: clients get no answers, inside it everything goes on.",
    "fill": "Fill the storage of a simulated cluster: writes fail, reads go on.",
    "restore": "End whatever fault a simulated cluster has.",
}


_DONE = {
    "kill": "refuses connections",
    "pause": "accepts connections and answers nothing",
    "partition": "is cut off from its clients",
    "slow": "answers {latency_s:g} s late",
    "fill": "has no space left for writes",
    "skew": "has a clock that is {skew} off",
    "restore": "works again",
}


def _fault_command(verb: str, text: str) -> click.Command:
    @click.command(verb, help=text)
    @click.argument("name")
    @_STATE_DIR
    @_KUBECONFIG
    def command(name: str, state_dir: Path, kubeconfig: Path | None) -> None:
        from kcp.sim.faults import Fault, FaultState

        _change(name, FaultState(Fault.NONE if verb == "restore" else Fault(verb)), state_dir, kubeconfig)

    return command


_KUBECONFIG = click.option(
    "--kubeconfig", type=click.Path(path_type=Path), default=None, help="The cluster's kubeconfig, if its state directory is not at hand."
)

for _verb, _text in _FAULTS.items():
    sim_group.add_command(_fault_command(_verb, _text))
sim_group.add_command(replay_command)
sim_group.add_command(apply_command)


@sim_group.command("slow", help="Make a simulated cluster answer late.")
@click.argument("name")
@click.option("--latency", type=Duration(), default="500ms", show_default=True, help="How late.")
@_STATE_DIR
@_KUBECONFIG
def slow_command(name: str, latency: float, state_dir: Path, kubeconfig: Path | None) -> None:
    from kcp.sim.faults import Fault, FaultState

    _change(name, FaultState(Fault.SLOW, latency_s=latency), state_dir, kubeconfig)


@sim_group.command("skew", help="Set the clock of a simulated cluster wrong.")
@click.argument("name")
@click.option("--ahead", type=Duration(), default="10m", show_default=True, help="How far it is ahead of the right time.")
@click.option("--behind", type=Duration(), default=None, help="How far it is behind, instead.")
@_STATE_DIR
@_KUBECONFIG
def skew_command(name: str, ahead: float, behind: float | None, state_dir: Path, kubeconfig: Path | None) -> None:
    from kcp.sim.faults import Fault, FaultState

    _change(name, FaultState(Fault.SKEW, skew_s=ahead if behind is None else -behind), state_dir, kubeconfig)


def _change(name: str, wanted: FaultState, state_dir: Path, kubeconfig: Path | None) -> None:
    import asyncio

    from kcp.apimachinery.errors import StatusError
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.client.transport import TransportError
    from kcp.sim import control, runstate

    try:
        where = control.endpoint_of_file(kubeconfig) if kubeconfig else control.endpoint(runstate.find(name, state_dir))
        asyncio.run(control.change(where, wanted))
    except (runstate.UnknownCluster, KubeConfigError, StatusError, TransportError) as error:
        fail(str(error))
    verb = "restore" if wanted.fault == "none" else wanted.fault.value
    back = "" if verb == "restore" else f" Back with: kcp sim restore {name}"
    done = _DONE[verb].format(latency_s=wanted.latency_s, skew=format_duration(wanted.skew_s))
    click.echo(f"Simulated cluster {name} {done}.{back}")
