"""Placement controller: observe targets, locations and other placements → `schedule` → status, record, annotation.

The status comes first, because its write fails on stale ground, so that no record tells of a decision that was never taken. The annotation
comes last: whoever acts on a decision finds its explanation there already.
Before: Placements, SyncTargets, Locations. After: the namespace scheduler, which reads annotation `internal.workload.kcp.io/synctarget`.
Source: kcp release-0.11 pkg/reconciler/scheduling/placement, pkg/reconciler/workload/placement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.metrics import Meter
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer
from kcp.controller.superseded import Superseded
from kcp.tenancy.kinds import WORKSPACES
from kcp.tmc.errors import ErrorType
from kcp.tmc.metrics.placements import DecisionMeasures
from kcp.tmc.model.kinds import LOCATIONS, NAMESPACES, PLACEMENT_DECISIONS, PLACEMENT_POLICIES, PLACEMENTS, SYNC_TARGETS, Placement
from kcp.tmc.model.names import UNSYNCED_NAMESPACES, chosen_keys, sync_target_key, synced_keys
from kcp.tmc.model.views import Views
from kcp.tmc.placement.handover import Workloads
from kcp.tmc.placement.inputs import Surroundings, neighbour_of, snapshot_of
from kcp.tmc.placement.observe import Observed, location_of
from kcp.tmc.placement.placementpolicies import PlacementPolicy, under
from kcp.tmc.placement.policy import Policy
from kcp.tmc.placement.reasons import error_of
from kcp.tmc.placement.rebalancer import Rebalancer
from kcp.tmc.placement.rebalancing import Rebalancing
from kcp.tmc.placement.record import is_told, record
from kcp.tmc.placement.reservations import SETTLE_S, Reservations, fresh_in, told_since
from kcp.tmc.placement.schedule import Decision, Fleet, Neighbour, Snapshot, schedule
from kcp.tmc.placement.spec import Reading, read
from kcp.tmc.placement.status import Progress, render
from kcp.tmc.placement.wakeups import BY_CHOSEN, INDEXERS, Wakeups


@dataclass(frozen=True, slots=True)
class PlacementReconciler:
    """Keeps one Placement's decision true."""

    placements: Informer
    records: Informer
    """Metadata of the PlacementDecisions."""
    fleet: Callable[[ClusterName, datetime], Fleet]
    revision: Callable[[], str]
    """Of the SyncTargets."""
    locations: Callable[[ClusterName], Sequence[JSONObject]]
    namespaces: Callable[[ClusterName], Sequence[JSONObject]]
    location_workspace: Callable[[Placement], ClusterName | None]
    """Where the SyncTargets are looked for; None: the named workspace does not exist."""
    required_apis: Callable[[ClusterName], Mapping[str, str]]
    """Group-resource → identity of the compute APIs that a workspace binds."""
    path_of: Callable[[ClusterName], str]
    labels_of: Callable[[ClusterName], Mapping[str, str] | None]
    """Labels of a workspace's Workspace object."""
    policies: Callable[[ClusterName], Sequence[PlacementPolicy]]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    eviction_grace_s: float
    reservations: Reservations
    measures: DecisionMeasures
    rebalancer: Rebalancer
    superseded: Superseded = field(default_factory=Superseded)
    one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Placements that look at others are decided one after the other, on what the server has: two that keep apart never choose the same."""

    async def reconcile(self, key: ObjectKey) -> Result:
        try:
            return await self._decide(key)
        except (StatusError, TransportError) as error:
            self.measures.retried(key.cluster, error)
            raise

    async def _decide(self, key: ObjectKey) -> Result:
        obj = self.placements.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            self.superseded.forget(key)
            return Result()
        if self.superseded.holds(obj):
            return Result()
        reading = read(obj.get("spec") or {})
        if policies := self.policies(key.cluster):
            reading = under(reading, policies, self._namespaces(Placement.of(obj, ())))
        if not reading.policy.placement_terms:
            return await self._place(obj, reading, ())
        async with self.one_by_one:
            listed = await self.for_cluster(key.cluster).resource(PLACEMENTS).list()
            return await self._place(obj, reading, [neighbour_of(p) for p in listed.items if meta.name(p) != key.name])

    async def _place(self, obj: JSONObject, reading: Reading, neighbours: Sequence[Neighbour]) -> Result:
        ended = self.measures.began()
        placement = Placement.of(obj, chosen_keys(obj))
        home = self.location_workspace(placement)
        if foreign := self._foreign(placement):
            placement, home = replace(placement, problems=(*placement.problems, foreign)), None
        now = self.clock.now()
        namespaces = self._namespaces(placement)
        rebalancing = Rebalancing.of(obj, reading.policy, now)
        around = self._surroundings(placement, reading.policy, home, namespaces, now)
        snapshot = snapshot_of(obj, placement, reading.policy, replace(around, neighbours=neighbours, moves=rebalancing.allowed))
        decision = schedule(snapshot)
        key = meta.key(obj)
        since = told_since(obj, decision.chosen, reading.policy.requests if namespaces else {}, now)
        look = self.rebalancer.look(
            reading.policy, placement.hand_over_s, decision, namespaces, rebalancing, now, snapshot.disturbed
        )  # fmt: skip
        progress = rebalancing.after(decision, now, look.levelled)
        self.reservations.assume(key, reading.policy.requests, fresh_in(obj, since), now)
        is_written = False
        try:
            await self._write(obj, placement, home, reading, decision, progress, now, since, in_use=bool(namespaces))
            is_written = True
            await self.rebalancer.carry_out(look)
        finally:
            if not is_written:
                self.reservations.withdraw(key)
        ended(key.cluster, str(reading.policy.strategy) or "default", len(decision.chosen) >= decision.number)
        self._tell_wanting(key, decision)
        waits = SETTLE_S if len(decision.chosen) < decision.number and any(t.reserved for t in decision.fleet) else None
        return Result(requeue_after_s=_earliest(next_check(snapshot), rebalancing.next_look(decision, look.levelled), waits))

    def _tell_wanting(self, key: ObjectKey, decision: Decision) -> None:
        """What kept it from its clusters: each kind of reason once, with the cluster if it is one."""
        if len(decision.chosen) >= decision.number:
            return
        by_error: dict[ErrorType, list[str]] = {}
        for name, refusal in decision.refused.items():
            by_error.setdefault(error_of(refusal.reason), []).append(name)
        names = {target.key: target.name for target in decision.fleet}
        for error, refused in (by_error or {ErrorType.PLACEMENT_CONSTRAINT: []}).items():
            self.measures.wanting(key.cluster, error, names.get(refused[0], "") if len(refused) == 1 else "")

    async def _write(  # noqa: PLR0913 - what a decision is written down with
        self, obj: JSONObject, placement: Placement, home: ClusterName | None, reading: Reading, decision: Decision,
        progress: Progress, now: datetime, since: Sequence[JSONObject], *, in_use: bool,
    ) -> None:  # fmt: skip
        home_path = self.path_of(home) if home else placement.location_workspace
        wanted = render(obj, decision, now=rfc3339(now), home=home_path, missing_home=home is None, in_use=in_use,
                        problems=[*placement.problems, *map(str, reading.faults)], progress=progress,
                        policy=reading.policy, since=since)  # fmt: skip
        placements = self.for_cluster(placement.cluster).resource(PLACEMENTS)
        written = await commit(placements, obj, {**obj, "status": wanted["status"]})
        self.superseded.wrote(obj, written)
        if home is not None:
            await self._record(obj, decision, reading.policy, home_path, now)
        if meta.annotations(wanted) != meta.annotations(obj):
            metadata = {**written["metadata"], "annotations": meta.annotations(wanted)}
            self.superseded.wrote(written, await commit(placements, written, {**written, "metadata": metadata}))

    def _surroundings(
        self, placement: Placement, policy: Policy, home: ClusterName | None, namespaces: Sequence[JSONObject], now: datetime
    ) -> Surroundings:
        fleet = self.fleet(home, now) if home else Fleet()
        fleet = self.reservations.applied(fleet, ObjectKey(placement.cluster, "", placement.name))
        return Surroundings(
            fleet=fleet,
            locations=[location_of(o) for o in (self.locations(home) if home else ())],
            workspace=self.path_of(placement.cluster),
            eviction_grace_s=self.eviction_grace_s,
            required_apis=lambda: self.required_apis(placement.cluster),
            load=lambda: self._load(fleet, placement),
            workspace_labels=lambda: self.labels_of(placement.cluster),
            disturbed=self._disturbed(placement, fleet, namespaces) if policy.movement.max_disrupted is not None else 0,
        )

    def _foreign(self, placement: Placement) -> str:
        """What is wrong with an object of another workspace as the source; "" for none."""
        source, path = placement.source, self.path_of(placement.cluster)
        if source is None or source.is_in(placement.cluster, path):
            return ""
        return f'spec.source.workspace "{source.workspace}" is another one: a Placement places objects of its own workspace, {path}'

    def _namespaces(self, placement: Placement) -> Sequence[JSONObject]:
        """Those that the placement applies to."""
        return [ns for ns in self.namespaces(placement.cluster) if meta.name(ns) not in UNSYNCED_NAMESPACES and placement.selects(ns)]

    def _disturbed(self, placement: Placement, fleet: Fleet, namespaces: Sequence[JSONObject]) -> int:
        """Targets that are losing the placement's work: no longer chosen, alive, and not yet through with it.

        Their labels stay on the namespaces until their syncers are done, so that nobody is overlooked between two writes.
        """
        others = [
            Placement.of(p, chosen_keys(p)) for p in self.placements.list(cluster=placement.cluster) if meta.name(p) != placement.name
        ]
        leaving: set[str] = set()
        for namespace in namespaces:
            wanted = {key for p in others if p.selects(namespace) for key in p.chosen}
            leaving |= set(synced_keys(namespace)) - wanted
        return sum(1 for t in fleet if t.ready and t.key in leaving and t.key not in placement.chosen)

    def _load(self, fleet: Fleet, placement: Placement) -> dict[str, int]:
        counted = {t.key: len(self.placements.index_keys(BY_CHOSEN, t.key)) for t in fleet}
        return {key: count - (key in placement.chosen) for key, count in counted.items()}

    async def _record(self, obj: JSONObject, decision: Decision, policy: Policy, home: str, now: datetime) -> None:
        """In a workspace that does not bind the API of records, none is kept."""
        wanted = record(obj, decision, now=rfc3339(now), home=home, revision=self.revision(), strategy=str(policy.strategy))
        held = self.records.get(meta.key(obj))
        if is_told(held, wanted):
            return
        records = self.for_cluster(meta.cluster(obj)).resource(PLACEMENT_DECISIONS)
        try:
            if held is None:
                await records.create(wanted)
            else:
                wanted["metadata"]["resourceVersion"] = meta.resource_version(held)
                await records.update(wanted)
        except NotFound as error:
            if error.name:  # of the record itself: it was deleted meanwhile
                raise


def next_check(snapshot: Snapshot) -> float | None:
    """Seconds until time alone can change the decision: a grace, an evictAfter or a toleration that ends."""
    grace_s = snapshot.eviction_grace_s
    due = [
        grace_s - t.not_ready_for_s
        for t in snapshot.targets
        if not t.ready and t.key in snapshot.current and t.not_ready_for_s < grace_s < float("inf")
    ]
    due += [t.evicts_in_s for t in snapshot.targets if t.evicts_in_s is not None]
    for toleration in snapshot.tolerations:
        if toleration.seconds is not None:
            taints = (x for t in snapshot.targets if t.taints and t.key in snapshot.current for x in t.taints)
            due += [left for x in taints if toleration.matches(x) and (left := toleration.seconds - x.age_s) > 0]
    return max(min(due), 0.0) + 0.01 if due else None


def _earliest(*due: float | None) -> float | None:
    return min((d for d in due if d is not None), default=None)


def _follow(placements: Informer, targets: Informer, clock: Clock) -> Reservations:
    """The books of what is promised, kept in step with the server."""
    books = Reservations()

    def of_placement(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        books.observe(key, new)

    def of_target(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        target = sync_target_key(key.cluster, key.name)
        if new is None:
            books.forget(target)
        elif old is not None and _reports(old) != _reports(new):
            books.reported(target, clock.now())

    placements.add_handler(of_placement)
    targets.add_handler(of_target)
    return books


def _reports(target: JSONObject) -> object:
    """What changes whenever a cluster tells what it uses."""
    status = target.get("status") or {}
    return status.get("lastSyncerHeartbeatTime"), status.get("usage"), status.get("allocatable")


def build_placement_controller(  # noqa: PLR0913 - what the server knows, spelled out
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    ancestors: Callable[[ClusterName], Iterable[ClusterName]],
    path_of: Callable[[ClusterName], str],
    labels_of: Callable[[ClusterName], Mapping[str, str] | None],
    required_apis: Callable[[ClusterName], Mapping[str, str]],
    clock: Clock,
    eviction_grace_s: float,
    meter: Meter,
    workloads: Workloads,
) -> Controller:
    """Args: resolve: workspace path → cluster. ancestors: a workspace's parents, nearest first. path_of: its path."""
    placements = informers.informer(PLACEMENTS, indexers=INDEXERS)
    records = informers.informer(PLACEMENT_DECISIONS, metadata_only=True)
    targets = informers.informer(SYNC_TARGETS)
    locations = informers.informer(LOCATIONS)
    namespaces = informers.informer(NAMESPACES)
    observed = Observed(targets.get, targets.version_of, clock.now())

    def location_workspace(placement: Placement) -> ClusterName | None:
        if placement.location_workspace:
            return resolve(placement.location_workspace)
        candidates = [placement.cluster, *ancestors(placement.cluster)]
        return next((c for c in candidates if targets.count(cluster=c)), placement.cluster)

    policies = Views(informers.informer(PLACEMENT_POLICIES), PlacementPolicy.of)
    reservations = _follow(placements, targets, clock)
    wake = Wakeups(placements, observed, clock)
    reconciler = PlacementReconciler(
        placements, records, lambda cluster, now: observed.fleet(targets.keys(cluster=cluster), now), lambda: targets.resource_version,
        lambda cluster: locations.list(cluster=cluster), lambda cluster: namespaces.list(cluster=cluster),
        location_workspace, required_apis, path_of, labels_of, policies.of_cluster, for_cluster, clock, eviction_grace_s, reservations,
        DecisionMeasures(clock, meter), Rebalancer(workloads, for_cluster),
    )  # fmt: skip
    controller = Controller("placement", reconciler.reconcile, clock=clock, workers=4)
    controller.watch(placements, wake.of_placement)
    controller.watch(records, wake.of_record)
    controller.watch(targets, wake.of_target)
    controller.watch(locations, wake.everywhere)
    controller.watch(namespaces, wake.of_workspace)
    controller.watch(informers.informer(WORKSPACES), wake.of_labels)
    controller.watch(policies.informer, wake.of_workspace)
    return controller
