"""Statuses of several clusters as one: sums, conditions, and nothing claimed that nobody reported."""

from __future__ import annotations

from typing import Any

from kcp.apimachinery import conditions
from kcp.apimachinery.gvk import GroupResource
from kcp.tmc.aggregation.status import Report, merge, synced_condition
from kcp.tmc.model.kinds import SYNCED

DEPLOYMENTS = GroupResource("apps", "deployments")
NOW = "2026-01-01T00:00:00Z"


def status(replicas: int, ready: int, *, available: str = "True", observed: int = 1) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "readyReplicas": ready,
        "observedGeneration": observed,
        "conditions": [{"type": "Available", "status": available, "reason": "R"}],
    }


def merged(*reports: Report) -> dict[str, Any]:
    result: dict[str, Any] = merge({"metadata": {"name": "web", "generation": 1}}, DEPLOYMENTS, reports, now=NOW)["status"]
    return result


def test_replicas_are_summed_and_the_oldest_observation_counts() -> None:
    found = merged(Report("A", "east", status(2, 2, observed=2)), Report("B", "west", status(1, 0, observed=1)))
    assert (found["replicas"], found["readyReplicas"], found["observedGeneration"]) == (3, 2, 1)


def test_the_worst_condition_of_any_cluster_wins() -> None:
    found = merged(Report("A", "east", status(2, 2)), Report("B", "west", status(1, 0, available="False")))
    assert conditions.is_false({"status": found}, "Available")


def test_a_cluster_that_has_not_reported_counts_nothing_and_is_named() -> None:
    found = merged(Report("A", "east", status(2, 2)), Report("B", "west", None))
    assert found["replicas"] == 2
    assert found["observedGeneration"] == 0
    condition = conditions.get({"status": found}, SYNCED)
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "NotReported")
    assert "west" in condition["message"]


def test_an_error_is_shown_with_its_type_and_hint() -> None:
    error = {
        "type": "ResourcePermission",
        "severity": "High",
        "message": "cannot create",
        "cause": "HTTP 403 Forbidden",
        "hint": "grant it",
    }
    condition = synced_condition([Report("A", "east", None, error=error)], NOW)
    assert condition["reason"] == "ResourcePermission"
    assert condition["message"] == "east: ResourcePermission (High): cannot create; cause: HTTP 403 Forbidden (grant it)"


def test_a_dead_cluster_makes_the_aggregate_admit_that_it_may_be_stale() -> None:
    condition = synced_condition([Report("A", "east", status(1, 1), cluster_problem="no heartbeat")], NOW)
    assert (condition["status"], condition["reason"]) == ("False", "ClusterNotReady")


def test_one_cluster_alone_is_passed_through() -> None:
    found = merged(Report("A", "east", {**status(1, 1), "collisionCount": 4}))
    assert found["collisionCount"] == 4


def test_merging_twice_changes_nothing() -> None:
    reports = (Report("A", "east", status(2, 2)), Report("B", "west", status(1, 1)))
    once = merge({"metadata": {"name": "web"}}, DEPLOYMENTS, reports, now=NOW)
    assert merge(once, DEPLOYMENTS, reports, now="2026-01-02T00:00:00Z") == once


def test_an_object_that_was_never_placed_is_left_alone() -> None:
    obj = {"metadata": {"name": "web"}, "status": {"replicas": 1}}
    assert merge(obj, DEPLOYMENTS, [], now=NOW) == obj
