"""Projection controller: observe clusters, other projections and copies → the chosen clusters, status.

It does not touch objects: the resource controllers read the chosen clusters from annotation `internal.workload.kcp.io/synctarget`, as they
read those of Placements, and make each object's labels follow.
Before: ResourceProjections, SyncTargets. After: `placement.resources`, which reads the annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.metrics import Meter
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.metrics.families import PROJECTION_DURATION
from kcp.tmc.model.kinds import READY, RESOURCE_PROJECTIONS, SYNC_TARGETS
from kcp.tmc.model.names import (
    MADE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    PROJECTED_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    held_keys,
    is_leaving,
)
from kcp.tmc.model.views import Views
from kcp.tmc.placement.changes import told_of
from kcp.tmc.placement.observe import Observed
from kcp.tmc.placement.snapshot import Fleet
from kcp.tmc.projection.clusters import Choice, choose, circle
from kcp.tmc.projection.copies import Copies
from kcp.tmc.projection.spec import Projection, marks
from kcp.tmc.projection.status import Seen, render, tallies

_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 2.0
"""Between two counts of a projection's copies, for each of its objects: each copy that arrives would else be a count of all."""


@dataclass(frozen=True, slots=True)
class ProjectionReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    views: Views[Projection]
    fleet: Callable[[ClusterName, datetime], Fleet]
    home: Callable[[Projection], ClusterName | None]
    """Where the SyncTargets are looked for; None: the named workspace does not exist."""
    path_of: Callable[[ClusterName], str]
    labels_of: Callable[[ClusterName], Mapping[str, str] | None]
    """Labels of a workspace's Workspace object."""
    copies: Copies
    for_cluster: Callable[[ClusterName], Client]
    meter: Meter
    clock: Clock
    _looked: dict[ObjectKey, tuple[object, float]] = field(default_factory=dict)
    """Version of the choice, and when its copies may be counted again; only spares work."""

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            self._looked.pop(key, None)
            return Result()
        projection = Projection.of(obj)
        choice, refusal = self._decide(projection)
        version, now_s = (projection.generation, choice.outline, refusal), self.clock.monotonic()
        seen = self._looked.get(key)
        if seen is not None and seen[0] == version and now_s < seen[1]:
            return Result(requeue_after_s=seen[1] - now_s)
        count, found = tallies(key.name, self.copies.of(key))
        self.meter.observe(PROJECTION_DURATION, self.clock.monotonic() - now_s, self.path_of(key.cluster))
        self._looked[key] = version, now_s + min(count * _PAUSE_S, _LONGEST_PAUSE_S)
        wanted = render(obj, projection, Seen(choice, refusal, count, found), now=rfc3339(self.clock.now()))
        resource = self.for_cluster(key.cluster).resource(RESOURCE_PROJECTIONS)
        written = await commit(resource, obj, {**obj, "status": wanted["status"]})
        annotations = meta.annotations(wanted)
        if annotations != meta.annotations(obj):
            await commit(resource, written, {**written, "metadata": {**written["metadata"], "annotations": annotations}})
        return Result()

    def _decide(self, projection: Projection) -> tuple[Choice, tuple[str, str]]:
        """Clusters, and what forbids the projection altogether."""
        if projection.problems:
            return Choice(), ("InvalidSpec", "; ".join(projection.problems))
        home = self.home(projection)
        if home is None:
            return Choice(), ("LocationNotFound", f'spec.locationWorkspace "{projection.location_workspace}" does not exist')
        fleet = self.fleet(home, self.clock.now())
        choice = choose(projection, fleet, self.path_of(projection.cluster), self.labels_of(projection.cluster))
        names = {target.key: target.name for target in fleet}
        tried = replace(projection, chosen=tuple(target.key for target in choice.chosen))
        if way := circle(tried, self.views.of_cluster(projection.cluster), names):
            advice = "change the sources, the targets or the selectors of one of them"
            return choice, ("CircularProjection", f"what it projects would come back: {way}; {advice}")
        return choice, ("", "")


def _copy_state(obj: JSONObject | None) -> object:
    """What of an object the status of its projections tells."""
    if obj is None:
        return None
    told = (OVERRIDE_ERROR_ANNOTATION, SYNC_ERROR_ANNOTATION, PROJECTED_ANNOTATION, MADE_ANNOTATION)
    marked = {name: text for name, text in meta.annotations(obj).items() if name.startswith(told)}
    return marked, [key for key in held_keys(obj) if is_leaving(obj, key)]


def build_projection_controller(  # noqa: PLR0913 - what the server knows, spelled out
    informers: InformerFactory,
    views: Views[Projection],
    copies: Copies,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    ancestors: Callable[[ClusterName], Iterable[ClusterName]],
    path_of: Callable[[ClusterName], str],
    labels_of: Callable[[ClusterName], Mapping[str, str] | None],
    meter: Meter,
    clock: Clock,
) -> Controller:
    """Args: resolve: workspace path → cluster. ancestors: a workspace's parents, nearest first. path_of: its path."""
    projections = informers.informer(RESOURCE_PROJECTIONS)
    targets = informers.informer(SYNC_TARGETS)
    observed = Observed(targets.get, targets.version_of, clock.now())

    def home(projection: Projection) -> ClusterName | None:
        if projection.location_workspace:
            return resolve(projection.location_workspace)
        candidates = [projection.cluster, *ancestors(projection.cluster)]
        return next((c for c in candidates if targets.count(cluster=c)), projection.cluster)

    def of_projection(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Sequence[ObjectKey]:
        """And its neighbours, of which it may make a circle, if it changed in what they look at."""
        seen = [(meta.generation(p), meta.annotations(p)) if p is not None else None for p in (old, new)]
        return list(projections.keys(cluster=key.cluster)) if seen[0] != seen[1] else [key]

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        told = [(told_of(t), t.get("spec"), (conditions.get(t, READY) or {}).get("status")) if t is not None else None for t in (old, new)]
        return projections.keys() if told[0] != told[1] else []

    def of_object(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        names = {name for obj in (old, new) if obj is not None for mark in marks(obj).values() for name in mark.by}
        if not names or _copy_state(old) == _copy_state(new):
            return []
        return [ObjectKey(key.cluster, "", name) for name in sorted(names)]

    reconciler = ProjectionReconciler(
        projections.get, views, lambda cluster, now: observed.fleet(targets.keys(cluster=cluster), now), home, path_of, labels_of, copies,
        for_cluster, meter, clock,
    )  # fmt: skip
    controller = Controller("projection", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(projections, of_projection)
    controller.watch(targets, of_target)
    copies.follow(lambda informer: controller.watch(informer, of_object))
    return controller
