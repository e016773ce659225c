"""New copies before old ones: what a namespace waits for, how long, and how replicas are divided meanwhile."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.model.kinds import Placement
from kcp.tmc.model.names import DELETION_ANNOTATION, HANDOVER_ANNOTATION, SPEC_DIFF_ANNOTATION, STATE_LABEL, STATUS_ANNOTATION
from kcp.tmc.placement import namespaces, resources
from kcp.tmc.placement.handover import handing_over, has_taken_over, left_s
from kcp.tmc.placement.shares import share_of

DEPLOYMENTS = GroupResource("apps", "deployments")
NOW = "2026-01-01T00:00:00Z"


def placement(*chosen: str) -> Placement:
    everything = LabelSelector.from_object({})
    return Placement(ClusterName("c"), "p", (), 1, "", everything, namespace_names=frozenset(), tolerations=(), chosen=tuple(chosen))


def deployment(**clusters: tuple[int | None, int]) -> dict[str, Any]:
    """Args: clusters: K → (share, ready)."""
    annotations: dict[str, str] = {}
    for key, (share, ready) in clusters.items():
        if share is not None:
            annotations[SPEC_DIFF_ANNOTATION + key] = json.dumps([{"op": "replace", "path": "/replicas", "value": share}])
            annotations[STATUS_ANNOTATION + key] = json.dumps({"readyReplicas": ready})
    labels = {STATE_LABEL + key: "Sync" for key in clusters}
    return {"metadata": {"name": "web", "namespace": "default", "labels": labels, "annotations": annotations}, "spec": {"replicas": 2}}


@pytest.mark.parametrize(
    ("workload", "done"),
    [
        (deployment(A=(2, 2)), False),
        (deployment(A=(2, 2), B=(None, 0)), False),
        (deployment(A=(2, 2), B=(2, 1)), False),
        (deployment(A=(2, 2), B=(2, 2)), True),
        (deployment(A=(2, 2), B=(0, 0)), True),
        (deployment(C=(2, 2)), True),
    ],
    ids=["not there", "no share yet", "one replica short", "ready", "nothing to run", "never was on A"],
)
def test_a_target_has_taken_over_once_its_share_is_ready(workload: dict[str, Any], *, done: bool) -> None:
    assert has_taken_over([(DEPLOYMENTS, workload)], "A", ["B"], str) is done


DONE = {"conditions": [{"type": "Complete", "status": "True"}]}


@pytest.mark.parametrize(
    ("resource", "spec", "status", "done"),
    [
        ("statefulsets.apps", {"replicas": 3}, {"readyReplicas": 2}, False),
        ("statefulsets.apps", {"replicas": 3}, {"readyReplicas": 3}, True),
        ("replicasets.apps", {}, {"readyReplicas": 1}, True),
        ("daemonsets.apps", {}, {}, False),
        ("daemonsets.apps", {}, {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 1}, False),
        ("daemonsets.apps", {}, {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": 2}, True),
        ("daemonsets.apps", {}, {"observedGeneration": 1, "desiredNumberScheduled": 0, "numberReady": 0}, True),
        ("jobs.batch", {}, {}, False),
        ("jobs.batch", {"parallelism": 2, "completions": 4}, {"active": 2, "ready": 1}, False),
        ("jobs.batch", {"parallelism": 2, "completions": 4}, {"active": 2, "ready": 2}, True),
        ("jobs.batch", {"parallelism": 2, "completions": 4}, {"active": 1, "ready": 1, "succeeded": 3}, True),
        ("jobs.batch", {"parallelism": 2}, {"active": 2}, True),
        ("jobs.batch", {"suspend": True}, {}, True),
        ("jobs.batch", {}, DONE, True),
    ],
)
def test_other_kinds_are_waited_for_as_far_as_they_can_be_ready(
    resource: str, spec: dict[str, Any], status: dict[str, Any], *, done: bool
) -> None:
    annotations = {STATUS_ANNOTATION + "B": json.dumps(status)}
    labels = {STATE_LABEL + key: "Sync" for key in "AB"}
    obj = {"metadata": {"name": "x", "namespace": "default", "labels": labels, "annotations": annotations}, "spec": spec}
    assert has_taken_over([(GroupResource(*reversed(resource.split("."))), obj)], "A", ["B"], str) is done


def test_nothing_to_run_is_nothing_to_wait_for() -> None:
    assert has_taken_over([], "A", ["B"], str)


def test_a_target_that_the_object_leaves_out_need_not_take_over() -> None:
    workload = deployment(A=(2, 2))
    workload["metadata"]["annotations"]["syncer.kcp.io/target-clusters"] = "A"
    assert has_taken_over([(DEPLOYMENTS, workload)], "A", ["B"], str)


def held(*keys: str, **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": "default", "labels": {STATE_LABEL + key: "Sync" for key in keys}, "annotations": annotations}}


def test_a_namespace_waits_and_then_leaves() -> None:
    waiting = namespaces.decide(held("A"), [placement("B")], now=NOW, waits=lambda *_: True)
    assert handing_over(waiting) == {"A": NOW}
    assert DELETION_ANNOTATION + "A" not in meta.annotations(waiting)
    assert namespaces.decide(waiting, [placement("B")], now="later", waits=lambda *_: True) == waiting
    left = namespaces.decide(waiting, [placement("B")], now="later", waits=lambda *_: False)
    assert handing_over(left) == {}
    assert meta.annotations(left)[DELETION_ANNOTATION + "A"] == "later"


def test_a_target_that_is_wanted_again_stays_as_if_nothing_had_been() -> None:
    waiting = namespaces.decide(held("A"), [placement("B")], now=NOW, waits=lambda *_: True)
    assert handing_over(namespaces.decide(waiting, [placement("A", "B")], now="later")) == {}


def test_without_anybody_to_take_over_nobody_waits() -> None:
    left = namespaces.decide(held("A"), [], now=NOW, waits=lambda *_: True)
    assert DELETION_ANNOTATION + "A" in meta.annotations(left)


def test_replicas_are_divided_as_if_the_old_target_had_gone_and_it_keeps_its_own() -> None:
    namespace = held("A", "B", **{HANDOVER_ANNOTATION + "A": NOW})
    found = resources.decide(deployment(A=(2, 2)), namespace, divided=True, now=NOW)
    assert (share_of(found, "A"), share_of(found, "B")) == (2, 2)
    assert DELETION_ANNOTATION + "A" not in meta.annotations(found)


def test_a_wait_has_an_end() -> None:
    namespace = held("A", **{HANDOVER_ANNOTATION + "A": NOW})
    assert left_s(namespace, "A", datetime(2026, 1, 1, 0, 1, tzinfo=UTC), 100.0) == 40.0
    assert left_s(namespace, "B", datetime(2026, 1, 1, tzinfo=UTC), 100.0) == 100.0
    assert left_s(held("A", **{HANDOVER_ANNOTATION + "A": "soon"}), "A", datetime(2026, 1, 1, tzinfo=UTC), 100.0) == 0.0
