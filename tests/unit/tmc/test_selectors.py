"""Selectors of Placements and Locations that mean nothing: refused at the door, harmless inside, and told."""

from __future__ import annotations

from typing import Any

from kcp.apimachinery import conditions
from kcp.tmc.admission import faults
from kcp.tmc.health.locations import decide
from kcp.tmc.model.kinds import Placement
from kcp.tmc.placement.schedule import Decision
from kcp.tmc.placement.status import render

BAD: dict[str, Any] = {"matchExpressions": [{"key": "region", "operator": "Near"}]}


def placement(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "web"}, "spec": spec}


def test_every_fault_is_told_at_once_with_its_path() -> None:
    obj = placement(
        locationSelectors=[{"matchLabels": {"region": "east"}}, BAD, {"matchExpressions": [{"key": "a b", "operator": "In"}]}],
        namespaceSelector={"matchLabels": {"x": "a b"}, "matchExpressions": [{"key": "y", "operator": "Exists", "values": ["z"]}]},
    )
    found = [f.field for f in faults(obj, ("locationSelectors", "namespaceSelector"))]
    assert found == [
        "spec.locationSelectors[1].matchExpressions[0].operator",
        "spec.locationSelectors[2].matchExpressions[0].values",
        "spec.locationSelectors[2].matchExpressions[0].key",
        "spec.namespaceSelector.matchLabels",
        "spec.namespaceSelector.matchExpressions[0].values",
    ]
    assert list(faults(placement(), ("locationSelectors", "namespaceSelector"))) == []


def test_a_malformed_selector_selects_nothing_and_the_conditions_say_so() -> None:
    obj = placement(locationSelectors=[BAD], namespaceSelector=BAD)
    held = Placement.of(obj, ())
    assert not held.selects({"metadata": {"name": "default"}})
    assert not held.location_selectors[0].matches({"region": "east"})
    shown = render(obj, Decision(), now="2026-01-01T00:00:00Z", home="root", missing_home=False, in_use=False, problems=held.problems)
    scheduled = conditions.get(shown, "Scheduled")
    assert scheduled is not None
    assert scheduled["reason"] == "InvalidSelector"
    assert '"Near" is not a valid label selector operator' in scheduled["message"]


def test_a_malformed_location_has_no_instances() -> None:
    location = {"metadata": {"name": "everywhere"}, "spec": {"instanceSelector": BAD}}
    status = decide(location, [], [location])["status"]
    assert (status["instances"], status["availableInstances"], status["availableClusters"]) == (0, 0, [])
