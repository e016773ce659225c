"""Scenarios are data: the same seed is the same scenario, a file says the same, and a wrong file is told which field is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from kcp.replay.scenario import ACTS, CLUSTER_FAULTS, CONTROL_PLANE, Scenario, ScenarioError, from_document, from_seed, to_document


def test_a_seed_is_a_scenario_and_another_seed_is_another() -> None:
    assert from_seed(7, hours=2) == from_seed(7, hours=2)
    assert from_seed(7, hours=2) != from_seed(8, hours=2)


@pytest.mark.parametrize("seed", range(20))
def test_a_file_holds_all_of_it(seed: int) -> None:
    scenario = from_seed(seed, hours=3, clusters=4)
    assert from_document(yaml.safe_load(yaml.safe_dump(to_document(scenario)))) == scenario


def test_days_of_it_know_every_fault_and_act() -> None:
    steps = from_seed(1, hours=100).steps
    assert {step.verb for step in steps} == {*CLUSTER_FAULTS, *ACTS}
    assert CONTROL_PLANE in {step.target for step in steps}
    assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)


def _document(*steps: Any, **spec: Any) -> dict[str, Any]:
    held = {"duration": "5m", "clusters": ["east"], "steps": list(steps), **spec}
    return {"apiVersion": "sim.kcp.io/v1alpha1", "kind": "Scenario", "spec": held}


def test_what_a_file_leaves_out_has_a_default() -> None:
    found = from_document(_document({"at": "10s", "do": "deploy", "name": "web"}))
    assert found == Scenario(0, 300.0, ("east",), 1, found.steps)
    assert found.steps[0].replicas == 1


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"kind": "Deployment"}, "not a scenario: apiVersion must be sim.kcp.io/v1alpha1 and kind Scenario"),
        (_document(duration="soon"), "spec.duration: 'soon' is not a duration such as 30s, 5m or 1h30m"),
        (_document(numberOfClusters=3), "spec.numberOfClusters: 3 must be between 1 and 1, the number of clusters"),
        (_document("kill"), "spec.steps[0]: must be a mapping"),
        (_document({"at": "1s", "do": "explode"}), "spec.steps[0].do: 'explode' is none of kill, "),
        (_document({"at": "1s", "do": "kill", "target": "west", "for": "1s"}), "spec.steps[0].target: 'west' must be control-plane or one of east"),
        (_document({"at": "1s", "do": "skew", "target": CONTROL_PLANE}), "spec.steps[0].do: the control plane knows kill, pause, slow only"),
        (_document({"at": "1s", "do": "kill", "target": "east"}), "spec.steps[0].for: required: a duration"),
        (_document({"at": "1s", "do": "scale"}), "spec.steps[0].name: required"),
        (_document({"at": "1s", "do": "scale", "name": "web", "replicas": -1}), "spec.steps[0].replicas: -1 must be a number, not negative"),
        (_document({"do": "scale", "name": "web"}), "spec.steps[0].at: required: a duration"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_where(document: Any, told: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        from_document(document)
    assert told in str(refused.value)
