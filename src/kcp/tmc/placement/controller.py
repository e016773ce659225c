"""Placement controller: observe targets and locations → `schedule` → the decision in the Placement's status.

Before: Placements, SyncTargets, Locations. After: the namespace scheduler, which reads annotation `internal.workload.kcp.io/synctarget`.
Source: kcp release-0.11 pkg/reconciler/scheduling/placement, pkg/reconciler/workload/placement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.model.kinds import LOCATIONS, NAMESPACES, PLACEMENTS, READY, SCHEDULED, SYNC_TARGETS, Placement, SyncTarget, selector_of
from kcp.tmc.model.names import PLACEMENT_TARGETS_ANNOTATION, UNSYNCED_NAMESPACES, sync_target_key
from kcp.tmc.placement.schedule import Decision, Location, Snapshot, Taint, Target, Toleration, schedule

PENDING, BOUND, UNBOUND = "Pending", "Bound", "Unbound"


@dataclass(frozen=True, slots=True)
class PlacementReconciler:
    """Keeps one Placement's decision true."""

    get: Callable[[ObjectKey], JSONObject | None]
    targets: Callable[[ClusterName], Sequence[JSONObject]]
    locations: Callable[[ClusterName], Sequence[JSONObject]]
    namespaces: Callable[[ClusterName], Sequence[JSONObject]]
    location_workspace: Callable[[Placement], ClusterName | None]
    """Where the SyncTargets are looked for; None: the named workspace does not exist."""
    path_of: Callable[[ClusterName], str]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    eviction_grace_s: float

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            return Result()
        placement = Placement.of(obj, chosen_keys(obj))
        home = self.location_workspace(placement)
        now = self.clock.now()
        targets = [SyncTarget.of(o) for o in self.targets(home)] if home else []
        snapshot = self._snapshot(placement, home, targets, now)
        decision = schedule(snapshot)
        wanted = render(obj, decision, now=rfc3339(now), home=self.path_of(home) if home else placement.location_workspace,
                        missing_home=home is None, in_use=self._in_use(placement), problems=placement.problems)  # fmt: skip
        await self._commit(obj, wanted, key)
        return Result(requeue_after_s=_next_check(snapshot, targets, now))

    def _snapshot(self, placement: Placement, home: ClusterName | None, targets: Sequence[SyncTarget], now: datetime) -> Snapshot:
        locations = [
            Location(meta.name(o), _location_labels(o), selector_of(meta.nested(o, "spec", "instanceSelector", default={}), []))
            for o in (self.locations(home) if home else ())
        ]
        return Snapshot(
            location_selectors=placement.location_selectors,
            number_of_clusters=placement.number_of_clusters,
            targets=[as_target(t, now) for t in targets],
            locations=locations,
            current=frozenset(placement.chosen),
            tolerations=[Toleration(**{k: t[k] for k in ("key", "operator", "value", "effect") if k in t}) for t in placement.tolerations],
            eviction_grace_s=self.eviction_grace_s,
        )

    def _in_use(self, placement: Placement) -> bool:
        return any(placement.selects(ns) for ns in self.namespaces(placement.cluster) if meta.name(ns) not in UNSYNCED_NAMESPACES)

    async def _commit(self, old: JSONObject, wanted: JSONObject, key: ObjectKey) -> None:
        """The annotation last: whoever reads it finds the explanation already there."""
        placements = self.for_cluster(key.cluster).resource(PLACEMENTS)
        status_only = {**old, "status": wanted.get("status", {})}
        written = await commit(placements, old, status_only)
        if meta.annotations(wanted) != meta.annotations(old):
            await commit(placements, written, {**written, "metadata": {**written["metadata"], "annotations": meta.annotations(wanted)}})


def chosen_keys(obj: JSONObject) -> tuple[str, ...]:
    """K of the targets a Placement has chosen, from its annotation."""
    return tuple(k for k in meta.annotations(obj).get(PLACEMENT_TARGETS_ANNOTATION, "").split(",") if k)


def as_target(target: SyncTarget, now: datetime) -> Target:
    unready_for_s = 0.0 if target.ready or target.ready_since is None else (now - target.ready_since).total_seconds()
    return Target(
        key=sync_target_key(target.cluster, target.name),
        name=target.name,
        labels=target.labels,
        ready=target.ready,
        not_ready_reason=target.not_ready_reason,
        not_ready_for_s=unready_for_s,
        unschedulable=target.unschedulable,
        evicting=target.evict_after is not None and target.evict_after <= now,
        taints=tuple(Taint(t.get("key", ""), t.get("value", ""), t.get("effect", "NoSchedule")) for t in target.taints),
        missing_apis=tuple(sorted(str(gr) for gr in target.incompatible)),
    )


