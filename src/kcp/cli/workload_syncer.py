"""`workload-syncer`: serves one physical cluster. See `kcp.tmc.syncer`.

Flags and their defaults: tmc reference §5.1; the five required ones stand in the building guide's §4.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kcp.cli.flags import Duration, setup_logging

if TYPE_CHECKING:
    from kcp.aio.clock import Clock
    from kcp.client.rest import Client
    from kcp.tmc.syncer.metrics import SyncerMetrics

log = logging.getLogger(__name__)

_KCP_CONTEXT = "base"


def _host_and_port(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value and not value.rpartition(":")[2].isdigit():
        raise click.BadParameter(f"{value!r} is not host:port")
    return value


def _check_gates(_ctx: click.Context, _param: click.Parameter, value: str) -> None:
    """Manifests made for kcp 0.11 name its gates; one that would be needed and is not there must not pass unnoticed."""
    for gate in filter(None, value.split(",")):
        name, _, wanted = gate.partition("=")
        if name != "KCPSyncerTunnel":
            raise click.BadParameter(f"unrecognized feature gate: {name}")
        if wanted.lower() != "false":
            raise click.BadParameter("KCPSyncerTunnel cannot be switched on: this syncer opens no tunnel; drop it or set it to false")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Sync workloads between a kcp workspace and one physical cluster (TMC): spec down, status up.",
)
@click.option("--sync-target-name", required=True, help="Name of the SyncTarget this syncer serves.")
@click.option("--sync-target-uid", required=True, help="metadata.uid of that SyncTarget.")
@click.option("--workspace-cluster", "--from-cluster", required=True, help="Workspace of the SyncTarget, such as root:default.")
@click.option("--kcp-kubeconfig", "--from-kubeconfig", required=True, type=click.Path(path_type=Path), help="Kubeconfig of the kcp server.")
@click.option("--cluster-kubeconfig", "--to-kubeconfig", type=click.Path(path_type=Path),
              help="Kubeconfig of the physical cluster.  [default: the service account of the Pod that this runs in]")  # fmt: skip
@click.option("--kcp-context", default="", help='Context of --kcp-kubeconfig. [default: "base" if it has one, else the current one]')
@click.option("--cluster-context", default="", help="Context of --cluster-kubeconfig. [default: the current one]")
@click.option("--workers", default=2, show_default=True, help="Workers per resource and direction.")
@click.option("--heartbeat-period", type=Duration(), default="20s", show_default=True, help="Time between heartbeats.")
@click.option("--api-import-poll-interval", type=Duration(), default="30s", show_default=True, help="Time between looks for new APIs.")
@click.option("--downstream-namespace-clean-delay", type=Duration(), default="30s", show_default=True,
              help="Time between looks at a downstream namespace that should go.")  # fmt: skip
@click.option("--resources", multiple=True, help="RESOURCE.GROUP to warn about while it cannot be synced; repeatable.")
@click.option("--qps", default=0.0, help="Requests a second to each API server.  [default: no limit]")
@click.option("--burst", default=30, show_default=True, help="Requests at once to each API server, with --qps.")
@click.option("--feature-gates", default="", callback=_check_gates, expose_value=False,
              help="KCPSyncerTunnel=false is the only gate of kcp 0.11's syncer, and its only value here.")  # fmt: skip
@click.option("--metrics-bind-address", default="", callback=_host_and_port, help="host:port of Prometheus metrics.")
@click.option("--v", "verbosity", default=2, show_default=True, help="Log level: 1 basic, 2 sync operations, 4 debug.")
def main(verbosity: int, **flags: object) -> None:
    setup_logging(verbosity)
    from kcp.cli.running import run_until_stopped
    from kcp.client.kubeconfig import KubeConfigError
    from kcp.tmc.errors import TMCError

    run_until_stopped(lambda: _serve(_Flags(**flags)), expected=(KubeConfigError, TMCError, OSError))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flags:
    """What was typed; names as click makes them of the flags."""

    sync_target_name: str
    sync_target_uid: str
    workspace_cluster: str
    kcp_kubeconfig: Path
    cluster_kubeconfig: Path | None
    kcp_context: str
    cluster_context: str
    workers: int
    heartbeat_period: float
    api_import_poll_interval: float
    downstream_namespace_clean_delay: float
    resources: tuple[str, ...]
    qps: float
    burst: int
    metrics_bind_address: str


async def _serve(flags: _Flags) -> None:
    from prometheus_client import CollectorRegistry

    from kcp.aio.clock import SystemClock
    from kcp.client import kubeconfig
    from kcp.tmc.syncer.engine import Syncer, SyncerConfig, check_cluster, find_target
    from kcp.tmc.syncer.metrics import SyncerMetrics

    clock = SystemClock()
    upstream = kubeconfig.connect(flags.kcp_kubeconfig, flags.kcp_context or _usual_context(flags.kcp_kubeconfig), follow=True)
    upstream, downstream = _paced(upstream, flags, clock), _paced(_physical_cluster(flags), flags, clock)
    async with upstream, downstream:
        control_plane = upstream.at("")
        identity = await find_target(control_plane, flags.workspace_cluster, flags.sync_target_name, flags.sync_target_uid)
        await check_cluster(downstream, identity, clock)
        log.info("serving SyncTarget %s of %s, key %s", identity.name, flags.workspace_cluster, identity.key)
        started = clock.monotonic()
        metrics = SyncerMetrics(
            CollectorRegistry(), sync_target=identity.name, workspace=flags.workspace_cluster, uptime_s=lambda: clock.monotonic() - started
        )
        config = SyncerConfig(
            heartbeat_period_s=flags.heartbeat_period,
            discovery_period_s=flags.api_import_poll_interval,
            workers=flags.workers,
            namespace_clean_delay_s=flags.downstream_namespace_clean_delay,
            wanted=tuple(resource for word in flags.resources for resource in word.split(",")),
        )
        if flags.metrics_bind_address:
            _serve_metrics(flags.metrics_bind_address, metrics)
        await Syncer(identity, control_plane, downstream, clock, config, metrics, log.info).run()


def _physical_cluster(flags: _Flags) -> Client:
    """By kubeconfig, or as the Pod that this is."""
    from kcp.client import kubeconfig
    from kcp.client.http import HttpTransport
    from kcp.client.rest import Client

    if flags.cluster_kubeconfig is not None:
        return kubeconfig.connect(flags.cluster_kubeconfig, flags.cluster_context, follow=True)
    environment = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    endpoint = kubeconfig.in_cluster(*environment)
    return Client(HttpTransport(endpoint), user_agent="workload-syncer", origin=endpoint.origin)


def _paced(client: Client, flags: _Flags, clock: Clock) -> Client:
    from kcp.client.pacing import Bucket, PacedTransport
    from kcp.client.rest import Client

    if not flags.qps:
        return client
    transport = PacedTransport(client.transport, Bucket(flags.qps, flags.burst, clock))
    return Client(transport, client.base_path, clock=clock, user_agent=client.user_agent, origin=client.origin)


def _serve_metrics(address: str, metrics: SyncerMetrics) -> None:
    """Prometheus' own server thread: it must answer even while the loop is busy."""
    from prometheus_client import start_http_server

    host, _, port = address.rpartition(":")
    try:
        start_http_server(int(port), addr=host or "127.0.0.1", registry=metrics.registry)
    except (OSError, OverflowError) as error:
        raise OSError(f"cannot serve metrics on --metrics-bind-address={address}: {error}; choose another address") from error


def _usual_context(path: Path) -> str:
    """The context of kcp's admin kubeconfig that is above all workspaces; "" for the current one: an ordinary kubeconfig works too."""
    from kcp.client import kubeconfig

    return _KCP_CONTEXT if kubeconfig.find(kubeconfig.read(path), "contexts", _KCP_CONTEXT) is not None else ""
