"""Events about placement and clusters, and how many of type Normal there may be."""

from __future__ import annotations

from typing import Any

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.aggregation.remarks import Allowance, remarks
from kcp.tmc.placement.remarks import of_placement, of_target

NAMES = {"K1": "east", "K2": "west"}


def placement(chosen: str, **status: Any) -> JSONObject:
    return {"metadata": {"name": "p", "annotations": {"internal.workload.kcp.io/synctarget": chosen}}, "status": status}


def told(old: JSONObject | None, new: JSONObject) -> list[tuple[str, str, str]]:
    return [(r.type, r.reason, r.message) for r in of_placement(old, new, lambda key: NAMES.get(key, ""))]


def test_a_first_choice_is_told_with_names() -> None:
    assert told(None, placement("K1,K2")) == [("Normal", "Scheduled", "chosen: east, west")]


def test_a_cluster_that_is_left_is_told_with_the_reason() -> None:
    why = {"syncTarget": "east", "chosen": False, "reason": "NotReady", "message": "no heartbeat for 5 m"}
    assert told(placement("K1"), placement("K2", decisions=[why])) == [
        ("Normal", "Scheduled", "chosen: west"),
        ("Warning", "Evicted", "east is left: no heartbeat for 5 m"),
    ]


def test_what_keeps_a_placement_from_clusters_is_told_once() -> None:
    condition = {"type": "Scheduled", "status": "False", "reason": "NoTarget", "message": "none of 2 SyncTargets can be used"}
    wanting = placement("", conditions=[condition])
    assert told(placement(""), wanting) == [("Warning", "Unschedulable", "none of 2 SyncTargets can be used")]
    assert told(wanting, wanting) == []


def test_a_cluster_tells_of_its_heartbeat_and_that_it_is_back() -> None:
    def target(status: str) -> JSONObject:
        condition = {"type": "HeartbeatHealthy", "status": status, "reason": "HeartbeatMissing", "message": "none for 60 s"}
        return {"metadata": {"name": "east"}, "status": {"conditions": [condition]}}

    assert [(r.type, r.reason, r.message) for r in of_target(target("True"), target("False"))] == [
        ("Warning", "HeartbeatFailed", "none for 60 s")
    ]
    assert [r.reason for r in of_target(target("False"), target("True"))] == ["HeartbeatReceived"]
    assert list(of_target(target("True"), target("True"))) == []


def test_an_object_tells_that_a_cluster_took_it_up_and_gets_it_changed() -> None:
    new = {"metadata": {"name": "web", "finalizers": ["workload.kcp.io/syncer-K1"], "annotations": {"override.tmc.kcp.io/K1": "[]"}}}
    found = [(r.reason, r.message) for r in remarks({"metadata": {"name": "web"}}, new, lambda key: NAMES[key])]
    assert found == [("Synced", "east: taken up by its syncer"), ("Transformed", "east: gets it as OverridePolicies change it")]
    assert list(remarks(new, new, lambda key: NAMES[key])) == []


async def test_so_many_normal_events_at_once_and_so_many_a_second() -> None:
    clock = VirtualClock()
    allowance = Allowance(clock, burst=3, a_second=2)
    assert [allowance.take() for _ in range(5)] == [True, True, True, False, False]
    await clock.advance(1)
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    assert allowance.refused == 3
