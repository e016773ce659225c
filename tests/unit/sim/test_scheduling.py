"""Scheduling: what fits, upstream's words for what does not, spreading, determinism."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.sim.workloads.podview import view
from kcp.sim.workloads.resources import NOTHING, Requests, pod_requests
from kcp.sim.workloads.scheduling import NodeView, place


def nodes(count: int = 3, **changes: Any) -> list[NodeView]:
    status = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}
    spec = {"taints": changes.get("taints", []), "unschedulable": changes.get("unschedulable", False)}
    made = ({"metadata": {"name": f"n{i}", "labels": {"disk": "ssd", "n": str(i)}}, "spec": spec, "status": status} for i in range(count))
    return [NodeView.of(node, NOTHING) for node in made]


def pod(cpu: str = "0", memory: str = "0", **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu, "memory": memory}}}], **spec}}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (pod(cpu="5"), "0/3 nodes are available: 3 Insufficient cpu."),
        (pod(cpu="5", memory="9Gi"), "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory."),
        (pod(nodeSelector={"disk": "hdd"}), "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
    ],
)
def test_what_does_not_fit_is_told_as_upstream_tells_it(wanted: dict[str, Any], told: str) -> None:
    assert place(wanted, nodes()) == ("", told)


def test_taints_need_tolerations() -> None:
    tainted = nodes(taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    assert place(pod(), tainted)[1] == "0/3 nodes are available: 3 node(s) had untolerated taint(s)."
    for toleration in ({"key": "gpu", "value": "yes"}, {"key": "gpu", "operator": "Exists"}, {"operator": "Exists"}):
        assert place(pod(tolerations=[toleration]), tainted)[0] == "n0"
    assert place(pod(tolerations=[{"key": "gpu", "value": "no"}]), tainted)[0] == ""
    assert place(pod(), nodes(taints=[{"key": "x", "effect": "PreferNoSchedule"}]))[0] == "n0"
    assert place(pod(), nodes(unschedulable=True))[1] == "0/3 nodes are available: 3 node(s) were unschedulable."


def test_required_affinity_chooses_the_node() -> None:
    def affinity(term: dict[str, Any]) -> dict[str, Any]:
        return pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}})

    assert place(affinity({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}), nodes())[0] == "n2"
    assert place(affinity({"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["0"]}]}), nodes())[0] == "n1"
    assert place(affinity({}), nodes())[0] == ""


def test_requests_are_the_larger_of_containers_and_init_containers_and_limits_stand_in() -> None:
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Ki"}}}, {}],
        "initContainers": [{"resources": {"requests": {"cpu": "2"}}}],
        "overhead": {"cpu": "10m"},
    }
    assert pod_requests(spec) == Requests(2010, 1024, 1)


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 4)), max_size=60))
def test_no_node_is_ever_overcommitted_and_the_choice_is_repeatable(wanted: list[tuple[int, int]]) -> None:
    def run() -> list[str]:
        held, chosen = nodes(), []
        for cpu, memory in wanted:
            one = pod(cpu=f"{cpu}m", memory=f"{memory}Gi")
            name, why = place(one, held)
            assert bool(name) != bool(why)
            held = [n.with_pods((view({"metadata": {"name": "p"}, **one}),)) if n.name == name else n for n in held]
            chosen.append(name)
        for n in held:
            left = n.offer.minus(n.taken)
            assert min(left.cpu_millis, left.memory_bytes, left.pods) >= 0
        return chosen

    assert run() == run()


def test_pods_that_ask_for_nothing_spread() -> None:
    held, chosen = nodes(), []
    for _ in range(6):
        name, _ = place(pod(), held)
        chosen.append(name)
        held = [n.with_pods((view({"metadata": {"name": "p"}, **pod()}),)) if n.name == name else n for n in held]
    assert chosen == ["n0", "n1", "n2", "n0", "n1", "n2"]
