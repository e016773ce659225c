"""Location controller: which SyncTargets a Location picks, which of them can take work, what they have, and where it lies among the others.

What is in use changes with every heartbeat of every cluster; it is summed now and then, so that a Location is not written all the time.
Source: kcp release-0.11 pkg/reconciler/scheduling/location; the TMC reference §2.1 (Location) for capacities and the hierarchy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta, quantity
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.kinds import LOCATIONS, READY, SYNC_TARGETS, SyncTarget, selector_of
from kcp.tmc.model.names import LOCATION_LABELS_ANNOTATION

CLUSTERS_READY, HIERARCHY_VALID = "ClustersReady", "HierarchyValid"
SUM_AGAIN_S = 30.0
_UNITS = (("cpu", 1000), ("memory", 1), ("storage", 1), ("ephemeral-storage", 1), ("pods", 1))
"""Millicores, bytes, pieces. Source: the TMC reference §2.1 (capacity)."""


def decide(location: JSONObject, targets: Sequence[JSONObject], siblings: Sequence[JSONObject] = (), *, now: str = "") -> JSONObject:
    """The Location with its status, and its labels as the annotation that the table shows. Pure.

    Args: targets: SyncTargets of its workspace. siblings: all Locations of it.
    """
    wanted: JSONObject = meta.copy_json(location)
    selector = selector_of(meta.nested(location, "spec", "instanceSelector", default={}), [])
    mine = [obj for obj in targets if selector.matches(meta.labels(obj))]
    views = [SyncTarget.of(obj) for obj in mine]
    status = meta.ensure(wanted, "status")
    status["instances"] = len(mine)
    status["availableClusters"] = sorted(t.name for t in views if t.ready and not t.unschedulable)
    status["availableInstances"] = len(status["availableClusters"])
    status["totalCapacity"] = _sum(mine, "capacity", "allocatable")
    status["allocatedCapacity"] = _sum(mine, "usage")
    status["childLocations"] = sorted(meta.name(one) for one in siblings if _parent(one) == meta.name(location))
    way, fault = _way_up(location, siblings)
    status["path"] = "/".join(reversed(way))
    for kind, reason, message in (
        (CLUSTERS_READY, *_clusters(views)),
        (HIERARCHY_VALID, *fault),
        (READY, *(("", "") if status["availableInstances"] else ("NoClusterAvailable", "none of its SyncTargets can take work"))),
    ):
        state = conditions.FALSE if reason else conditions.TRUE
        conditions.set_condition(wanted, conditions.build(kind, state, reason=reason, message=message, severity="Warning", now=now))
    shown = " ".join(f"{k}={v}" for k, v in sorted(meta.labels(location).items()))
    meta.set_annotation(wanted, LOCATION_LABELS_ANNOTATION, shown)
    return wanted


def _clusters(views: Sequence[SyncTarget]) -> tuple[str, str]:
    unready = sorted(t.name for t in views if not t.ready)
    if unready:
        return "ClustersNotReady", f"not ready: {', '.join(unready[:5])}{' and others' if len(unready) > 5 else ''}"
    return ("", "") if views else ("NoClusters", "spec.instanceSelector picks no SyncTarget")


def _sum(targets: Sequence[JSONObject], *fields: str) -> dict[str, int]:
    """Of each SyncTarget the first of these fields of its status that it reports."""
    total: dict[str, int] = {}
    for obj in targets:
        held: Mapping[str, Any] = next((found for f in fields if (found := (obj.get("status") or {}).get(f))), {})
        for name, unit in _UNITS:
            if name in held and (amount := _amount(held[name])) is not None:
                shown = "storage" if name == "ephemeral-storage" else name
                total[shown] = total.get(shown, 0) + int(amount * unit)
    return total


def _amount(told: Any) -> float | None:
    try:
        return float(quantity.parse(told))
    except (quantity.QuantityError, TypeError):
        return None  # nobody can count that


def _parent(location: JSONObject) -> str:
    return str(meta.nested(location, "spec", "parent", default="") or "")


def _way_up(location: JSONObject, siblings: Sequence[JSONObject]) -> tuple[list[str], tuple[str, str]]:
    """Names from the Location up to the root, as far as they go; reason and message of what is wrong, ("", "") if nothing is."""
    parents = {meta.name(one): _parent(one) for one in siblings}
    way, above = [meta.name(location)], _parent(location)
    while above:
        if above in way:
            return way, ("CircularHierarchy", f"the parent {above} lies below it: change spec.parent of one of {', '.join(way)}")
        if above not in parents:
            return way, ("ParentNotFound", f"there is no Location {above}, which is spec.parent of {way[-1]}")
        way.append(above)
        above = parents[above]
    return way, ("", "")


@dataclass(frozen=True, slots=True)
class LocationReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    targets: Callable[[ClusterName], Sequence[JSONObject]]
    locations: Callable[[ClusterName], Sequence[JSONObject]]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        location = self.get(key)
        if location is None:
            return Result()
        wanted = decide(location, self.targets(key.cluster), self.locations(key.cluster), now=rfc3339(self.clock.now()))
        client = self.for_cluster(key.cluster).resource(LOCATIONS)
        await commit_both(client, location, wanted)
        return Result()


def _standing(target: JSONObject | None) -> object:
    """What of a SyncTarget its Locations tell at once."""
    if target is None:
        return None
    view, status = SyncTarget.of(target), target.get("status") or {}
    return view.labels, view.ready, view.unschedulable, status.get("capacity"), status.get("allocatable")


def build_location_controller(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    locations = informers.informer(LOCATIONS)
    targets = informers.informer(SYNC_TARGETS)

    def of_location(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Itself, and all of its workspace where the hierarchy changed."""
        seen = [_parent(one) if one is not None else None for one in (old, new)]
        return [key] if seen[0] == seen[1] else [key, *(k for k in locations.keys(cluster=key.cluster) if k != key)]

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [] if _standing(old) == _standing(new) else locations.keys(cluster=key.cluster)

    def used(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        if old is not None and new is not None and meta.nested(old, "status", "usage") != meta.nested(new, "status", "usage"):
            for location in locations.keys(cluster=key.cluster):
                controller.enqueue_after(location, SUM_AGAIN_S)

    reconciler = LocationReconciler(
        locations.get, lambda c: targets.list(cluster=c), lambda c: locations.list(cluster=c), for_cluster, clock
    )  # fmt: skip
    controller = Controller("location", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(locations, of_location)
    controller.watch(targets, of_target)
    targets.add_handler(used)
    return controller
