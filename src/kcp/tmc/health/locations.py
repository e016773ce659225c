"""Location controller: how many SyncTargets a Location picks, and how many of them can take work.

Source: kcp release-0.11 pkg/reconciler/scheduling/location.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.kinds import LOCATIONS, SYNC_TARGETS, SyncTarget, selector_of
from kcp.tmc.model.names import LOCATION_LABELS_ANNOTATION


def decide(location: JSONObject, targets: Sequence[SyncTarget]) -> JSONObject:
    """The Location with its counts, and its labels as the annotation that the table shows. Pure."""
    wanted: JSONObject = meta.copy_json(location)
    selector = selector_of(meta.nested(location, "spec", "instanceSelector", default={}), [])
    mine = [t for t in targets if selector.matches(t.labels)]
    status = meta.ensure(wanted, "status")
    status["instances"] = len(mine)
    status["availableClusters"] = sorted(t.name for t in mine if t.ready and not t.unschedulable)
    status["availableInstances"] = len(status["availableClusters"])
    shown = " ".join(f"{k}={v}" for k, v in sorted(meta.labels(location).items()))
    meta.set_annotation(wanted, LOCATION_LABELS_ANNOTATION, shown)
    return wanted


@dataclass(frozen=True, slots=True)
class LocationReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    targets: Callable[[ClusterName], Sequence[SyncTarget]]
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        location = self.get(key)
        if location is None:
            return Result()
        wanted = decide(location, self.targets(key.cluster))
        client = self.for_cluster(key.cluster).resource(LOCATIONS)
        await commit_both(client, location, wanted)
        return Result()


def build_location_controller(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    locations = informers.informer(LOCATIONS)
    targets = informers.informer(SYNC_TARGETS)

    def of_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(o) for o in locations.list(cluster=key.cluster)]

    reconciler = LocationReconciler(locations.get, lambda c: [SyncTarget.of(o) for o in targets.list(cluster=c)], for_cluster)
    controller = Controller("location", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(locations)
    controller.watch(targets, of_workspace)
    return controller
