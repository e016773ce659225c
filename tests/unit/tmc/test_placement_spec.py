"""Reading a Placement's spec: both spellings, every fault with its path, and what is faulty counts as not there."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.tmc.model.kinds import Placement
from kcp.tmc.placement.policy import NOTHING_ASKED, Strategy
from kcp.tmc.placement.spec import read


def test_a_placement_of_kcp_011_asks_for_nothing_more() -> None:
    spec = {"locationSelectors": [{"matchLabels": {"a": "b"}}], "namespaceSelector": {}, "locationWorkspace": "root", "tolerations": []}
    assert read(spec).policy == NOTHING_ASKED


@pytest.mark.parametrize(
    ("text", "strategy"),
    [("spread", "Spread"), ("RoundRobin", "RoundRobin"), ("round-robin", "RoundRobin"), ("ONETOANY", "OneToAny"), ("", "")],
)
def test_strategies_are_read_in_any_case(text: str, strategy: str) -> None:
    assert read({"strategy": text}).policy.strategy is Strategy(strategy)


FAULTY: list[tuple[dict[str, Any], list[str]]] = [
    ({"strategy": "Random"}, ["spec.strategy"]),
    ({"constraints": {"rules": [{"type": "Weather", "field": "x", "values": ["y"]}]}}, ["spec.constraints.rules[0].type"]),
    ({"constraints": {"rules": [{"type": "Label", "values": ["y"]}]}}, ["spec.constraints.rules[0].field"]),
    ({"constraints": {"rules": [{"type": "Region"}]}}, ["spec.constraints.rules[0].values"]),
    ({"constraints": {"rules": [{"type": "Cost", "operator": "Exists"}]}}, ["spec.constraints.rules[0].operator"]),
    ({"constraints": {"rules": [{"type": "Latency", "values": ["1", "2"]}]}}, ["spec.constraints.rules[0].values"]),
    ({"constraints": {"rules": [{"type": "Resource", "field": "cpu", "values": ["much"]}]}}, ["spec.constraints.rules[0].values"]),
    ({"constraints": {"resources": {"requests": {"cpu": "much"}}}}, ["spec.constraints.resources.requests[cpu]"]),
    ({"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, ["spec.clusterSelector"]),
    (
        {"clusterSelector": {"matchExpressions": [{"key": "capacity.cpu", "operator": "GreaterThan", "values": []}]}},
        ["spec.clusterSelector.matchExpressions[0].values"],
    ),
    ({"clusterGroups": [{"clusterSelector": {"matchLabels": {"a b": "c"}}}]}, ["spec.clusterGroups[0].clusterSelector"]),
    ({"clusterRules": [{"minReplicas": 3, "maxReplicas": 2}]}, ["spec.clusterRules[0].minReplicas"]),
    ({"replicas": {"minPerCluster": 3, "maxPerCluster": 2}}, ["spec.replicas.minPerCluster"]),
    ({"replicas": {"division": "Shared", "preference": "Best"}}, ["spec.replicas.division", "spec.replicas.preference"]),
    ({"movement": {"rebalance": "Often"}}, ["spec.movement.rebalance"]),
    (
        {"constraints": {"affinity": {"clusterAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": "east"}}}},
        ["spec.constraints.affinity.clusterAffinity.requiredDuringSchedulingIgnoredDuringExecution"],
    ),
    (
        {"constraints": {"affinity": {"clusterAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"labelSelector": "east"}}}}},
        ["spec.constraints.affinity.clusterAffinity.requiredDuringSchedulingIgnoredDuringExecution.labelSelector"],
    ),
]


@pytest.mark.parametrize(("spec", "paths"), FAULTY, ids=lambda v: v[0] if isinstance(v, list) else "")
def test_a_fault_is_told_with_its_path(spec: dict[str, Any], paths: list[str]) -> None:
    assert [fault.field for fault in read(spec).faults] == paths


def test_the_forks_single_location_selector_and_nested_tolerations_are_read() -> None:
    spec = {
        "locationSelector": {"path": "root:infra", "labelSelector": {"matchLabels": {"region": "eu"}}},
        "constraints": {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
    }
    placement = Placement.of({"metadata": {"name": "p"}, "spec": spec}, ())
    assert placement.location_workspace == "root:infra"
    assert [str(s) for s in placement.location_selectors] == ["region=eu"]
    assert placement.tolerations == ({"key": "gpu", "operator": "Exists"},)


def test_both_spellings_of_spread_count() -> None:
    one = {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"}
    found = read({"constraints": {"topologySpreadConstraints": [one]}, "spreadConstraints": [{"topologyKey": "region"}]}).policy.spread
    assert [(c.topology_key, c.max_skew, c.required) for c in found] == [("zone", 2, False), ("region", 1, True)]