def _location_labels(location: JSONObject) -> Mapping[str, str]:
    return meta.labels(location)


def _next_check(snapshot: Snapshot, targets: Sequence[SyncTarget], now: datetime) -> float | None:
    """Seconds until time alone can change the decision: an eviction grace or an evictAfter that ends."""
    due = [
        snapshot.eviction_grace_s - t.not_ready_for_s
        for t in snapshot.targets
        if t.key in snapshot.current and not t.ready and t.not_ready_for_s < snapshot.eviction_grace_s < float("inf")
    ]
    due += [(t.evict_after - now).total_seconds() for t in targets if t.evict_after is not None and t.evict_after > now]
    return max(min(due), 0.0) + 0.01 if due else None


def render(  # noqa: PLR0913 - what goes into one status, spelled out
    obj: JSONObject, decision: Decision, *, now: str, home: str, missing_home: bool, in_use: bool, problems: Sequence[str] = ()
) -> JSONObject:
    """The Placement with the decision in its status and annotation. Pure.

    Args: home: path of the SyncTargets' workspace. problems: what is wrong with the Placement's own selectors.
    """
    wanted: JSONObject = meta.copy_json(obj)
    status = meta.ensure(wanted, "status")
    chosen = decision.chosen
    status["phase"] = (BOUND if in_use else UNBOUND) if chosen else PENDING
    if chosen:
        status["selectedLocation"] = {"path": home, "locationName": decision.location}
    else:
        status.pop("selectedLocation", None)
    status["decisions"] = [
        {"syncTarget": v.target.name, "chosen": v.chosen, "reason": str(v.reason), "message": v.message}
        | ({"location": v.location} if v.location else {})
        for v in decision.verdicts
    ]
    meta.set_annotation(wanted, PLACEMENT_TARGETS_ANNOTATION, ",".join(t.key for t in chosen) or None)
    reason, message = _explain(obj, decision, home=home, missing_home=missing_home)
    if problems:
        reason, message = "InvalidSelector", f"correct the selectors of this placement: {'; '.join(problems)}"
    for kind in (SCHEDULED, READY):
        state = conditions.FALSE if reason else conditions.TRUE
        conditions.set_condition(wanted, conditions.build(kind, state, reason=reason, message=message, severity="Error", now=now))
    return wanted


def _explain(obj: JSONObject, decision: Decision, *, home: str, missing_home: bool) -> tuple[str, str]:
    """Reason and message of the conditions; no reason when all clusters that were asked for are chosen."""
    if missing_home:
        return "LocationNotFound", f'spec.locationWorkspace "{home}" does not exist: check the path with "kubectl ws tree"'
    wanted = int(meta.nested(obj, "spec", "numberOfClusters", default=1))
    if not decision.verdicts:
        return "NoValidTarget", f'no SyncTargets in workspace "{home}" or above it: create one and start its syncer'
    if not decision.chosen:
        return "NoValidTarget", decision.summary()
    if len(decision.chosen) < wanted:
        return "NotEnoughClusters", f"{len(decision.chosen)} of {wanted} clusters found; {decision.summary()}"
    return "", decision.summary()


def build_placement_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    ancestors: Callable[[ClusterName], Iterable[ClusterName]],
    path_of: Callable[[ClusterName], str],
    clock: Clock,
    eviction_grace_s: float,
) -> Controller:
    """Args: resolve: workspace path → cluster. ancestors: a workspace's parents, nearest first. path_of: for messages."""
    placements = informers.informer(PLACEMENTS)
    targets = informers.informer(SYNC_TARGETS)
    locations = informers.informer(LOCATIONS)
    namespaces = informers.informer(NAMESPACES)

    def location_workspace(placement: Placement) -> ClusterName | None:
        if placement.location_workspace:
            return resolve(placement.location_workspace)
        candidates = [placement.cluster, *ancestors(placement.cluster)]
        return next((c for c in candidates if targets.list(cluster=c)), placement.cluster)

    def all_placements(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(p) for p in placements.list()]

    def of_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return [meta.key(p) for p in placements.list(cluster=key.cluster)]

    def by_cluster(informer_list: Callable[..., Sequence[JSONObject]]) -> Callable[[ClusterName], Sequence[JSONObject]]:
        return lambda cluster: informer_list(cluster=cluster)

    reconciler = PlacementReconciler(
        placements.get, by_cluster(targets.list), by_cluster(locations.list), by_cluster(namespaces.list),
        location_workspace, path_of, for_cluster, clock, eviction_grace_s,
    )  # fmt: skip
    controller = Controller("placement", reconciler.reconcile, clock=clock, workers=4)
    controller.watch(placements)
    controller.watch(targets, all_placements)
    controller.watch(locations, all_placements)
    controller.watch(namespaces, of_workspace)
    return controller
