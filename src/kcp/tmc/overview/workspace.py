"""`/services/tmc/<workspace>/<view>/clusters/…`: the virtual workspace of AggregatedViews.

    …/clusters/*            all clusters as one
    …/clusters/<SyncTarget> what one of them runs: its share of the spec, its own status

A view shows nobody what he could not read in the workspace: who asks needs `get` of the AggregatedView, and the verb on the resource there.
Before: `virtual.framework`. After: `backend`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.aio.durations import parse_duration
from kcp.apimachinery.errors import BadRequest, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.selectors import LabelSelector, Requirement
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, forbidden
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend
from kcp.tmc.model.kinds import AGGREGATED_VIEWS
from kcp.tmc.model.names import STATE_LABEL
from kcp.tmc.overview.backend import ViewBackend, ViewCatalog
from kcp.tmc.overview.onecluster import OneCluster
from kcp.tmc.overview.views import OneView, Views
from kcp.virtual.framework import View
from kcp.virtual.transform import TransformingBackend

MAX_STALENESS = "maxStaleness"
"""Query parameter, and as `x-tmc-max-staleness` a header: clusters that were not heard of for longer count as unknown."""
_MOST_VIEWS = 64
"""Ways to look at one AggregatedView that are kept."""


@dataclass(frozen=True, slots=True)
class OverviewWorkspace:
    """Implements VirtualWorkspace."""

    all_views: Callable[[], Views]
    """Asked for with the first request."""
    backend: Backend
    authorizer: Authorizer
    resolve: Callable[[str], ClusterName | None]
    clock: Clock
    name: str = "tmc"
    parameters: int = 2
    _made: dict[int, tuple[OneView, dict[tuple[str, float | None], View]]] = field(default_factory=dict)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        """Raises Forbidden; NotFound to those who may look; BadRequest for a demand that is no duration."""
        path, name = parameters
        key = ObjectKey(self.resolve(path) or ClusterName(path), "", name)
        group, resource = AGGREGATED_VIEWS.group, AGGREGATED_VIEWS.resource
        await self._check(AuthzAttributes(request.user, "get", key.cluster, group, resource, name=name))
        held = await self.all_views().find(key)
        if held is None:
            raise NotFound.of(AGGREGATED_VIEWS.group_resource, name)
        info = request.info
        place = info.cluster_path if info.cluster_path not in ("", "*", path, key.cluster) else "*"
        info.cluster = key.cluster
        if info.is_resource:
            asked = AuthzAttributes(
                request.user, info.verb, key.cluster, info.group, info.resource, info.subresource, info.namespace, info.name
            )
            await self._check(asked)
        return self._view(held, place, _demand(request))

    async def _check(self, asked: AuthzAttributes) -> None:
        decision = await self.authorizer.authorize(asked)
        if not decision.is_allowed:
            raise forbidden(asked, decision.reason)

    def _view(self, held: OneView, place: str, demand: float | None) -> View:
        kept = self._made.get(id(held))
        if kept is None or kept[0] is not held:
            self._forget()
            kept = self._made[id(held)] = held, {}
        views = kept[1]
        if (found := views.get((place, demand))) is None:
            if len(views) >= _MOST_VIEWS:
                del views[next(iter(views))]
            found = views[place, demand] = self._build(held, place, demand)
        return found

    def _forget(self) -> None:
        """What was made of AggregatedViews that are gone, or have changed."""
        for number, (held, _) in list(self._made.items()):
            if self.all_views().get(ObjectKey(held.spec.cluster, "", held.spec.name)) is not held:
                del self._made[number]

    def _build(self, held: OneView, place: str, demand: float | None) -> View:
        catalog = ViewCatalog(self.all_views(), held)
        if place == "*":
            return View(catalog, ViewBackend(self.all_views(), held, self.clock, demand))
        target = next((t for t in held.targets.values() if t.name == place), None)
        if target is None:
            known = ", ".join(sorted(t.name for t in held.targets.values())[:10]) or "none"
            raise NotFound(f'AggregatedView "{held.spec.name}" is not over a cluster {place!r}; it is over {known}')
        selector = LabelSelector([Requirement(STATE_LABEL + target.key, "exists")])
        catalog = ViewCatalog(self.all_views(), held, is_of_one_cluster=True)
        return View(catalog, TransformingBackend(self.backend, selector, OneCluster(target.key, target.name)))


def _demand(request: Request) -> float | None:
    """The staleness that the reader accepts, in seconds. Raises BadRequest."""
    text = request.query.get(MAX_STALENESS) or request.headers.get("x-tmc-max-staleness", "")
    if not text:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise BadRequest(f"{MAX_STALENESS}: {error}") from None
