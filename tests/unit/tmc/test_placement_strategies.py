"""Strategies, preferences, groups, spread, budget and rebalancing: who is taken, and who has to wait or to go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcp.tmc.placement.reasons import Reason
from kcp.tmc.placement.schedule import Decision, Snapshot, Taint, Target, schedule
from kcp.tmc.placement.spec import read


def target(name: str, *, used: float = 0.5, cpu: float = 10.0, **more: Any) -> Target:
    found: dict[str, Any] = {"allocatable": {"cpu": cpu, "memory": 100.0, "pods": 100.0}, "ready": True, "labels": {}}
    found["used"] = {"cpu": cpu * used, "memory": 100.0 * used, "pods": 100.0 * used}
    return Target(f"K-{name}", name, **(found | more))


A, B, C = target("a", used=0.2), target("b", used=0.5), target("c", used=0.7)


def decide(spec: dict[str, Any], targets: tuple[Target, ...] = (A, B, C), held: str = "", **more: Any) -> Decision:
    reading = read(spec)
    assert reading.faults == ()
    current = frozenset(f"K-{name}" for name in held)
    return schedule(Snapshot((), spec.get("numberOfClusters"), targets, current=current, policy=reading.policy, **more))


def names(decision: Decision) -> str:
    return "".join(t.name for t in decision.chosen)


def scores(decision: Decision) -> dict[str, float]:
    return {v.target.name: round(v.score, 2) for v in decision.verdicts if v.scores}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"strategy": "Spread"}, {"a": 135.0, "b": 112.5, "c": 97.5}),
        ({"strategy": "Pack"}, {"a": 20.0, "b": 50.0, "c": 70.0}),
        ({"strategy": "Balanced"}, {"a": 77.5, "b": 62.5, "c": 52.5}),
        ({"strategy": "Balanced", "strategyParameters": {"weights": {"health": 0, "latency": 0}}}, {"a": 80.0, "b": 50.0, "c": 30.0}),
        ({"strategy": "Weighted"}, {"a": 100.0, "b": 62.5, "c": 37.5}),
        ({"strategy": "Capacity"}, {"a": 100.0, "b": 62.5, "c": 37.5}),
        ({"strategy": "Capacity", "constraints": {"resources": {"requests": {"cpu": "2"}}}}, {"a": 75.0, "b": 60.0, "c": 33.33}),
        (
            {"strategy": "Weighted", "clusterRules": [{"clusterNames": ["c"], "weight": 4}, {"weight": 1}]},
            {"a": 25.0, "b": 25.0, "c": 100.0},
        ),
        ({"strategy": "Priority", "clusterRules": [{"clusterNames": ["b"], "priority": 90}]}, {"a": 0.0, "b": 90.0, "c": 0.0}),
    ],
    ids=lambda v: str(v) if "strategy" in v else "",
)
def test_the_points_are_those_of_the_documented_formula(spec: dict[str, Any], expected: dict[str, float]) -> None:
    decision = decide(spec)
    assert scores(decision) == expected
    best = max(expected, key=lambda n: expected[n])
    if spec["strategy"] != "Spread":
        assert names(decision) == best


def test_pack_refuses_what_would_be_too_full() -> None:
    decision = decide({"strategy": "Pack", "constraints": {"resources": {"requests": {"cpu": "3"}}}})
    told = {v.target.name: v.message for v in decision.verdicts}
    assert told["c"] == "would be 85% full; resourceThreshold is 80%"
    assert names(decision) == "b"


def test_round_robin_takes_whoever_has_the_fewest_placements() -> None:
    assert names(decide({"strategy": "RoundRobin"}, load={"K-a": 2, "K-b": 1, "K-c": 3})) == "b"
    assert names(decide({"strategy": "RoundRobin"})) == "a"


@pytest.mark.parametrize(("strategy", "number"), [("", 1), ("OneToAny", 1), ("OneToMany", 3), ("Spread", 3), ("Pack", 1), ("Balanced", 1)])
def test_each_strategy_has_its_number_of_clusters(strategy: str, number: int) -> None:
    assert len(decide({"strategy": strategy}).chosen) == number
    assert len(decide({"strategy": strategy, "numberOfClusters": 2}).chosen) == 2


def test_affinity_counts_required_and_preferred_terms() -> None:
    term = {"labelSelector": {"matchLabels": {"tier": "gold"}}}
    spec = {
        "strategy": "Affinity",
        "constraints": {
            "affinity": {
                "clusterAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"labelSelector": {}},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 30, "clusterAffinityTerm": term}],
                },
                "clusterAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 20, "clusterAffinityTerm": {"locations": ["none"]}}]
                },
            }
        },
    }
    found = decide(spec, (A, replace(B, labels={"tier": "gold"}), C))
    assert scores(found) == {"a": 100.0, "b": 130.0, "c": 100.0}
    assert names(found) == "b"


def test_a_soft_rule_is_worth_less_beyond_its_value_and_nothing_beyond_its_tolerance() -> None:
    targets = tuple(replace(A, key=f"K-{n}", name=n, latency_ms={"db": ms}) for n, ms in (("a", 130.0), ("b", 110.0), ("c", 90.0)))
    soft = {"type": "Latency", "field": "db", "values": ["100"], "required": False, "tolerance": 0.2, "weight": 60}
    assert scores(decide({"constraints": {"rules": [soft]}}, targets)) == {"a": 0.0, "b": 30.0, "c": 60.0}


def test_a_taint_that_prefers_no_work_costs_points() -> None:
    shy = replace(A, taints=(Taint("busy", "", "PreferNoSchedule"),))
    assert names(decide({}, (shy, B))) == "b"
    assert names(decide({"numberOfClusters": 2}, (shy, B))) == "ab"


def test_a_tie_is_told() -> None:
    assert decide({}).tie_break == "a before b by name, both with 0.0 points"
    assert decide({"strategy": "Weighted"}).tie_break == ""


GROUPS = {"clusterGroups": [{"name": "own", "clusterNames": ["b", "c"]}, {"name": "rented"}]}


def test_a_later_group_is_used_only_when_the_earlier_ones_do_not_suffice() -> None:
    assert names(decide({**GROUPS, "numberOfClusters": 2})) == "bc"
    assert names(decide({**GROUPS, "numberOfClusters": 3})) == "abc"
    assert names(decide({**GROUPS, "numberOfClusters": 1}, (A, replace(B, ready=False), replace(C, unschedulable=True)))) == "a"


def test_work_returns_to_an_earlier_group_only_by_rebalancing() -> None:
    spec = {**GROUPS, "numberOfClusters": 1}
    assert names(decide(spec, held="a")) == "a"
    back = decide(spec, held="a", moves=1)
    assert names(back) == "b"
    assert {v.target.name: v.reason for v in back.verdicts}["a"] is Reason.REBALANCED


def zoned(**zones: str) -> tuple[Target, ...]:
    return tuple(target(name, labels={"zone": zone}) for name, zone in zones.items())


def test_topology_spread_takes_from_each_zone_in_turn() -> None:
    spec = {"numberOfClusters": 3, "constraints": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}
    assert names(decide(spec, zoned(a="1", b="1", c="1", d="2", e="3"))) == "ade"


def test_do_not_schedule_leaves_places_empty_and_says_why() -> None:
    fleet = zoned(a="1", b="1", c="1", d="2")
    spec: dict[str, Any] = {"numberOfClusters": 4, "constraints": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}
    found = decide(spec, fleet)
    assert names(found) == "abd"
    assert {v.target.name: v.message for v in found.verdicts}["c"] == "zone=1 has 2 already; maxSkew 1 allows no more"
    spec["constraints"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] = "ScheduleAnyway"
    assert names(decide(spec, fleet)) == "abcd"
    assert names(decide({**spec, "numberOfClusters": 2}, fleet)) == "ad"


def test_better_clusters_do_not_move_what_runs_but_rebalancing_does_a_few_at_a_time() -> None:
    spec = {"strategy": "Weighted", "numberOfClusters": 2}
    fleet = (*(target(n, used=0.9) for n in "xyz"), A, B)
    assert names(decide(spec, fleet, held="xy")) == "xy"
    once = decide(spec, fleet, held="xy", moves=1)
    assert names(once) == "ax"
    assert [(m.leaves.name, m.arrives.name) for m in once.moves] == [("y", "a")]
    assert names(decide(spec, fleet, held="xy", moves=5)) == "ab"
    assert decide(spec, fleet, held="ab", moves=5).moves == []


def test_a_small_gain_is_not_worth_a_move() -> None:
    spec = {"strategy": "Weighted", "movement": {"minimumGain": 30}}
    assert names(decide(spec, (target("x", used=0.4), A), held="x", moves=1)) == "x"
    assert names(decide({"strategy": "Weighted", "movement": {"minimumGain": 20}}, (target("x", used=0.4), A), held="x", moves=1)) == "a"


def test_a_budget_lets_clusters_go_one_after_the_other() -> None:
    spec = {"numberOfClusters": 2, "movement": {"maxDisruptedClusters": 1}}
    drained = (replace(A, evicting=True), replace(B, evicting=True), C, target("d"))
    first = decide(spec, drained, held="ab")
    assert names(first) == "bc"
    assert {v.target.name: v.reason for v in first.verdicts}["b"] is Reason.KEPT_FOR_BUDGET
    assert not first.is_complete
    assert names(decide(spec, drained, held="bc", disturbed=1)) == "bc"
    assert names(decide(spec, drained, held="bc")) == "cd"


def test_a_budget_also_bounds_a_smaller_number_and_rebalancing() -> None:
    budget = {"movement": {"maxDisruptedClusters": 1}}
    assert names(decide({"numberOfClusters": 1, **budget}, held="abc")) == "ac"
    moved = decide(
        {"strategy": "Weighted", "numberOfClusters": 2, **budget}, (target("x", used=0.9), target("y", used=0.9), A, B), held="xy", moves=5
    )
    assert len({"x", "y"} & set(names(moved))) == 1


def test_silent_clusters_go_before_drained_ones() -> None:
    spec = {"numberOfClusters": 2, "movement": {"maxDisruptedClusters": 1}}
    fleet = (replace(A, evicting=True), replace(B, ready=False, not_ready_for_s=100.0), C)
    assert names(decide(spec, fleet, held="ab", eviction_grace_s=60.0)) == "ac"
