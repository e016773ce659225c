"""Runs one syncer as it was told to: connections, endpoints, engine.

Before: `workload_syncer`. After: `tmc.syncer`, `client`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path

from kcp.aio.clock import Clock, SystemClock
from kcp.aio.metrics import Meter
from kcp.cli import syncer_endpoints
from kcp.cli.logs import reopen_files
from kcp.cli.running import on_hangup
from kcp.client import kubeconfig
from kcp.client.http import HttpTransport
from kcp.client.measures import MeasuredTransport
from kcp.client.pacing import Bucket, PacedTransport
from kcp.client.rest import Client
from kcp.controller.measures import show_queues
from kcp.tmc.breaker import BreakerConfig
from kcp.tmc.metrics.process import show_process
from kcp.tmc.syncer.engine import Syncer, check_cluster, first_contact
from kcp.tmc.syncer.health import SyncerHealth
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.lease import alone_here
from kcp.tmc.syncer.metrics import SyncerMetrics
from kcp.tmc.syncer.record import Record
from kcp.tmc.syncer.settings import Filters, SyncerConfig
from kcp.tracing.config import TracingOptions

log = logging.getLogger(__name__)

_KCP_CONTEXT = "base"


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncerOptions:
    """What was typed; names as click makes them of the flags."""

    sync_target_name: str
    sync_target_uid: str
    workspace_cluster: str
    kcp_kubeconfig: Path
    kcp_endpoint: str
    cluster_kubeconfig: Path | None
    kcp_context: str
    cluster_context: str
    workers: int
    max_concurrent_syncs: int
    sync_backlog_limit: int
    circuit_breaker_threshold: int
    circuit_breaker_timeout: float
    resync_period: float
    heartbeat_period: float
    api_import_poll_interval: float
    downstream_namespace_clean_delay: float
    leader_elect: bool
    lease_duration: float
    transformations: str
    tunnel: bool
    resources: tuple[str, ...]
    upsync_resources: tuple[str, ...]
    sync_namespaces: tuple[str, ...]
    exclude_namespaces: tuple[str, ...]
    require_labels: Mapping[str, str]
    qps: float
    burst: int
    metrics_bind_address: str
    metrics_path: str
    health_bind_address: str
    health_path: str

    def config(self) -> SyncerConfig:
        """What the engine needs to know of it."""
        return SyncerConfig(
            heartbeat_period_s=self.heartbeat_period,
            discovery_period_s=self.api_import_poll_interval,
            resync_period_s=self.resync_period or inf,
            workers=self.workers,
            max_concurrent_syncs=self.max_concurrent_syncs,
            backlog_limit=self.sync_backlog_limit,
            breaker=BreakerConfig(failures=self.circuit_breaker_threshold, reset_s=self.circuit_breaker_timeout),
            lease_duration_s=self.lease_duration,
            namespace_clean_delay_s=self.downstream_namespace_clean_delay,
            wanted=self.resources,
            upsync=self.upsync_resources,
            transformations=self.transformations,
            tunnel=self.tunnel,
            filters=Filters(
                namespaces=self.sync_namespaces, excluded_namespaces=self.exclude_namespaces, required_labels=self.require_labels
            ),
        )


async def serve(options: SyncerOptions, traced: TracingOptions) -> None:
    """Sync until cancelled. Raises: KubeConfigError, ListenError, TMCError, TransportError: what keeps it from starting."""
    clock = SystemClock()
    meter = Meter(is_on=bool(options.metrics_bind_address))
    upstream = _paced(_measured(_kcp(options), meter, clock), options, clock)
    downstream = _paced(_measured(_physical_cluster(options), meter, clock), options, clock)
    async with upstream, downstream, AsyncExitStack() as stack:
        stack.enter_context(on_hangup(reopen_files))
        control_plane = upstream.at("")
        identity = await first_contact(
            control_plane, downstream, clock, options.config(),
            workspace=options.workspace_cluster, name=options.sync_target_name, uid=options.sync_target_uid,
        )  # fmt: skip
        await check_cluster(downstream, identity, clock)
        log.info("serving SyncTarget %s of %s, key %s", identity.name, options.workspace_cluster, identity.key)
        record = Record(clock)
        await _open_endpoints(stack, options, identity, record, meter)
        tracer = None
        if traced.enabled:
            from kcp.tracing.exporting import tracing

            tracer = (await stack.enter_async_context(tracing(traced, clock, component="workload-syncer"))).tracer
        holder = stack.enter_context(alone_here(identity)) if options.leader_elect else ""
        await Syncer(identity, control_plane, downstream, clock, options.config(), record, holder, log.info, tracer).run()


async def _open_endpoints(
    stack: AsyncExitStack, options: SyncerOptions, identity: Identity, record: Record, meter: Meter
) -> None:  # fmt: skip
    """Metrics and health, where they were asked for."""
    if not options.metrics_bind_address and not options.health_bind_address:
        return
    clock = record.clock
    started_s = clock.monotonic()
    record.metrics = SyncerMetrics(meter, identity.name, options.workspace_cluster)
    record.metrics.show_process(lambda: clock.monotonic() - started_s)
    show_process(meter, clock)
    show_queues(meter, lambda: record.controllers)
    health = SyncerHealth(identity.name, record, options.heartbeat_period, options.sync_backlog_limit)
    metrics, well = syncer_endpoints.pages(health, meter, metrics_path=options.metrics_path, health_path=options.health_path)
    sites = {
        "--metrics-bind-address": (options.metrics_bind_address, metrics),
        "--health-bind-address": (options.health_bind_address, well),
    }
    for url in await syncer_endpoints.listen(stack, sites, clock):
        log.info("answering at %s", url)


def _kcp(options: SyncerOptions) -> Client:
    context = options.kcp_context or _usual_context(options.kcp_kubeconfig)
    entry = kubeconfig.load(options.kcp_kubeconfig, context)
    if options.kcp_endpoint:
        entry = entry.at_server(options.kcp_endpoint)
    return entry.connect(user_agent="workload-syncer/kcp", follow=True)


def _physical_cluster(options: SyncerOptions) -> Client:
    """By kubeconfig, or as the Pod that this is."""
    agent = "workload-syncer/cluster"
    if options.cluster_kubeconfig is not None:
        return kubeconfig.connect(options.cluster_kubeconfig, options.cluster_context, user_agent=agent, follow=True)
    environment = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    endpoint = kubeconfig.in_cluster(*environment)
    return Client(HttpTransport(endpoint), user_agent=agent, origin=endpoint.origin)


def _measured(client: Client, meter: Meter, clock: Clock) -> Client:
    if not meter.is_on:
        return client
    transport = MeasuredTransport(client.transport, meter, clock)
    return Client(transport, client.base_path, clock=clock, user_agent=client.user_agent, origin=client.origin)


def _paced(client: Client, options: SyncerOptions, clock: Clock) -> Client:
    if not options.qps:
        return client
    transport = PacedTransport(client.transport, Bucket(options.qps, options.burst, clock))
    return Client(transport, client.base_path, clock=clock, user_agent=client.user_agent, origin=client.origin)


def _usual_context(path: Path) -> str:
    """The context of kcp's admin kubeconfig that is above all workspaces; "" for the current one: an ordinary kubeconfig works too."""
    return _KCP_CONTEXT if kubeconfig.find(kubeconfig.read(path), "contexts", _KCP_CONTEXT) is not None else ""
