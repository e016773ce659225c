"""Files with a Scenario, with Faults, or with both: played in a replay, or applied to simulated clusters that run.

Before: `cli.sim_replay`, `cli.sim_apply`. After: `scenario`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kcp.aio.durations import format_duration, parse_duration
from kcp.apimachinery.meta import JSONObject
from kcp.replay.scenario import API_VERSION, CONTROL_PLANE, CONTROL_PLANE_FAULTS, Scenario, ScenarioError, Step, from_document, in_order
from kcp.sim.faultobjects import FAULTS, FaultError, state_of
from kcp.sim.faults import Fault

_AMOUNTS = {"slow": "latency", "skew": "skew"}
"""Of which field of a Fault the `by` of a step is."""


def scenario_of(documents: Sequence[Any]) -> Scenario:
    """One Scenario, with the Faults beside it as further steps. Raises ScenarioError naming the field."""
    faults = [document for document in documents if _is_fault(document)]
    others = [document for document in documents if not _is_fault(document)]
    if len(others) != 1:
        raise ScenarioError(f"a replay needs one Scenario, and there are {len(others)}; beside it may be Faults")
    scenario = from_document(others[0])
    steps = [_step(fault, scenario) for fault in faults]
    return replace(scenario, steps=in_order([*scenario.steps, *steps]))


def faults_of(documents: Sequence[Any]) -> Iterator[JSONObject]:
    """Faults as objects, those of a Scenario's steps included: all that clusters which run can be given. Raises ScenarioError."""
    for document in documents:
        if _is_fault(document):
            yield checked(document)
        else:
            steps = [step for step in from_document(document).steps if _is_of_cluster(step)]
            yield from (_fault(step, number) for number, step in enumerate(steps, 1))


def checked(fault: JSONObject) -> JSONObject:
    """Raises ScenarioError."""
    name = f"Fault {(fault.get('metadata') or {}).get('name') or '(without a name)'}"
    spec = fault.get("spec")
    choices = ", ".join(kind.value for kind in Fault if kind is not Fault.NONE)
    if not isinstance(spec, Mapping) or spec.get("type") not in choices.split(", "):
        raise ScenarioError(f"{name}: spec.type must be one of {choices}")
    if not spec.get("cluster"):
        raise ScenarioError(f"{name}: spec.cluster: required: the name of the cluster to break")
    for field in ("after", "duration"):
        _seconds(spec, field, name)
    try:
        state_of(spec)
    except FaultError as error:
        raise ScenarioError(f"{name}: {error}") from error
    return fault


def _is_fault(document: Any) -> bool:
    return isinstance(document, Mapping) and (document.get("apiVersion"), document.get("kind")) == (API_VERSION, "Fault")


def _is_of_cluster(step: Step) -> bool:
    return step.verb in set(Fault) and step.target != CONTROL_PLANE


def _step(fault: JSONObject, scenario: Scenario) -> Step:
    """A Fault without an end lasts as long as the scenario."""
    spec, target = fault.get("spec") or {}, str((fault.get("spec") or {}).get("cluster") or "")
    checked(fault)
    if target not in (*scenario.clusters, CONTROL_PLANE) or (target == CONTROL_PLANE and spec["type"] not in CONTROL_PLANE_FAULTS):
        name = fault["metadata"]["name"]
        raise ScenarioError(f"Fault {name}: spec.cluster: {target!r} is not a cluster of the scenario ({', '.join(scenario.clusters)})")
    state, at_s = state_of(spec), _seconds(spec, "after", target)
    lasts_s = _seconds(spec, "duration", target) if spec.get("duration") else scenario.duration_s - at_s
    return Step(at_s, state.fault.value, target, lasts_s, state.latency_s or state.skew_s)


def _fault(step: Step, number: int) -> JSONObject:
    spec = {"type": step.verb, "cluster": step.target, "after": format_duration(step.at_s), "duration": format_duration(step.for_s)}
    if step.verb in _AMOUNTS:
        spec[_AMOUNTS[step.verb]] = format_duration(step.amount)
    return {"apiVersion": FAULTS.api_version, "kind": "Fault", "metadata": {"name": f"step-{number}"}, "spec": spec}


def _seconds(spec: Mapping[str, Any], field: str, name: str) -> float:
    try:
        return parse_duration(str(spec.get(field) or "0"))
    except ValueError as error:
        raise ScenarioError(f"{name}: spec.{field}: {error}") from error
