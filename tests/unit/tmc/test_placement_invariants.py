"""What holds for every decision, whatever is asked for and whatever the fleet looks like (hypothesis)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.placement.policy import (
    ClusterGroup,
    ClusterRule,
    ClusterTerm,
    Constraint,
    ConstraintType,
    Movement,
    Operator,
    PlacementTerm,
    Policy,
    SpreadConstraint,
    Strategy,
)
from kcp.tmc.placement.reasons import CHOSEN
from kcp.tmc.placement.schedule import Neighbour, Snapshot, Taint, Target, schedule

KEYS = [f"K{i}" for i in range(8)]
SELECTORS = st.sampled_from([LabelSelector.EVERYTHING, *map(LabelSelector.parse, ("tier=gold", "tier!=gold", "zone in (z1,z2)", "zone"))])
TAINTS = st.lists(st.builds(Taint, key=st.just("t"), effect=st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"])), max_size=1)
AMOUNTS = st.dictionaries(st.sampled_from(["cpu", "memory", "pods"]), st.integers(0, 20).map(float))
TARGETS = st.lists(
    st.builds(
        Target,
        key=st.sampled_from(KEYS),
        name=st.sampled_from([f"t{i}" for i in range(8)]),
        labels=st.fixed_dictionaries({}, optional={"tier": st.sampled_from(["gold", "base"]), "zone": st.sampled_from(["z1", "z2", "z3"])}),
        ready=st.booleans(),
        not_ready_for_s=st.sampled_from([0.0, 10.0, 600.0]),
        unschedulable=st.booleans(),
        evicting=st.booleans(),
        taints=TAINTS.map(tuple),
        allocatable=AMOUNTS,
        used=AMOUNTS,
        priority=st.integers(0, 3),
        latency_ms=st.fixed_dictionaries({}, optional={"db": st.integers(0, 100).map(float)}),
    ),
    max_size=8,
    unique_by=(lambda t: t.key, lambda t: t.name),
)
CONSTRAINTS = st.sampled_from(
    [
        Constraint(ConstraintType.LABEL, Operator.IN, "tier", ("gold",)),
        Constraint(ConstraintType.ZONE, Operator.NOT_IN, values=("z3",)),
        Constraint(ConstraintType.LATENCY, Operator.AT_MOST, "db", ("50",), 50.0),
        Constraint(ConstraintType.LATENCY, Operator.AT_MOST, "db", ("50",), 50.0, required=False, tolerance=0.5),
        Constraint(ConstraintType.RESOURCE, Operator.AT_LEAST, "cpu", ("5",), 5.0),
    ]
)
POLICIES = st.builds(
    Policy,
    strategy=st.sampled_from(list(Strategy)),
    requests=st.fixed_dictionaries({}, optional={"cpu": st.integers(0, 10).map(float)}),
    constraints=st.lists(CONSTRAINTS, max_size=2).map(tuple),
    required_terms=st.lists(st.builds(ClusterTerm, selector=SELECTORS), max_size=1).map(tuple),
    preferred_terms=st.lists(st.builds(ClusterTerm, selector=SELECTORS, weight=st.sampled_from([-20.0, 30.0])), max_size=1).map(tuple),
    placement_terms=st.lists(
        st.builds(
            PlacementTerm, selector=SELECTORS, topology_key=st.sampled_from(["", "zone"]), required=st.booleans(), away=st.booleans()
        ),
        max_size=1,
    ).map(tuple),
    spread=st.lists(st.builds(SpreadConstraint, topology_key=st.just("zone"), max_skew=st.integers(1, 2), required=st.booleans()), max_size=1).map(tuple),
    groups=st.lists(st.builds(ClusterGroup, name=st.just("g"), selector=SELECTORS), max_size=2).map(tuple),
    rules=st.lists(st.builds(ClusterRule, selector=SELECTORS, weight=st.integers(0, 3), priority=st.integers(0, 3)), max_size=1).map(tuple),
    movement=st.builds(Movement, max_disrupted=st.sampled_from([None, 1, 2]), min_gain=st.sampled_from([0.5, 10.0])),
)  # fmt: skip
SNAPSHOTS = st.builds(
    Snapshot,
    location_selectors=st.just(()),
    number_of_clusters=st.one_of(st.none(), st.integers(1, 5)),
    targets=TARGETS,
    current=st.frozensets(st.sampled_from(KEYS), max_size=4),
    eviction_grace_s=st.sampled_from([60.0, float("inf")]),
    policy=POLICIES,
    neighbours=st.lists(
        st.builds(Neighbour, name=st.just("n"), labels=st.just({"tier": "gold"}), chosen=st.frozensets(st.sampled_from(KEYS), max_size=2)), max_size=1
    ),
    load=st.dictionaries(st.sampled_from(KEYS), st.integers(0, 5)),
    policy_changed=st.booleans(),
    moves=st.integers(0, 2),
    disturbed=st.integers(0, 2),
)  # fmt: skip


def keys(snapshot: Snapshot) -> frozenset[str]:
    return frozenset(t.key for t in schedule(snapshot).chosen)


@given(SNAPSHOTS, st.integers())
def test_the_order_of_the_inputs_never_matters(snapshot: Snapshot, seed: int) -> None:
    shuffled = list(snapshot.targets)
    random.Random(seed).shuffle(shuffled)
    assert schedule(snapshot) == schedule(replace(snapshot, targets=shuffled))


@given(SNAPSHOTS)
def test_every_target_is_told_of_once_and_the_chosen_ones_are_the_chosen_ones(snapshot: Snapshot) -> None:
    decision = schedule(snapshot)
    assert [v.target for v in decision.verdicts] == sorted(snapshot.targets, key=lambda t: t.name)
    assert tuple(v.target for v in decision.verdicts if v.reason in CHOSEN) == decision.chosen
    assert all(v.message for v in decision.verdicts)


@given(SNAPSHOTS)
def test_never_more_than_were_asked_for_but_for_those_that_may_not_be_left_yet(snapshot: Snapshot) -> None:
    decision = schedule(snapshot)
    fresh = [t for t in decision.chosen if t.key not in snapshot.current]
    wanted = snapshot.number_of_clusters if snapshot.number_of_clusters is not None else len(snapshot.targets)
    assert len(decision.chosen) - len(decision.held_back) <= max(wanted, len(snapshot.current))
    assert not fresh or len(decision.chosen) <= max(wanted, len(snapshot.current) + snapshot.moves)


@given(SNAPSHOTS)
def test_a_decision_is_stable_once_it_is_taken(snapshot: Snapshot) -> None:
    """Without rebalancing, looking again with nothing changed moves nobody."""
    once = replace(snapshot, moves=0, policy_changed=False)
    unbounded = replace(once, policy=replace(once.policy, movement=Movement()))
    assert keys(replace(unbounded, current=keys(unbounded))) == keys(unbounded)


@given(SNAPSHOTS)
def test_looking_again_and_again_comes_to_an_end(snapshot: Snapshot) -> None:
    """With rebalancing and a budget too: some moves later, nothing is left to do."""
    seen = replace(snapshot, disturbed=0, policy_changed=False)
    for _ in range(20):
        chosen = keys(seen)
        if chosen == seen.current:
            return
        seen = replace(seen, current=chosen)
    raise AssertionError("it never settles")


@given(SNAPSHOTS)
def test_no_more_clusters_are_left_at_once_than_the_budget_allows(snapshot: Snapshot) -> None:
    budget = snapshot.policy.movement.max_disrupted
    left = snapshot.current & {t.key for t in snapshot.targets} - keys(snapshot)
    assert budget is None or len(left) <= max(budget - snapshot.disturbed, 0)


@given(SNAPSHOTS)
def test_rebalancing_moves_no_more_than_it_may(snapshot: Snapshot) -> None:
    assert len(schedule(snapshot).moves) <= snapshot.moves


@given(SNAPSHOTS)
def test_new_work_goes_only_where_every_filter_lets_it(snapshot: Snapshot) -> None:
    policy = snapshot.policy
    for target in schedule(snapshot).chosen:
        if target.key not in snapshot.current:
            assert target.ready
            assert not target.unschedulable
            assert not target.evicting
            assert all(t.effect == "PreferNoSchedule" for t in target.taints)
            assert all((target.free(r) or 0.0) >= n for r, n in policy.requests.items() if n)
            assert all(term.selector.matches(target.labels) for term in policy.required_terms)
            assert not policy.groups or any(g.holds(target.name, target.labels) for g in policy.groups)


@given(SNAPSHOTS)
def test_a_first_choice_keeps_the_skew_of_every_hard_spread_constraint(snapshot: Snapshot) -> None:
    decision = schedule(replace(snapshot, current=frozenset(), moves=0))
    for constraint in snapshot.policy.spread:
        if constraint.required:
            passed = [v.target for v in decision.verdicts if v.chosen or v.reason in ("TopologySpread", "EnoughClustersChosen")]
            parts = {t.topology("zone") for t in passed} - {""}
            counts = Counter(t.topology("zone") for t in decision.chosen)
            if parts:
                assert max(counts[p] for p in parts) - min(counts[p] for p in parts) <= constraint.max_skew


@given(SNAPSHOTS)
@settings(max_examples=50)
def test_a_cluster_that_nobody_chose_can_go_without_effect(snapshot: Snapshot) -> None:
    """Removing a target that passed no filter changes nothing for the others' choice."""
    first = replace(snapshot, policy=replace(snapshot.policy, placement_terms=()))
    decision = schedule(first)
    refused = [t for t in first.targets if t.key in decision.refused and t.key not in first.current]
    if refused and decision.chosen and all(t.key not in decision.refused for t in decision.chosen):
        assert keys(replace(first, targets=[t for t in first.targets if t is not refused[0]])) == keys(first)
