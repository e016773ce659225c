"""From a decision to namespaces and objects: labels, deletion annotations, shares; a second look changes nothing."""

from __future__ import annotations

from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.model.kinds import NAMESPACE_SCHEDULED, Placement
from kcp.tmc.model.names import DELETION_ANNOTATION, NAMESPACE_PLACEMENT_ANNOTATION, STATE_LABEL
from kcp.tmc.placement import namespaces, resources
from kcp.tmc.placement.schedule import Snapshot, Target, schedule
from kcp.tmc.placement.shares import share_of
from kcp.tmc.placement.status import render

NOW = "2026-01-01T00:00:00Z"


def placement(*chosen: str, names: frozenset[str] = frozenset()) -> Placement:
    return Placement(
        ClusterName("c"), "p", (), 2, "", LabelSelector.from_object({}), namespace_names=names, tolerations=(), chosen=tuple(chosen)
    )


def namespace(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "default", "labels": dict(labels)}}


def test_a_namespace_is_labelled_for_each_chosen_target() -> None:
    found = namespaces.decide(namespace(), [placement("A", "B")], now=NOW)
    assert dict(meta.labels(found)) == {STATE_LABEL + "A": "Sync", STATE_LABEL + "B": "Sync"}
    assert meta.annotations(found)[NAMESPACE_PLACEMENT_ANNOTATION] == ""
    assert conditions.is_true(found, NAMESPACE_SCHEDULED)
    assert namespaces.decide(found, [placement("A", "B")], now="later") == found


def test_a_target_no_longer_chosen_is_told_to_leave_and_keeps_its_label() -> None:
    held = namespaces.decide(namespace(), [placement("A", "B")], now=NOW)
    left = namespaces.decide(held, [placement("B")], now=NOW)
    assert STATE_LABEL + "A" in meta.labels(left)
    assert meta.annotations(left)[DELETION_ANNOTATION + "A"] == NOW
    back = namespaces.decide(left, [placement("A", "B")], now=NOW)
    assert DELETION_ANNOTATION + "A" not in meta.annotations(back)


def test_a_namespace_without_targets_says_which_placement_to_look_at() -> None:
    found = namespaces.decide(namespace(), [placement()], now=NOW)
    condition = conditions.get(found, NAMESPACE_SCHEDULED)
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert "placement p" in condition["message"]


def test_match_names_restricts_a_placement() -> None:
    assert not placement("A", names=frozenset({"other"})).selects(namespace())
    assert placement("A", names=frozenset({"default"})).selects(namespace())


def deployment(replicas: int) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": replicas}}


def test_objects_follow_their_namespace_and_replicas_are_shared_out() -> None:
    ns = namespaces.decide(namespace(), [placement("A", "B")], now=NOW)
    found = resources.decide(deployment(3), ns, divided=True, now=NOW)
    assert [share_of(found, k) for k in "AB"] == [2, 1]
    assert resources.decide(found, ns, divided=True, now="later") == found


def test_scaling_up_keeps_the_shares_stable() -> None:
    ns = namespaces.decide(namespace(), [placement("A", "B")], now=NOW)
    found = resources.decide(deployment(3), ns, divided=True, now=NOW)
    found["spec"]["replicas"] = 6
    assert [share_of(resources.decide(found, ns, divided=True, now=NOW), k) for k in "AB"] == [3, 3]


def test_a_leaving_namespace_takes_its_objects_with_it_and_the_others_take_over() -> None:
    held = namespaces.decide(namespace(), [placement("A", "B")], now=NOW)
    found = resources.decide(deployment(3), held, divided=True, now=NOW)
    moved = resources.decide(found, namespaces.decide(held, [placement("B")], now=NOW), divided=True, now=NOW)
    assert meta.annotations(moved)[DELETION_ANNOTATION + "A"] == NOW
    assert share_of(moved, "B") == 3


def test_a_deleted_object_leaves_every_target() -> None:
    ns = namespaces.decide(namespace(), [placement("A")], now=NOW)
    found = resources.decide(deployment(1), ns, divided=True, now=NOW)
    found["metadata"]["deletionTimestamp"] = NOW
    assert DELETION_ANNOTATION + "A" in meta.annotations(resources.decide(found, ns, divided=True, now=NOW))


def test_a_placement_that_matches_nothing_explains_every_target() -> None:
    decision = schedule(Snapshot([LabelSelector.parse("region=north")], 1, [Target("A", "east", {"region": "east"}, ready=True)]))
    found = render({"metadata": {"name": "p"}, "spec": {}}, decision, now=NOW, home="root:a", missing_home=False, in_use=True)
    assert found["status"]["phase"] == "Pending"
    ready = conditions.get(found, "Ready")
    assert ready is not None
    assert ready["reason"] == "NoValidTarget"
    assert "region=east" in ready["message"]
    assert found["status"]["decisions"][0]["reason"] == "LocationNotMatched"
