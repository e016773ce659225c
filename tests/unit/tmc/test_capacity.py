"""What a cluster has and what is taken of it, from its nodes and pods."""

from __future__ import annotations

from typing import Any

from kcp.tmc.syncer.capacity import slim, status_of


def node(name: str, *, ready: bool = True, unschedulable: bool = False, gpus: str = "0") -> dict[str, Any]:
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110", "nvidia.com/gpu": gpus}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"capacity": amounts, "allocatable": {**amounts, "cpu": "3500m"}, "conditions": conditions,
              "nodeInfo": {"kubeletVersion": "v1.33.1"}}  # fmt: skip
    return slim({"kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": unschedulable}, "status": status})


def pod(name: str, cpu: str, *, phase: str = "Running", node_name: str = "n", init: str = "0") -> dict[str, Any]:
    spec = {
        "nodeName": node_name,
        "containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}, {"name": "b"}],
        "initContainers": [{"name": "i", "resources": {"requests": {"cpu": init}}}],
    }
    return slim({"kind": "Pod", "metadata": {"name": name, "namespace": "x"}, "spec": spec, "status": {"phase": phase}})


def test_nodes_that_take_nothing_new_count_for_capacity_alone() -> None:
    found = status_of([node("a"), node("b", ready=False), node("c", unschedulable=True)], [])
    assert (found["capacity"]["cpu"], found["allocatable"]["cpu"]) == ("12", "3500m")
    assert (found["allocatable"]["memory"], found["usage"]["cpu"]) == ("8Gi", "0")
    assert (found["clusterInfo"]["nodes"], found["clusterInfo"]["version"]) == (3, "v1.33.1")


def test_pods_take_what_they_ask_for_until_they_end() -> None:
    pods = [pod("a", "250m"), pod("b", "250m", init="2"), pod("c", "1", phase="Succeeded"), pod("d", "1", node_name="")]
    assert status_of([node("a")], pods)["usage"] == {"cpu": "2250m", "memory": "2Gi", "pods": "2"}


def test_other_resources_are_shown_where_nodes_have_them() -> None:
    found = status_of([node("a", gpus="2")], [])
    assert found["allocatable"]["nvidia.com/gpu"] == "2"


def test_only_what_is_counted_is_kept() -> None:
    kept = slim({"kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}, "managedFields": []},
                 "spec": {"containers": [{"image": "big"}]}, "status": {"phase": "Running", "conditions": []}})  # fmt: skip
    assert "image" not in str(kept)
    assert "conditions" not in str(kept)
