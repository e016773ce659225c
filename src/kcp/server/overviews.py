"""AggregatedViews on a server: `/services/tmc`, their status, what is refused; imported only with --tmc-virtual-workspaces.

Before: `server.tmc`. After: `tmc.overview`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.metrics import Meter
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.admission.chain import Plugin
from kcp.controller.controller import Controller
from kcp.controller.informer import Informer
from kcp.exports.boundresources import bound_resources
from kcp.exports.names import BINDINGS
from kcp.registry.backend import Backend
from kcp.server.controllers import ControllerParts
from kcp.server.security import Security
from kcp.tmc.health.monitor import Provider
from kcp.tmc.model.kinds import AGGREGATED_VIEWS, CORE_SYNCED, NAMESPACES, PLACEMENTS, STATUS_RULES
from kcp.tmc.model.names import COMPUTE_EXPORT_ANNOTATION
from kcp.tmc.overview.admission import plugin
from kcp.tmc.overview.controller import build_view_controller
from kcp.tmc.overview.health import aggregated_views
from kcp.tmc.overview.metrics import show_views
from kcp.tmc.overview.views import OneView, Sources, Views
from kcp.tmc.overview.workspace import OverviewWorkspace
from kcp.virtual.framework import VirtualWorkspace


@dataclass(slots=True)
class Overviews:
    """All of it on one server."""

    parts: ControllerParts
    targets: Callable[[], Informer]
    server_url: Callable[[], str]
    meter: Meter
    _made: Views | None = None

    @property
    def views(self) -> Views:
        """Asked for only once the APIs are bound in `root`."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> Views:
        informers, foundation = self.parts.informers, self.parts.foundation
        sources = Sources(
            informers.informer(AGGREGATED_VIEWS), informers.informer(STATUS_RULES), informers.informer(PLACEMENTS),
            informers.informer(NAMESPACES), self.targets(), foundation.cache, foundation.catalog, self._shown,
            lambda: informers.informer(BINDINGS).resource_version, self.parts.clock, self.meter,
        )  # fmt: skip
        views = Views(sources)
        views.connect()
        return views

    def serve(self, supervisor: Supervisor) -> None:
        """What every server does."""
        if self.meter.is_on:
            show_views(self.meter, lambda: self.parts.informers.informer(AGGREGATED_VIEWS), self.views.every)
        supervisor.spawn(self.views.run(), name="aggregated views")
        supervisor.spawn(self.views.watch_staleness(), name="staleness of aggregated views")

    def controllers(self) -> Sequence[Controller[Any]]:
        """What keeps their status, on the server that runs the controllers."""
        informer = self.parts.informers.informer(AGGREGATED_VIEWS)
        return [build_view_controller(self.views, informer, self.targets(), self.parts.for_cluster, self._url, clock=self.parts.clock)]

    def plugins(self) -> Sequence[Plugin]:
        return [plugin()]

    def providers(self) -> Sequence[Provider]:
        return [aggregated_views(lambda: self.parts.informers.informer(AGGREGATED_VIEWS))]

    def virtual_workspace(self, backend: Backend, security: Security) -> VirtualWorkspace:
        return OverviewWorkspace(lambda: self.views, backend, security.authorizer, self.parts.foundation.index.resolve, self.parts.clock)

    def _url(self, held: OneView) -> str:
        return f"{self.server_url()}/services/tmc/{held.spec.cluster}/{held.spec.name}/clusters/*"

    def _shown(self, cluster: ClusterName) -> frozenset[GroupResource]:
        """What of a workspace's resources goes to clusters, or comes from them."""
        bindings = self.parts.informers.informer(BINDINGS).list(cluster=cluster)
        compute = [b for b in bindings if meta.annotations(b).get(COMPUTE_EXPORT_ANNOTATION) == "true"]
        bound = {entry.group_resource for binding in compute for entry in bound_resources(binding)}
        return frozenset(bound) | {gvr.group_resource for gvr in CORE_SYNCED}
