"""Transparent Multi-Cluster on a kcp server; imported only with `--enable-tmc`.

Before: `server.compose`. After: `tmc`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.request import Handler
from kcp.apiserver.resources import ConnectorKey
from kcp.controller.controller import Controller, Limits
from kcp.controller.informer import Informer
from kcp.exports.boundresources import bound_resources
from kcp.exports.names import BINDINGS, EXPORTS, ExportReference
from kcp.registry.backend import Backend, UserInfo
from kcp.registry.resource import Resource
from kcp.server.controllers import ControllerParts
from kcp.server.options import TMCOptions
from kcp.server.security import Security
from kcp.tenancy.kinds import WORKSPACES
from kcp.tmc.accounts import build_syncer_account_controller
from kcp.tmc.admission import plugins
from kcp.tmc.aggregation.controller import build_aggregation_controller
from kcp.tmc.aggregation.remarks import Remarks, remarks
from kcp.tmc.apis.defaults import build_defaults_controller
from kcp.tmc.apis.negotiation import build_negotiation_controller
from kcp.tmc.apis.publishing import build_publishing_controller
from kcp.tmc.apis.syncedresources import build_synced_resources_controller
from kcp.tmc.breaker import BreakerConfig
from kcp.tmc.columns import FleetColumns
from kcp.tmc.health.heartbeats import build_heartbeat_controller
from kcp.tmc.health.locations import build_location_controller
from kcp.tmc.health.monitor import HealthConfig, Monitor
from kcp.tmc.health.providers import Controllers, api_server, clusters, placements, projections, recoveries, storage
from kcp.tmc.health.report import COMPONENT_HEALTHS, Endpoint, Publisher
from kcp.tmc.health.states import Check
from kcp.tmc.health.synctargets import HeartbeatConfig, build_synctarget_controller
from kcp.tmc.metrics.controlplane import measure_failures, show_clusters, show_controllers, show_health, show_recovery_rate
from kcp.tmc.metrics.placements import show_placement_queue, show_placements
from kcp.tmc.metrics.process import show_process
from kcp.tmc.metrics.syncing import SyncTally
from kcp.tmc.model.indexes import BY_KEY, BY_TARGET, index_by_key, index_by_target
from kcp.tmc.model.kinds import (
    CORE_SYNCED,
    DIVIDED,
    NAMESPACES,
    NOT_SYNCED_DOWN,
    OVERRIDE_POLICIES,
    PLACEMENT_POLICIES,
    PLACEMENTS,
    RESOURCE_PROJECTIONS,
    SYNC_TARGETS,
)
from kcp.tmc.model.names import COMPUTE_EXPORT_ANNOTATION, synced_keys
from kcp.tmc.model.views import Views
from kcp.tmc.placement.changes import Changes
from kcp.tmc.placement.handover import Workloads
from kcp.tmc.placement.placementpolicies import PlacementPolicy
from kcp.tmc.placement.quota import QuotaAdmission
from kcp.tmc.placement.remarks import of_placement, of_target
from kcp.tmc.placement.resources import build_resource_controller
from kcp.tmc.placement.upsynced import build_upsynced_controller
from kcp.tmc.projection.copies import BY_PROJECTION, Copies, index_by_projection
from kcp.tmc.projection.spec import Projection
from kcp.tmc.push.controller import build_push_controller
from kcp.tmc.recovery.model import RECOVERIES
from kcp.tmc.recovery.trigger import Trigger
from kcp.tmc.syncer.settings import SyncerConfig
from kcp.tmc.syncer.transformations import DEFAULT_PLACE
from kcp.tmc.tunnel.pods import PodConnections
from kcp.tmc.tunnel.tunnels import Tunnels
from kcp.tmc.view.restored import Hold
from kcp.tmc.view.syncer import SyncerViews
from kcp.tmc.view.target import TargetView
from kcp.tmc.view.upsyncer import UpsyncerViews
from kcp.tracing.tracer import Tracer
from kcp.virtual.framework import VirtualWorkspace

_COMPONENTS = {"tmc-aggregation": "CrossClusterResourceAggregator"}
"""Controllers that the reference calls otherwise: beginning of the name → component."""


@dataclass(slots=True)
class TMC:
    """The controllers and the virtual workspace of TMC."""

    parts: ControllerParts
    options: TMCOptions
    server_url: Callable[[], str]
    """Known once the socket is bound."""
    meter: Meter
    """Keeps nothing with metrics off."""
    columns: FleetColumns
    tracer: Tracer | None = None
    running: list[Controller[Any]] = field(default_factory=list)
    """Of TMC."""
    monitor: Monitor | None = None
    """None with health monitoring off."""
    publisher: Publisher | None = None
    _overviews: Any = None
    """None with --tmc-virtual-workspaces=false: then nothing of it is even imported."""
    _following: set[tuple[GVR, str]] = field(default_factory=set)
    _remarks: Remarks | None = None
    _held_workloads: Workloads | None = None
    _tally: SyncTally = field(init=False)
    _trigger: Trigger | None = None
    """What begins recoveries; None with recovery off, or where another server runs the controllers."""
    _limits: Limits = field(default_factory=Limits)
    _held_projections: Views[Projection] | None = None
    _copies: Copies = field(default_factory=Copies)

    def __post_init__(self) -> None:
        self._tally = SyncTally(self._name_of)
        if self.options.virtual_workspaces:
            from kcp.server.overviews import Overviews

            self._overviews = Overviews(self.parts, lambda: self._targets, self.server_url, self.meter)
        if self.options.health_monitoring:
            self.monitor = Monitor(self.parts.clock, _health_config(self.options))
        slots = asyncio.Semaphore(self.options.operation_limit) if self.options.operation_limit else None
        self._limits = Limits(workers=self.options.workers, slots=slots, timeout_s=self.options.operation_timeout_s)

    @property
    def _targets(self) -> Informer:
        """Asked for only once the API of SyncTargets is bound in `root`."""
        return self.parts.informers.informer(SYNC_TARGETS, indexers={BY_KEY: index_by_key})

    @property
    def _workloads(self) -> Workloads:
        """What hand-overs wait for: filled by `follow_bindings`, and complete once the bindings are known."""
        if self._held_workloads is None:
            self._held_workloads = Workloads(lambda: self.parts.informers.informer(BINDINGS).has_synced)
        return self._held_workloads

    @property
    def _projections(self) -> Views[Projection]:
        if self._held_projections is None:
            self._held_projections = Views(self.parts.informers.informer(RESOURCE_PROJECTIONS), Projection.of)
        return self._held_projections

    def controllers(self) -> list[Controller[Any]]:
        """Those that exist once; the ones per synced resource are added by `follow_bindings`."""
        informers, for_cluster, clock = self.parts.informers, self.parts.for_cluster, self.parts.clock
        options = self.options
        return [
            build_synctarget_controller(
                informers, for_cluster, clock=clock, server_url=self.server_url(), config=_heartbeat_config(options),
            ),
            build_heartbeat_controller(informers, for_cluster, clock=clock),
            build_location_controller(informers, for_cluster, clock=clock),
            build_syncer_account_controller(informers, for_cluster, clock=clock),
            build_defaults_controller(informers, for_cluster, self.parts.foundation.index.path_of, clock=clock),
            build_synced_resources_controller(informers, self._on_exports, for_cluster, self._exported, clock=clock),
            build_negotiation_controller(informers, for_cluster, clock=clock),
            build_publishing_controller(informers, for_cluster, self._exported, clock=clock),
            *(self._placement() if options.placement_controller else ()),
            *(self._overviews.controllers() if self._overviews is not None else ()),
            *(self._projection() if options.projection else ()),
        ]  # fmt: skip

    def _placement(self) -> Sequence[Controller[Any]]:
        """Who decides; what carries a namespace's labels on to its objects works for whoever else does."""
        from kcp.tmc.placement.controller import build_placement_controller
        from kcp.tmc.placement.namespaces import build_namespace_scheduler

        informers, for_cluster, clock = self.parts.informers, self.parts.for_cluster, self.parts.clock
        index = self.parts.foundation.index
        grace_s = self.options.eviction_grace_s if self.options.recovery else float("inf")
        return [
            build_placement_controller(
                informers, for_cluster, resolve=index.resolve, ancestors=index.ancestors, path_of=index.path_of, labels_of=self._labels_of,
                required_apis=self._required_apis, clock=clock, eviction_grace_s=grace_s, meter=self.meter,
                workloads=self._workloads,
            ),
            build_namespace_scheduler(informers, for_cluster, self._workloads, clock=clock),
        ]  # fmt: skip

    def _projection(self) -> Sequence[Controller[Any]]:
        from kcp.tmc.projection.controller import build_projection_controller
        from kcp.tmc.projection.exporting import build_export_controller

        index, copies = self.parts.foundation.index, self._copies
        copies.show(self.meter, self._name_of)
        return [
            build_projection_controller(
                self.parts.informers, self._projections, copies, self.parts.for_cluster, resolve=index.resolve,
                ancestors=index.ancestors, path_of=index.path_of, labels_of=self._labels_of, meter=self.meter, clock=self.parts.clock,
            ),
            build_export_controller(
                self.parts.informers, self.parts.for_cluster, resolve=index.resolve, ancestors=index.ancestors,
                resource=self.parts.foundation.catalog.resolve, clock=self.parts.clock,
            ),
        ]  # fmt: skip

    def reload(self, options: TMCOptions) -> None:
        """Of other options, what may change while everything runs."""
        if self.monitor is not None:
            self.monitor.config = _health_config(options)

    def _push(self, supervisor: Supervisor) -> Controller[Any]:
        options = self.options
        upsync = tuple(filter(None, options.push_upsync.split(",")))
        config = SyncerConfig(
            heartbeat_period_s=options.push_heartbeat_s, transformations=DEFAULT_PLACE, upsync=upsync, tunnel="pods" in upsync,
            workers=options.push_workers, backlog_limit=options.push_backlog_limit,
            breaker=BreakerConfig(failures=options.breaker_failures, reset_s=options.breaker_reset_s),
        )  # fmt: skip
        informers, client, clock = self.parts.informers, self.parts.client.at(""), self.parts.clock
        return build_push_controller(informers, client, supervisor, clock=clock, config=config, meter=self.meter, tracer=self.tracer)

    def run(self, supervisor: Supervisor) -> None:
        """Start everything of TMC."""
        if self.options.push:
            self._run(supervisor, self._push(supervisor))
        for controller in self.controllers():
            self._run(supervisor, controller)
        if self.options.error_handling:
            self._remarks = Remarks(self.parts.for_cluster, clock=self.parts.clock)
            self._remarks.follow(self.parts.informers.informer(PLACEMENTS), lambda old, new: of_placement(old, new, self._name_of))
            self._remarks.follow(self._targets, of_target)
            self._run(supervisor, self._remarks.controller)
        for gvr in CORE_SYNCED:
            self._follow(supervisor, gvr, identity="", has_status=False)
        bindings = self.parts.informers.informer(BINDINGS)

        def bound(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
            if new is not None and meta.annotations(new).get(COMPUTE_EXPORT_ANNOTATION) == "true":
                self._follow_binding(supervisor, new)

        bindings.add_handler(bound)
        self.publisher = Publisher(self.parts.client.cluster(ROOT), self.parts.clock)
        if self.options.recovery:
            self._recover(supervisor)
        if self.options.migration:
            self._migrate(supervisor)

    def _migrate(self, supervisor: Supervisor) -> None:
        from kcp.tmc.migration.controller import build_migration_controller
        from kcp.tmc.migration.model import MIGRATIONS

        def where(key: str) -> ObjectKey | None:
            return next(iter(self._targets.index_keys(BY_KEY, key)), None)

        def resource_of(cluster: ClusterName, gvk: GVK) -> Resource | None:
            return next((found for found in parts.foundation.catalog.resources(cluster) if found.gvk == gvk), None)

        parts = self.parts
        controller = build_migration_controller(
            parts.informers.informer(MIGRATIONS), self._workloads, where, self._targets.get, resource_of, parts.for_cluster,
            clock=parts.clock, meter=self.meter,
        )  # fmt: skip
        self._run(supervisor, controller)

    def _recover(self, supervisor: Supervisor) -> None:
        from kcp.server.recovery import build_recovery

        checks = self.monitor.checks if self.monitor is not None else tuple
        controllers, self._trigger = build_recovery(self.parts, self._targets, lambda: self.running, checks, self.meter)
        for controller in controllers:
            self._run(supervisor, controller)

    def _run(self, supervisor: Supervisor, controller: Controller[Any]) -> None:
        controller.limit(self._limits)
        if self.tracer is not None:
            controller.trace(self.tracer, component=_COMPONENTS.get(controller.name.rpartition("-")[0], ""))
        self.running.append(controller)
        if self.meter.is_on:
            measure_failures(self.meter, controller)
            if controller.name == "placement":
                show_placement_queue(self.meter, controller)
        supervisor.spawn(controller.run(), name=f"controller {controller.name}")

    def serve(self, supervisor: Supervisor, others: Callable[[], Iterable[Controller[Any]]]) -> None:
        """What every server does, whether it runs the controllers or not. Args: others: the controllers besides those of TMC."""
        self.columns.connect(self._targets, self.parts.informers.informer(NAMESPACES))
        if self._overviews is not None:
            self._overviews.serve(supervisor)

        def running() -> Iterable[Controller[Any]]:
            return (*others(), *self.running)

        if self.meter.is_on:
            self._measure(running)
        if self.monitor is None:
            return
        clock, monitor = self.parts.clock, self.monitor
        self.monitor.add(
            api_server(self.parts.client, clock),
            storage(self.parts.foundation.store, clock),
            Controllers(running, clock, lambda: monitor.config).provider(),
            clusters(lambda: self._targets),
            *([placements(lambda: self.parts.informers.informer(PLACEMENTS))] if self.options.placement_controller else ()),
            *(self._overviews.providers() if self._overviews is not None else ()),
            *([projections(lambda: self._projections.informer)] if self.options.projection else ()),
            *([recoveries(lambda: self.parts.informers.informer(RECOVERIES))] if self.options.recovery else ()),
        )
        self.monitor.changed = self._publish
        supervisor.spawn(self.monitor.run(), name="health")

    def _measure(self, running: Callable[[], Iterable[Controller[Any]]]) -> None:
        """Everything that is read at scrapes."""
        meter = self.meter
        show_process(meter, self.parts.clock)
        show_clusters(meter, self._targets)
        show_placements(meter, self.parts.informers.informer(PLACEMENTS))
        show_controllers(meter, running)
        show_recovery_rate(meter)
        self._tally.show(meter)
        for controller in running():
            measure_failures(meter, controller)
        if self.monitor is not None:
            show_health(meter, self.monitor)

    async def _publish(self, checks: Sequence[Check]) -> None:
        """Only who runs the controllers writes objects."""
        if self.publisher is not None:
            await self.publisher.publish(checks)
        if self._trigger is not None:
            await self._trigger.looked(checks)

    def routes(self, security: Security) -> Mapping[str, Handler]:
        async def may_list(user: UserInfo) -> bool:
            return await security.allows(user, ROOT, "list", COMPONENT_HEALTHS.group, COMPONENT_HEALTHS.resource, "")

        if self.monitor is None:
            return {}
        return {"/healthz/tmc": Endpoint(self.monitor, self.parts.clock, may_list).handle}

    def _follow_binding(self, supervisor: Supervisor, binding: JSONObject) -> None:
        for entry in bound_resources(binding):
            gvr = GVR(entry.group_resource.group, entry.version, entry.group_resource.resource)
            resource = self.parts.foundation.catalog.resolve(meta.cluster(binding), gvr)
            if resource is None:
                continue
            if resource.namespaced and entry.group_resource not in NOT_SYNCED_DOWN:
                self._follow(supervisor, gvr, identity=entry.identity, has_status=resource.has_status)
            else:
                self._follow_upsynced(supervisor, gvr, entry.identity)

    def _follow_upsynced(self, supervisor: Supervisor, gvr: GVR, identity: str) -> None:
        """Of a resource that only comes up: what clusters showed that are gone."""
        if (gvr, identity) in self._following:
            return
        self._following.add((gvr, identity))
        everywhere = GVR(gvr.group, gvr.version, f"{gvr.resource}:{identity}")
        objects = self.parts.informers.informer(everywhere, metadata_only=True, indexers={BY_TARGET: index_by_target})
        controller = build_upsynced_controller(gvr, objects, self._targets, self._name_of, self.parts.for_cluster, clock=self.parts.clock)
        self._run(supervisor, controller)

    def _name_of(self, key: str) -> str:
        """K → name of its SyncTarget, "" if there is none."""
        return next((found.name for found in self._targets.index_keys(BY_KEY, key)), "")

    def _follow(self, supervisor: Supervisor, gvr: GVR, *, identity: str, has_status: bool) -> None:
        """Place, and aggregate, the objects of one resource in all workspaces."""
        if (gvr, identity) in self._following:
            return
        self._following.add((gvr, identity))
        informers, clock = self.parts.informers, self.parts.clock
        everywhere = GVR(gvr.group, gvr.version, f"{gvr.resource}:{identity}") if identity else gvr
        objects = informers.informer(everywhere, indexers={BY_TARGET: index_by_target, BY_PROJECTION: index_by_projection})
        self._copies.add(str(gvr.group_resource), objects)
        namespaces = informers.informer(NAMESPACES)
        if self._remarks is not None:
            self._remarks.follow(objects, lambda old, new: remarks(old, new, self._name_of))
        if self.meter.is_on:
            self._tally.follow(str(gvr.group_resource), objects)
        if gvr not in CORE_SYNCED:
            self._workloads.add(gvr.group_resource, objects)
        if gvr.group_resource in DIVIDED:
            self.columns.follow(objects)
        built: list[Controller[Any]] = [
            build_resource_controller(
                gvr, objects, namespaces, self._targets, self._changes(everywhere), self.parts.for_cluster, clock=clock
            )
        ]
        if has_status:
            shows_errors = self.options.error_handling
            built.append(
                build_aggregation_controller(
                    gvr, objects, namespaces, self._targets, self.parts.for_cluster,
                    clock=clock, shows_errors=shows_errors, meter=self.meter,
                )
            )  # fmt: skip
        for controller in built:
            self._run(supervisor, controller)

    def _changes(self, everywhere: GVR) -> Changes:
        """Args: everywhere: with identity."""
        informers, catalog = self.parts.informers, self.parts.foundation.catalog

        def validate(obj: JSONObject) -> Sequence[Cause]:
            resource = catalog.resolve(meta.cluster(obj), GVR(everywhere.group, everywhere.version, everywhere.resource.partition(":")[0]))
            return resource.schema.validate(obj) if resource is not None and resource.schema is not None else ()

        projections = self._projections if self.options.projection else None
        return Changes(self._targets, informers.informer(OVERRIDE_POLICIES), projections, validate)

    def admission_plugins(self) -> Sequence[Plugin]:
        policies = Views(self.parts.informers.informer(PLACEMENT_POLICIES), PlacementPolicy.of)
        quota = QuotaAdmission(policies.of_cluster, self.parts.for_cluster)
        return [*plugins(self._name_of, self.parts.clock, quota), *(self._overviews.plugins() if self._overviews is not None else ())]

    def connectors(self, backend: Backend, security: Security) -> Mapping[ConnectorKey, Handler]:
        """Where syncers open their tunnels, and what leads through them."""
        tunnels = Tunnels(lambda key: self._targets.get(key), self.parts.clock)
        pods = PodConnections(self.parts.foundation.catalog, backend, security.admission, security.authorizer, tunnels, self._target_of)
        return {**tunnels.connectors(), **pods.connectors()}

    def _target_of(self, key: str) -> JSONObject | None:
        return next(iter(self._targets.by_index(BY_KEY, key)), None)

    def virtual_workspaces(self, backend: Backend, security: Security) -> Sequence[VirtualWorkspace]:
        async def may_sync(user: Any, cluster: ClusterName, name: str) -> bool:
            return await security.allows(user, cluster, "sync", "workload.kcp.io", "synctargets", name)

        foundation = self.parts.foundation
        syncer = SyncerViews(foundation.catalog, backend, self.parts.clock, self.server_url, self._hold())
        upsyncer = UpsyncerViews(backend, self._is_placed)
        overviews = [self._overviews.virtual_workspace(backend, security)] if self._overviews is not None else []
        targets = [
            TargetView(
                name,
                build,
                lambda key: self._targets.get(key),
                self._exported,
                may_sync,
                foundation.index.resolve,
                lambda key: (self._targets.version_of(key), self._exports.resource_version, foundation.bound.generation),
            )
            for name, build in (("syncer", syncer.build), ("upsyncer", upsyncer.build))
        ]
        return [*targets, *overviews]

    def _hold(self) -> Hold | None:
        restored = self.parts.foundation.restored
        return Hold(restored, self._target_of) if restored is not None else None

    def _is_placed(self, cluster: ClusterName, namespace: str, key: str) -> bool:
        """Whether a namespace, or for "" any of the workspace, is placed on the target K, or something may be projected there."""
        if self.options.projection and any(key in projection.chosen for projection in self._projections.of_cluster(cluster)):
            return True
        if namespace:
            found = self._namespaces.get(ObjectKey(cluster, "", namespace))
            return found is not None and key in synced_keys(found)
        return any(held.cluster == cluster for held in self._namespaces.index_keys(BY_TARGET, key))

    @property
    def _namespaces(self) -> Informer:
        return self.parts.informers.informer(NAMESPACES, indexers={BY_TARGET: index_by_target})

    def _labels_of(self, cluster: ClusterName) -> Mapping[str, str]:
        """Labels of a workspace's Workspace; none of one that has none, such as `root`."""
        index = self.parts.foundation.index
        parent, name = index.parent_of(cluster), index.path_of(cluster).rpartition(":")[2]
        found = self.parts.informers.informer(WORKSPACES).get(ObjectKey(parent, "", name)) if parent else None
        return meta.labels(found) if found is not None else {}

    def _required_apis(self, cluster: ClusterName) -> Mapping[str, str]:
        """Group-resource → identity of the APIs for TMC that a workspace binds, and a cluster must accept."""
        bindings = self.parts.informers.informer(BINDINGS).list(cluster=cluster)
        compute = (b for b in bindings if meta.annotations(b).get(COMPUTE_EXPORT_ANNOTATION) == "true")
        entries = (entry for binding in compute for entry in bound_resources(binding))
        scope_of = self.parts.foundation.bound.scope_of
        return {
            str(e.group_resource): e.identity
            for e in entries
            if e.group_resource not in NOT_SYNCED_DOWN and scope_of(e.group_resource, e.identity) != "Cluster"
        }

    def _on_exports(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever an export did."""
        self._exports.add_handler(lambda _key, _old, _new: changed())

    @property
    def _exports(self) -> Informer:
        return self.parts.informers.informer(EXPORTS)

    def _exported(self, cluster: ClusterName, path: str, name: str) -> Sequence[Resource]:
        """Resources of an export that a SyncTarget supports, in the version they are stored in; none while it does not exist."""
        reference = ExportReference(path, name)
        home = self.parts.foundation.index.resolve(reference.path) if reference.path else cluster
        foundation = self.parts.foundation
        export = foundation.exports.get(ObjectKey(home, "", reference.name)) if home else None
        if export is None or not export.identity:
            return ()
        offered = (r for own in export.resources if own.virtual is None for r in foundation.schemas.read_offered(export, own))
        return [r for r in offered if r.gvr.version == (r.storage_version or r.gvr.version)]


def _heartbeat_config(options: TMCOptions) -> HeartbeatConfig:
    return HeartbeatConfig(
        threshold_s=options.heartbeat_threshold_s, skew_limit_s=options.clock_skew_limit_s, monitored=options.health_monitoring
    )


def _health_config(options: TMCOptions) -> HealthConfig:
    return HealthConfig(
        interval_s=options.health_interval_s, timeout_s=options.health_timeout_s,
        degraded_s=options.health_degraded_s, unhealthy_s=options.health_unhealthy_s,
    )  # fmt: skip
