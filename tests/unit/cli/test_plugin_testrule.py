"""`kubectl tmc test-rule`: what is printed of objects as clusters have them, of a rule that fails on some, and of one that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.cli.plugin_session import PluginError
from kcp.cli.plugin_testrule import FAILED, examine


def rule(**spec: Any) -> dict[str, Any]:
    made = {"group": "demo.example.io", "kind": "TaskQueue", "health": "object.status.backlog < 100", **spec}
    return {"apiVersion": "tmc.kcp.io/v1alpha1", "kind": "StatusRule", "metadata": {"name": "queues"}, "spec": made}


def queue(name: str, cluster: str = "", **status: Any) -> dict[str, Any]:
    marks = {"workload.kcp.io/origin-cluster": cluster} if cluster else {}
    metadata = {"name": name, "namespace": "d", "annotations": marks}
    return {"apiVersion": "demo.example.io/v1", "kind": "TaskQueue", "metadata": metadata, "status": status}


def test_each_cluster_and_the_whole_are_shown() -> None:
    fields = [{"name": "backlog", "expression": "clusters.map(c, c.status.backlog).sum()"}]
    text, code = examine(rule(fields=fields), [queue("q", backlog=5), queue("q", "west", backlog=500), queue("q", "far", backlog=1)])
    rows = [line.split() for line in text.splitlines()[1:5]]
    assert rows == [
        ["d/q", "cluster-1", "Healthy"], ["d/q", "west", "Unhealthy", "StatusRule", "queues"], ["d/q", "far", "Healthy"],
        ["d/q", "*", "Healthy"],
    ]  # fmt: skip
    assert "d/q, all clusters:\nstatus:\n  backlog: 506" in text
    assert code == 0


def test_what_fails_is_named_and_the_rest_is_shown() -> None:
    text, code = examine(rule(), [queue("q", backlog=5), queue("r")])
    assert "FAILED d/r: cluster-1: object.status.backlog < 100: no such key: backlog" in text
    assert ["d/q", "*", "Healthy"] in [line.split() for line in text.splitlines()]
    assert code == FAILED


@pytest.mark.parametrize(
    ("spec", "objects", "message"),
    [
        ({"health": "object."}, [queue("q")], "StatusRule queues is invalid: spec.health"),
        ({}, [], "no object is a TaskQueue of group 'demo.example.io'"),
    ],
)
def test_what_cannot_be_tested_is_said(spec: dict[str, Any], objects: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        examine(rule(**spec), objects)
