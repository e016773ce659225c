"""Taints that follow from conditions, and how long pods stay with them. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject
from kcp.sim.nodetaint import NOT_READY
from kcp.sim.workloads.taints import UNREACHABLE, stays_for_s, tainted, tolerate_for_a_while

NOW = "2026-01-01T00:00:00Z"


def node(ready: str = "True", *, taints: list[JSONObject] | None = None, **spec: Any) -> JSONObject:
    return {"spec": {"taints": taints or [], **spec}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_conditions_make_taints_and_take_them_away() -> None:
    mine = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
    assert tainted(node(taints=[mine]), NOW) == [mine]
    away = tainted(node("Unknown", taints=[mine]), NOW)
    assert [(t["key"], t["effect"]) for t in away] == [
        ("dedicated", "NoSchedule"), (UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute"),
    ]  # fmt: skip
    assert tainted(node("Unknown", taints=away), "2027-01-01T00:00:00Z") == away
    assert [t["key"] for t in tainted(node("False", taints=away), NOW)] == ["dedicated", NOT_READY, NOT_READY]
    assert tainted(node(taints=away), NOW) == [mine]
    assert [t["key"] for t in tainted(node(unschedulable=True), NOW)] == ["node.kubernetes.io/unschedulable"]


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0.0),
        ([{"operator": "Exists"}], None),
        ([{"key": "a", "operator": "Exists", "tolerationSeconds": 30}], 0.0),
        ([{"key": "a", "operator": "Exists", "tolerationSeconds": 30}, {"key": "b", "value": "1"}], 30.0),
        ([{"operator": "Exists", "tolerationSeconds": 60}, {"key": "b", "value": "1", "tolerationSeconds": 20}], 20.0),
        ([{"operator": "Exists", "tolerationSeconds": -5}], 0.0),
        ([{"key": "a", "value": "", "effect": "NoSchedule"}, {"key": "b", "value": "1"}], 0.0),
    ],
)
def test_how_long_a_pod_stays(tolerations: list[JSONObject], expected: float | None) -> None:
    taints = [{"key": "a", "effect": "NoExecute"}, {"key": "b", "value": "1", "effect": "NoExecute"}]
    assert stays_for_s({"tolerations": tolerations}, taints) == expected


def test_new_pods_outlive_five_minutes_unless_they_say_otherwise() -> None:
    pod: JSONObject = {"spec": {"tolerations": [{"key": NOT_READY, "operator": "Exists"}]}}
    tolerate_for_a_while(pod)
    assert [(t["key"], t.get("tolerationSeconds")) for t in pod["spec"]["tolerations"]] == [(NOT_READY, None), (UNREACHABLE, 300)]
    before = str(pod)
    tolerate_for_a_while(pod)
    assert str(pod) == before
