"""Files of Faults and Scenarios: as steps of a replay, and as objects for clusters that run."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.replay.faultfiles import faults_of, scenario_of
from kcp.replay.scenario import API_VERSION, ScenarioError, Step

SCENARIO: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "Scenario",
    "spec": {
        "duration": "10m",
        "clusters": ["east", "west"],
        "steps": [
            {"at": "1s", "do": "deploy", "name": "web", "replicas": 2},
            {"at": "2m", "do": "skew", "target": "west", "by": "-10m", "for": "1m"},
            {"at": "3m", "do": "stop-syncer", "target": "west", "for": "1m"},
            {"at": "4m", "do": "kill", "target": "control-plane", "for": "1m"},
        ],
    },
}


def fault(name: str = "f", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "Fault", "metadata": {"name": name}, "spec": spec}


def test_faults_beside_a_scenario_are_steps_of_it() -> None:
    faults = [fault(type="slow", cluster="east", after="1m", duration="30s", latency="2s"), fault(type="kill", cluster="west", after="9m")]
    steps = scenario_of([faults[0], SCENARIO, faults[1]]).steps
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
    assert Step(60.0, "slow", "east", 30.0, 2.0) in steps
    assert Step(540.0, "kill", "west", 60.0) in steps, "without an end it lasts as long as the scenario"
    assert len(steps) == 6


def test_clusters_that_run_are_given_the_faults_of_a_scenario_and_nothing_else() -> None:
    given = list(faults_of([SCENARIO, fault("mine", type="pause", cluster="east")]))
    assert [f["metadata"]["name"] for f in given] == ["step-1", "mine"]
    assert given[0]["spec"] == {"type": "skew", "cluster": "west", "after": "2m", "duration": "1m", "skew": "-10m"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"type": "explode", "cluster": "east"}, "Fault f: spec.type must be one of kill, pause"),
        ({"type": "kill"}, "Fault f: spec.cluster: required"),
        ({"type": "kill", "cluster": "east", "after": "soon"}, "Fault f: spec.after: 'soon' is not a duration"),
        ({"type": "slow", "cluster": "east", "latency": "much"}, "Fault f: spec.latency: 'much' is not a duration"),
    ],
)
def test_a_wrong_fault_is_told_which_field_is_wrong(spec: dict[str, Any], told: str) -> None:
    for read in (lambda f: scenario_of([SCENARIO, f]), lambda f: list(faults_of([f]))):
        with pytest.raises(ScenarioError) as raised:
            read(fault(**spec))
        assert told in str(raised.value)


def test_a_replay_needs_one_scenario_with_the_cluster_of_each_fault() -> None:
    with pytest.raises(ScenarioError, match="needs one Scenario, and there are 0"):
        scenario_of([fault(type="kill", cluster="east")])
    with pytest.raises(ScenarioError, match="'north' is not a cluster of the scenario"):
        scenario_of([SCENARIO, fault(type="kill", cluster="north")])
