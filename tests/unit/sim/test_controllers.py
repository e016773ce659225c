"""Decisions of the smaller controllers: endpoints, jobs, daemonsets, statefulsets, nodes, load balancers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery import conditions
from kcp.sim.workloads import daemonset, endpoints, job, loadbalancer, statefulset
from kcp.sim.workloads.nodes import NodeShape, node
from kcp.sim.workloads.podview import PodView, view
from kcp.sim.workloads.resources import NOTHING
from kcp.sim.workloads.scheduling import NodeView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {"metadata": {"name": "web", "namespace": "default", "uid": "svc", "labels": {"app": "web"}}, "spec": {"ports": ports, **spec}}


def test_endpoints_part_ready_from_unready_addresses_and_leave_out_the_ending(make_view: Callable[..., PodView]) -> None:
    pods = [
        make_view("a", ip="10.0.0.1", node="n1"),
        make_view("b", ip="10.0.0.2", node="n1", ready=False),
        make_view("c", ip="10.0.0.3", deleted=True),
        make_view("d"),
    ]
    made = endpoints.endpoints(service(), pods)
    assert [a["ip"] for a in made["subsets"][0]["addresses"]] == ["10.0.0.1"]
    assert [a["ip"] for a in made["subsets"][0]["notReadyAddresses"]] == ["10.0.0.2"]
    assert made["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert made["metadata"]["name"] == "web"


def test_endpoint_slices_carry_the_conditions_and_know_their_service(make_view: Callable[..., PodView]) -> None:
    (made,) = endpoints.endpoint_slices(service(), [make_view("a", ip="10.0.0.1"), make_view("c", ip="10.0.0.3", deleted=True)])
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert [e["conditions"]["ready"] for e in made["endpoints"]] == [True, False]
    assert made["endpoints"][1]["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_a_named_target_port_is_found_on_each_pod(make_view: Callable[..., PodView]) -> None:
    container = {"name": "app", "image": "x", "ports": [{"name": "web", "containerPort": 9000}]}
    pod = make_view("a", ip="10.0.0.1", spec={"containers": [container]})
    made = endpoints.endpoints(service(ports=[{"port": 80, "targetPort": "web"}]), [pod])
    assert made["subsets"][0]["ports"] == [{"port": 9000, "protocol": "TCP"}]
    assert "ports" not in endpoints.endpoints(service(ports=[{"port": 80, "targetPort": "other"}]), [pod])["subsets"][0]


def a_job(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"job-name": "j"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}
    return {"metadata": {"name": "j", "namespace": "default", "uid": "j"}, "spec": {"template": template, **spec}}


@given(completions=st.integers(1, 12), parallelism=st.integers(1, 5), indexed=st.booleans(), order=st.randoms(use_true_random=False))
def test_a_job_never_exceeds_its_parallelism_and_ends_complete(completions: int, parallelism: int, indexed: bool, order: Any) -> None:
    obj = a_job(completions=completions, parallelism=parallelism, completionMode="Indexed" if indexed else "NonIndexed")
    pods: dict[str, dict[str, Any]] = {}
    for _ in range(200):
        plan = job.decide(obj, [view(p) for p in pods.values()], NOW)
        obj["status"] = plan.status
        if job.is_finished(obj):
            break
        for made in plan.create:
            assert made["metadata"]["name"] not in pods
            made["metadata"]["uid"] = made["metadata"]["name"]
            pods[made["metadata"]["name"]] = made
        for counted in plan.untrack:
            pods[counted.key.name]["metadata"]["finalizers"] = []
        running = [p for p in pods.values() if p.get("status", {}).get("phase") != "Succeeded"]
        assert len(running) <= parallelism
        if running:
            order.choice(running)["status"] = {"phase": "Succeeded"}
    assert conditions.is_true(obj, "Complete")
    assert obj["status"]["succeeded"] == completions
    if indexed:
        assert {p["metadata"]["labels"][job.INDEX_ANNOTATION] for p in pods.values()} == {str(i) for i in range(completions)}
    assert job.decide(obj, [view(p) for p in pods.values()], NOW).status == obj["status"]


def test_a_job_fails_after_its_backoff_limit(make_view: Callable[..., PodView]) -> None:
    obj = a_job(completions=1, backoffLimit=1)
    tracked = [replace(make_view(f"p{i}", phase="Failed"), tracked=True) for i in range(2)]
    plan = job.decide(obj, tracked, NOW)
    assert conditions.is_true({"status": plan.status}, "FailureTarget")
    assert not conditions.is_true({"status": plan.status}, "Failed")
    assert plan.status["uncountedTerminatedPods"] == {"failed": ["uid-p0", "uid-p1"]}
    obj["status"] = plan.status
    plan = job.decide(obj, [replace(p, tracked=False) for p in tracked], NOW)
    failed = conditions.get({"status": plan.status}, "Failed")
    assert failed is not None
    assert failed["reason"] == "BackoffLimitExceeded"
    assert plan.status["failed"] == 2


def test_a_suspended_job_gives_up_its_pods_and_resumes(make_view: Callable[..., PodView]) -> None:
    obj = a_job(completions=1, suspend=True)
    plan = job.decide(obj, [make_view("p")], NOW)
    assert len(plan.delete) == 1
    assert conditions.is_true({"status": plan.status}, "Suspended")
    obj["spec"]["suspend"], obj["status"] = False, plan.status
    assert len(job.decide(obj, [], NOW).create) == 1


def test_a_finished_job_goes_after_its_time_to_live() -> None:
    obj = a_job(ttlSecondsAfterFinished=60)
    obj["status"] = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    assert job.ttl_in_s(obj, NOW + timedelta(seconds=20)) == 40
    assert job.ttl_in_s(obj, NOW + timedelta(seconds=60)) == 0
    assert job.ttl_in_s(a_job(ttlSecondsAfterFinished=60), NOW) is None


def three_nodes() -> list[NodeView]:
    return [NodeView.of(node("east", i, NodeShape(labels={"n": str(i)}), NOW), NOTHING) for i in (1, 2, 3)]


def a_daemonset(image: str = "a", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}
    return {"metadata": {"name": "d", "namespace": "default", "uid": "d", "generation": 1}, "spec": {"template": template}}


def test_a_daemonset_covers_each_node_that_matches_and_no_other() -> None:
    plan = daemonset.decide(a_daemonset(), [], three_nodes(), NOW)
    assert sorted(view(p).meant_for for p in plan.create) == ["east-node-1", "east-node-2", "east-node-3"]
    pods = [view(p) for p in plan.create]
    chosen = daemonset.decide(a_daemonset(nodeSelector={"n": "2"}), pods, three_nodes(), NOW)
    assert sorted(p.meant_for for p in chosen.delete if p.meant_for != "east-node-2") == ["east-node-1", "east-node-3"]


def test_a_daemonset_replaces_old_pods_one_at_a_time() -> None:
    pods = daemonset.decide(a_daemonset("a"), [], three_nodes(), NOW).create
    for pod in pods:
        pod["status"] = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }
    plan = daemonset.decide(a_daemonset("b"), [view(p) for p in pods], three_nodes(), NOW)
    assert len(plan.delete) == 1
    assert not plan.create
    assert plan.status["numberAvailable"] == 3
    assert "updatedNumberScheduled" not in plan.status
    assert len(daemonset.decide(a_daemonset("b"), [view(p) for p in pods[1:]], three_nodes(), NOW).create) == 1
    assert daemonset.decide(a_daemonset("a"), [view(p) for p in pods], three_nodes(), NOW).delete == ()


def a_statefulset(replicas: int = 3, image: str = "a", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    wanted = {"replicas": replicas, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template, **spec}
    return {"metadata": {"name": "s", "namespace": "default", "uid": "s", "generation": 1}, "spec": wanted}


def _run(obj: dict[str, Any], pods: dict[str, dict[str, Any]]) -> list[str]:
    """Carry out plans, everything created ready at once; returns what happened."""
    log: list[str] = []
    for _ in range(60):
        plan = statefulset.decide(obj, [view(p) for p in pods.values()], NOW)
        obj["status"] = plan.status
        if not plan.create and not plan.delete:
            return log
        for made in plan.create:
            made["metadata"]["uid"] = f"{made['metadata']['name']}/{len(log)}"
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            pods[made["metadata"]["name"]] = {**made, "status": {"phase": "Running", "conditions": [ready]}}
            log.append(f"+{made['metadata']['name']}")
        for gone in plan.delete:
            del pods[gone.key.name]
            log.append(f"-{gone.key.name}")
    raise AssertionError("the statefulset does not settle")


def test_statefulset_pods_come_in_order_and_go_in_reverse() -> None:
    obj, pods = a_statefulset(), dict[str, dict[str, Any]]()
    assert _run(obj, pods) == ["+s-0", "+s-1", "+s-2"]
    assert pods["s-1"]["spec"]["subdomain"] == "s"
    assert obj["status"]["currentRevision"] == obj["status"]["updateRevision"]
    obj["spec"]["replicas"] = 1
    assert _run(obj, pods) == ["-s-2", "-s-1"]
    assert obj["status"]["replicas"] == 1


def test_statefulset_rolls_from_the_highest_ordinal_to_the_partition() -> None:
    obj, pods = a_statefulset(), dict[str, dict[str, Any]]()
    _run(obj, pods)
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "b"
    obj["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    assert _run(obj, pods) == ["-s-2", "+s-2", "-s-1", "+s-1"]
    assert obj["status"]["updatedReplicas"] == 2
    assert obj["status"]["currentRevision"] != obj["status"]["updateRevision"]
    del obj["spec"]["updateStrategy"]
    assert _run(obj, pods) == ["-s-0", "+s-0"]
    assert obj["status"]["currentRevision"] == obj["status"]["updateRevision"]


def test_parallel_statefulset_pods_come_all_at_once_with_their_claims() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    plan = statefulset.decide(a_statefulset(podManagementPolicy="Parallel", volumeClaimTemplates=[claim]), [], NOW)
    assert [p["metadata"]["name"] for p in plan.create] == ["s-0", "s-1", "s-2"]
    assert [c["metadata"]["name"] for c in plan.claims] == ["data-s-0", "data-s-1", "data-s-2"]
    assert plan.create[0]["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-s-0"}}]


def test_nodes_are_ready_and_carry_the_labels_of_the_cluster() -> None:
    made = node("east", 2, NodeShape(cpu="4", labels={"region": "east"}), NOW)
    assert made["metadata"]["name"] == "east-node-2"
    assert made["metadata"]["labels"]["region"] == made["metadata"]["labels"]["topology.kubernetes.io/region"] == "east"
    assert conditions.is_true(made, "Ready")
    assert made["status"]["allocatable"]["cpu"] == "4"
    assert len({node("east", i, NodeShape(), NOW)["spec"]["podCIDR"] for i in range(1, 600)}) == 599


@pytest.mark.parametrize(("kind", "expected"), [("LoadBalancer", {"ingress": [{"ip": "172.19.0.2", "ipMode": "VIP"}]}), ("ClusterIP", {})])
def test_only_load_balancers_get_an_external_address(kind: str, expected: dict[str, Any]) -> None:
    assert loadbalancer.decide(service(type=kind), frozenset({"172.19.0.1"}))["loadBalancer"] == expected
