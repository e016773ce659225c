"""Filters: every one rules out what it says, in words; which of them move what runs, and which only keep new work away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.placement.observe import target_of, tolerations_of
from kcp.tmc.placement.policy import Policy
from kcp.tmc.placement.reasons import Reason
from kcp.tmc.placement.schedule import Location, Neighbour, Snapshot, Taint, Target, Verdict, schedule
from kcp.tmc.placement.spec import read

GIB = float(1 << 30)
EAST = Target(
    "K-east", "east", {"region": "eu", "tier": "gold"}, ready=True, cells={"zone": "eu-a"}, capabilities={"gpu": {"model": "a100", "memory": "80"}},
    allocatable={"cpu": 8.0, "memory": 16 * GIB}, used={"cpu": 6.0}, latency_ms={"db": 20.0, "far": 90.0}, prices={"cpu": 0.04, "memory": 0.01},
)  # fmt: skip
WEST = Target("K-west", "west", {"region": "us"}, ready=True)


def verdict(spec: dict[str, Any], target: Target = EAST, *, held: bool = False, **more: Any) -> Verdict:
    reading = read(spec)
    assert reading.faults == ()
    current = frozenset({target.key} if held else ())
    snapshot = Snapshot((), 2, [target, WEST], current=current, policy=reading.policy, **more)
    return next(v for v in schedule(snapshot).verdicts if v.target.key == target.key)


def rule(kind: str, field: str = "", operator: str = "", *values: str) -> dict[str, Any]:
    made = {"type": kind, "field": field, "operator": operator, "values": list(values)}
    return {"constraints": {"rules": [{k: v for k, v in made.items() if v}]}}


MET = [
    rule("Region", "", "In", "eu", "asia"),
    rule("Region", "", "NotIn", "us"),
    rule("Zone", "", "Equals", "eu-a"),
    rule("Label", "tier", "Exists"),
    rule("Label", "missing", "DoesNotExist"),
    rule("Capability", "gpu"),
    rule("Capability", "gpu.model", "In", "a100"),
    rule("Capability", "gpu.memory", "AtLeast", "80"),
    rule("Resource", "cpu", "", "2"),
    rule("Resource", "memory", "GreaterThan", "15Gi"),
    rule("Capacity", "cpu", "", "8"),
    rule("Latency", "db", "", "20"),
    rule("Latency", "", "LessThan", "91"),
    rule("Cost", "cpu", "", "0.04"),
    rule("Cost", "", "AtMost", "0.05"),
]
NOT_MET = [
    (rule("Region", "", "In", "us"), "constraint Region In us is not met (here: eu)"),
    (rule("Zone", "", "NotIn", "eu-a"), "constraint Zone NotIn eu-a is not met (here: eu-a)"),
    (rule("Label", "tier", "DoesNotExist"), "constraint Label tier DoesNotExist is not met (here: gold)"),
    (rule("Capability", "fpga"), "constraint Capability fpga Exists is not met (here: none)"),
    (rule("Capacity", "cpu", "", "9"), "constraint Capacity cpu AtLeast 9 is not met (here: 8)"),
    (rule("Capacity", "gpu", "", "1"), "constraint Capacity gpu AtLeast 1 is not met (here: not reported)"),
    (rule("Latency", "db", "LessThan", "20"), "constraint Latency db LessThan 20 is not met (here: 20)"),
    (rule("Cost", "", "LessThan", "0.05"), "constraint Cost LessThan 0.05 is not met (here: 0.05)"),
]


@pytest.mark.parametrize("spec", MET, ids=lambda s: str(s["constraints"]["rules"][0]))
def test_a_rule_that_is_met_lets_through(spec: dict[str, Any]) -> None:
    assert verdict(spec).chosen


@pytest.mark.parametrize(("spec", "message"), NOT_MET, ids=[m for _, m in NOT_MET])
def test_a_rule_that_is_not_met_rules_out_and_says_so(spec: dict[str, Any], message: str) -> None:
    found = verdict(spec)
    assert (found.reason, found.message) == (Reason.CONSTRAINT, message)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"resources": {"requests": {"cpu": "2500m"}}}, "2 of cpu free, 2.5 required"),
        ({"resourceRequirements": {"cpu": 2500}}, "2 of cpu free, 2.5 required"),
        ({"resources": {"requests": {"memory": "17Gi"}}}, "16Gi of memory free, 17Gi required"),
        ({"resourceRequirements": {"storage": 1 << 30}}, "does not report how much storage it has; 1Gi is required"),
        (rule("Resource", "cpu", "AtLeast", "3")["constraints"], "constraint Resource cpu AtLeast 3 is not met (here: 2)"),
    ],
)
def test_what_is_not_free_keeps_new_work_away_but_moves_none(resources: dict[str, Any], message: str) -> None:
    found = verdict({"constraints": resources})
    assert (found.reason, found.message) == (Reason.INSUFFICIENT, message)
    assert verdict({"constraints": resources}, held=True).reason is Reason.KEPT
    assert verdict({"constraints": resources}, held=True, policy_changed=True).reason is Reason.KEPT


REQUIRED, PREFERRED = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
VARYING = [
    (rule("Latency", "db", "AtMost", "10"), Reason.CONSTRAINT),
    (rule("Cost", "cpu", "AtMost", "0.01"), Reason.CONSTRAINT),
    ({"constraints": {"affinity": {"clusterAffinity": {REQUIRED: {"labelSelector": {"matchLabels": {"tier": "base"}}}}}}}, Reason.AFFINITY),
    ({"constraints": {"affinity": {"clusterAffinity": {REQUIRED: [{}, {"locations": ["elsewhere"]}]}}}}, Reason.AFFINITY),
    (
        {"constraints": {"affinity": {"clusterAntiAffinity": {REQUIRED: {"labelSelector": {"matchLabels": {"tier": "gold"}}}}}}},
        Reason.ANTI_AFFINITY,
    ),
    ({"constraints": {"topologySpreadConstraints": [{"topologyKey": "rack"}]}}, Reason.NO_TOPOLOGY),
    ({"placementAffinity": [{"placementSelector": {"matchLabels": {"app": "db"}}}]}, Reason.PLACEMENT_AFFINITY),
]


@pytest.mark.parametrize(("spec", "reason"), VARYING, ids=[str(r) for _, r in VARYING])
def test_what_varies_is_ignored_during_execution_until_the_placement_is_edited(spec: dict[str, Any], reason: Reason) -> None:
    assert verdict(spec).reason is reason
    assert verdict(spec, held=True).reason is Reason.KEPT
    assert verdict(spec, held=True, policy_changed=True).reason is reason


@pytest.mark.parametrize(
    "spec",
    [
        rule("Region", "", "In", "us"),
        {"clusterSelector": {"matchLabels": {"tier": "base"}}},
        {"clusterGroups": [{"clusterNames": ["west"]}]},
    ],
    ids=["region", "label", "group"],
)
def test_where_work_may_be_moves_it_when_it_may_not_be_there_any_more(spec: dict[str, Any]) -> None:
    assert not verdict(spec).chosen
    assert not verdict(spec, held=True).chosen


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ({"key": "capacity.cpu", "operator": "GreaterThan", "values": ["7999"]}, True),
        ({"key": "capacity.cpu", "operator": "GreaterThan", "values": ["8000"]}, False),
        ({"key": "capacity.memory", "operator": "LessThan", "values": ["1"]}, False),
        ({"key": "tier", "operator": "In", "values": ["gold"]}, True),
        ({"key": "tier", "operator": "NotIn", "values": ["gold"]}, False),
        ({"key": "tier", "operator": "DoesNotExist"}, False),
    ],
)
def test_the_cluster_selector_knows_labels_and_capacity(expression: dict[str, Any], *, chosen: bool) -> None:
    assert verdict({"clusterSelector": {"matchExpressions": [expression]}}).chosen is chosen


@pytest.mark.parametrize(
    ("served", "chosen"), [((), True), (("root:org",), True), (("shop",), True), (("root:org:shop",), True), (("root:other", "sho"), False)]
)
def test_a_target_serves_the_workspaces_it_names_with_all_below_them(served: tuple[str, ...], *, chosen: bool) -> None:
    target = replace(EAST, workspaces=served)
    assert verdict({}, target, workspace="root:org:shop").chosen is chosen
    assert verdict({}, target, workspace="root:org:shop", held=True).chosen is chosen


def test_only_apis_that_the_workspace_binds_must_be_accepted() -> None:
    target = replace(EAST, missing_apis=("ingresses.networking.k8s.io",), identities={"deployments.apps": "abc"})
    assert verdict({}, target).message == "does not accept ingresses.networking.k8s.io"
    assert verdict({}, target, required_apis={"deployments.apps": "abc"}).chosen
    other = verdict({}, target, required_apis={"deployments.apps": "xyz"})
    assert (other.reason, other.message) == (Reason.API_INCOMPATIBLE, "accepts deployments.apps of another APIExport only")


def test_an_api_whose_schema_does_not_agree_is_refused_with_the_fields_that_differ() -> None:
    why = ".spec.size: is integer in one cluster and string in another"
    entry = {"group": "demo.io", "resource": "queues", "state": "Incompatible", "identityHash": "abc", "message": why}
    obj = {"metadata": {"name": "east"}, "spec": {}, "status": {"syncedResources": [entry]}}
    target = replace(target_of(obj, datetime.now(UTC)), ready=True)
    found = verdict({}, target, required_apis={"queues.demo.io": "abc"})
    assert (found.reason, found.message) == (Reason.API_INCOMPATIBLE, f"does not accept queues.demo.io ({why})")
    assert verdict({}, target, required_apis={"deployments.apps": "xyz"}).chosen, "it binds another API"


def test_no_execute_is_tolerated_for_a_time() -> None:
    tolerations = tolerations_of([{"key": "down", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}])
    fresh, old = (replace(EAST, taints=(Taint("down", "", "NoExecute", age_s=age),)) for age in (59.0, 60.0))
    assert verdict({}, fresh, held=True, tolerations=tolerations).chosen
    assert verdict({}, old, held=True, tolerations=tolerations).message == "taint down=:NoExecute is not tolerated"


def test_affinity_between_placements_looks_at_the_cluster_or_at_its_part_of_the_topology() -> None:
    database = Neighbour("db", {"app": "db"}, frozenset({"K-other"}))
    other = replace(EAST, key="K-other", name="other")
    near = read({"placementAffinity": [{"placementSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]}).policy
    same = read({"placementAffinity": [{"placementSelector": {"matchLabels": {"app": "db"}}}]}).policy
    away = read({"placementAntiAffinity": [{"placementSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]}).policy

    def chosen(policy: Policy) -> list[str]:
        return [t.name for t in schedule(Snapshot((), 5, [EAST, WEST, other], policy=policy, neighbours=[database])).chosen]

    assert chosen(near) == ["east", "other"]
    assert chosen(same) == ["other"]
    assert chosen(away) == ["west"]


def test_affinity_to_a_placement_that_does_not_exist_waits_for_it() -> None:
    found = verdict({"placementAffinity": [{"placementSelector": {"matchLabels": {"app": "db"}}}]})
    assert (found.reason, found.message) == (Reason.PLACEMENT_AFFINITY, "placement affinity: no placement matches app=db")


def test_affinity_knows_locations() -> None:
    location = Location("europe", {}, LabelSelector.parse("region=eu"))
    spec = {"constraints": {"affinity": {"clusterAffinity": {REQUIRED: {"locations": ["europe"]}}}}}
    assert verdict(spec, locations=[location]).chosen
    assert not verdict(spec, replace(EAST, labels={}), locations=[location]).chosen


def test_the_last_cluster_is_not_given_up_for_being_silent() -> None:
    silent = replace(EAST, ready=False, not_ready_for_s=1e6)
    alone = schedule(Snapshot((), 1, [silent], current=frozenset({"K-east"}), eviction_grace_s=60.0))
    assert [(str(v.reason), v.message) for v in alone.verdicts] == [
        ("KeptWhileUnready", "kept although not ready (no report): no other cluster could take its work")
    ]
    assert [t.name for t in schedule(Snapshot((), 1, [silent, WEST], current=frozenset({"K-east"}), eviction_grace_s=60.0)).chosen] == [
        "west"
    ]
