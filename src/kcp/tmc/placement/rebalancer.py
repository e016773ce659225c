"""Begins moves of replicas among the clusters that a Placement has chosen, where rebalancing asks for it.

Before: `controller`, once the clusters are decided. After: `levelling`, which finds the moves; annotation `tmc.kcp.io/replica-move` of the
Deployments, which `resources` carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_own
from kcp.tmc.model.moves import Move
from kcp.tmc.model.names import SHARES_ANNOTATION
from kcp.tmc.model.shifts import SHIFT_ANNOTATION, Shift, Stage
from kcp.tmc.model.wishes import exclusive_of
from kcp.tmc.placement.handover import Workloads, handing_over
from kcp.tmc.placement.levelling import Bounds, Plan, Workload, is_levelled, movable, plan, workload_of
from kcp.tmc.placement.policy import Movement, Policy
from kcp.tmc.placement.rebalancing import Levelled, Rebalancing
from kcp.tmc.placement.reservations import SETTLE_S
from kcp.tmc.placement.resources import chosen_for
from kcp.tmc.placement.schedule import Decision
from kcp.tmc.placement.shares import Shares, share_of

DEPLOYMENTS = GVR("apps", "v1", "deployments")


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, and what is to be written."""

    levelled: Levelled = Levelled()
    written: Sequence[tuple[JSONObject, Shift]] = ()


@dataclass(slots=True)
class _Seen:
    """The Deployments of a Placement."""

    free: dict[str, tuple[JSONObject, Workload]] = field(default_factory=dict)
    """By name; those that may begin to move."""
    givers: set[str] = field(default_factory=set)
    """K of the clusters that are losing replicas."""
    is_busy: bool = False
    """Some move, or moved so lately that clusters do not report it yet."""


@dataclass(frozen=True, slots=True)
class Rebalancer:
    workloads: Workloads
    for_cluster: Callable[[ClusterName], Client]

    def look(  # noqa: PLR0913 - what a move depends on, spelled out
        self, policy: Policy, hand_over_s: float, decision: Decision, namespaces: Sequence[JSONObject], rebalancing: Rebalancing,
        now: datetime, disturbed: int,
    ) -> Look:  # fmt: skip
        """Args: namespaces: of the Placement. disturbed: clusters that are losing them."""
        spoken = Shares(policy.replicas.division, policy.replicas.preference, {})
        if not rebalancing.wanted or not is_levelled(spoken):
            return Look()
        if not rebalancing.levels(decision, now):
            return Look(Levelled(is_settled=rebalancing.levelled_at is not None and not decision.moves))
        if not self.workloads.has_synced:
            return Look(Levelled(is_settled=False))
        seen = self._see(namespaces, decision, now)
        found = Plan(is_whole=False) if seen.is_busy else self._plan(seen, policy.movement, decision, rebalancing, disturbed)
        request = "" if rebalancing.request == rebalancing.done else rebalancing.request
        until = now + timedelta(seconds=hand_over_s)
        written = []
        for workload, after in found.moves:
            obj = seen.free[workload.name][0]
            total = int(meta.nested(obj, "spec", "replicas", default=1))
            written.append((obj, Shift(workload.current, dict(after), total, Stage.MOVING, now, until, request=request)))
        written = [(obj, shift) for obj, shift in written if not _was_given_up(Shift.of(obj), shift)]
        return Look(Levelled(is_looked=True, moves=len(written), is_settled=found.is_whole and not written), written)

    @staticmethod
    def _plan(seen: _Seen, movement: Movement, decision: Decision, rebalancing: Rebalancing, disturbed: int) -> Plan:
        givers = None if movement.max_disrupted is None else movement.max_disrupted - disturbed
        bounds = Bounds(movement.min_gain, rebalancing.allowed, givers)
        return plan([workload for _, workload in seen.free.values()], movable(decision), bounds, seen.givers)

    def _see(self, namespaces: Sequence[JSONObject], decision: Decision, now: datetime) -> _Seen:
        seen = _Seen()
        names = {t.key: t.name for t in decision.chosen}
        for obj, namespace in self._placed(namespaces):
            shift = Shift.of(obj)
            if shift is not None and (shift.stage is Stage.MOVING or (now - shift.since).total_seconds() < SETTLE_S):
                seen.is_busy = True
                seen.givers |= set(shift.falling)
                continue
            shares = Shares.from_json(meta.annotations(namespace).get(SHARES_ANNOTATION))
            keys = chosen_for(obj, namespace, (), names, DEPLOYMENTS.group_resource)
            current = {key: held for key in keys if (held := share_of(obj, key)) is not None}
            is_still = set(current) == set(keys) and not handing_over(namespace) and Move.of(obj) is None and exclusive_of(obj) is None
            if shares is not None and is_still and not meta.deletion_timestamp(obj):
                workload = workload_of(obj, current, shares)
                seen.free[workload.name] = obj, workload
        return seen

    def _placed(self, namespaces: Sequence[JSONObject]) -> Iterator[tuple[JSONObject, JSONObject]]:
        for namespace in namespaces:
            for obj in self.workloads.divided_in(meta.key(namespace)):
                yield obj, namespace

    async def carry_out(self, look: Look) -> None:
        """A Deployment that is no longer as it was looked at drops the move."""
        for obj, shift in look.written:
            wanted = meta.copy_json(obj)
            meta.set_annotation(wanted, SHIFT_ANNOTATION, shift.to_json())
            await commit_own(self.for_cluster(meta.cluster(obj)).resource(DEPLOYMENTS), obj, wanted)


def _was_given_up(held: Shift | None, wanted: Shift) -> bool:
    """The same was tried, for the same request, and nobody was ready in time: asked anew, it is tried again."""
    if held is None or held.stage is not Stage.GIVEN_UP:
        return False
    return (held.before, held.after, held.request) == (wanted.before, wanted.after, wanted.request)
