"""Pods: views and the order of deletion, templates and names, ReplicaSet decisions, a pod's life, the pod book."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import conditions
from kcp.apimachinery.meta import copy_json
from kcp.apimachinery.selectors import LabelSelector
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podlife import Place, Step, step
from kcp.sim.workloads.podtemplate import ordinal_names, same_template, template_hash
from kcp.sim.workloads.podview import PodView, least_wanted_first
from kcp.sim.workloads.replicaset import REPLICASET, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Place("172.18.0.2", "10.244.1.2")


def test_least_wanted_pods_go_first(make_view: Callable[..., PodView]) -> None:
    pods = [
        make_view("ready-old", node="a"),
        make_view("ready-young", node="b", created="2026-01-02T00:00:00Z"),
        make_view("ready-recently", node="c", ready_since="2026-01-03T00:00:00Z"),
        make_view("unready", node="d", ready=False),
        make_view("pending", node="e", phase="Pending"),
        make_view("unassigned", phase="Pending"),
        make_view("cheap", node="f", annotations={"controller.kubernetes.io/pod-deletion-cost": "-1"}),
    ]
    assert [p.key.name for p in least_wanted_first(pods)] == [
        "unassigned", "pending", "unready", "cheap", "ready-recently", "ready-young", "ready-old",
    ]  # fmt: skip


def test_a_node_with_several_of_the_pods_gives_first(make_view: Callable[..., PodView]) -> None:
    pods = [make_view("a", node="n1"), make_view("b", node="n2"), make_view("c", node="n2")]
    assert [p.key.name for p in least_wanted_first(pods)] == ["b", "c", "a"]


def test_template_hash_ignores_the_order_of_keys_and_sees_every_change() -> None:
    one = {"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"x": 1}}
    assert template_hash(one) == template_hash({"spec": {"x": 1}, "metadata": {"labels": {"b": "2", "a": "1"}}})
    assert template_hash(one) != template_hash({**one, "spec": {"x": 2}}) != template_hash(one, collision_count=1)
    assert same_template(one, {**one, "metadata": {"labels": {"a": "1", "b": "2", "pod-template-hash": "x"}}})


@given(taken=st.sets(st.integers(0, 6)))
def test_ordinal_names_are_repeatable_and_skip_the_taken(taken: set[int]) -> None:
    names = ordinal_names("web", "u", ())
    first = [next(names) for _ in range(8)]
    held = {first[i] for i in taken}
    again = ordinal_names("web", "u", held)
    assert next(again) == next(n for n in first if n not in held)
    assert len(set(first)) == 8
    assert len(next(ordinal_names("x" * 80, "u", ()))) == 63


def _replicaset(replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    held = {"name": "web-1", "namespace": "default", "uid": "rs", "generation": 4}
    return {"metadata": held, "spec": {"replicas": replicas, "template": template}}


@given(wanted=st.integers(0, 12), phases=st.lists(st.sampled_from(["Running", "Pending", "Failed", "Succeeded", "deleted"]), max_size=12))
def test_a_replicaset_reaches_its_number_in_one_decision(make_view: Callable[..., PodView], wanted: int, phases: list[str]) -> None:
    pods = [
        make_view(f"p{i}", phase="Running" if p == "deleted" else p, deleted=p == "deleted", labels={"app": "web"})
        for i, p in enumerate(phases)
    ]
    plan = decide(_replicaset(wanted), REPLICASET, pods, NOW)
    active = sum(1 for p in phases if p in ("Running", "Pending"))
    assert active + len(plan.create) - len(plan.delete) == wanted
    assert not (plan.create and plan.delete)
    assert plan.status["replicas"] == active
    assert plan.status["observedGeneration"] == 4
    assert not {p["metadata"]["name"] for p in plan.create} & {p.key.name for p in pods}


def test_availability_waits_for_min_ready_seconds(make_view: Callable[..., PodView]) -> None:
    owner = _replicaset(1)
    owner["spec"]["minReadySeconds"] = 30
    pods = [make_view("p", ready_since="2025-12-31T23:59:50Z")]
    plan = decide(owner, REPLICASET, pods, NOW)
    assert (plan.status.get("readyReplicas"), plan.status.get("availableReplicas"), plan.requeue_after_s) == (1, None, 20.0)
    assert decide(owner, REPLICASET, pods, NOW + timedelta(seconds=20)).status["availableReplicas"] == 1


def live(pod: dict[str, Any], here: float = 1.0, ending: float = 0.0, now: datetime = NOW) -> Step:
    return step(pod, PLACE, here_for_s=here, ending_for_s=ending, delay_s=0.5, now=now)


def test_a_pod_runs_after_its_start_delay_in_one_write(make_pod: Callable[..., dict[str, Any]]) -> None:
    pod = make_pod(phase="Pending", node="n")
    assert live(pod, here=0.1) == Step(again_in_s=0.4)
    status = live(pod).status
    assert status is not None
    assert status["phase"] == "Running"
    assert status["podIP"] == "10.244.1.2"
    assert status["containerStatuses"][0]["state"] == {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True", "PodScheduled": "True",
    }  # fmt: skip
    pod["status"] = status
    assert live(copy_json(pod), here=100, now=NOW + timedelta(hours=1)).status == status


@pytest.mark.parametrize(
    "image", ["registry/does-not-exist:1", "foo:non-existent", "webserver:404", "invalid.registry.k8s.io/a/b:1", "nonexistent"]
)
def test_an_image_that_does_not_exist_keeps_the_pod_waiting(make_pod: Callable[..., dict[str, Any]], image: str) -> None:
    pod = make_pod(phase="Pending", node="n", image=image)
    first = live(pod).status
    assert first is not None
    assert first["phase"] == "Pending"
    assert first["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    later = live({**pod, "status": first}, here=60).status
    assert later is not None
    assert later["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    pod["status"] = later
    pod["spec"]["containers"][0]["image"] = "nginx"
    repaired = live(pod, here=70).status
    assert repaired is not None
    assert repaired["phase"] == "Running"


@pytest.mark.parametrize(("code", "phase"), [("0", "Succeeded"), ("3", "Failed")])
def test_a_pod_that_runs_once_ends_with_its_exit_code(make_pod: Callable[..., dict[str, Any]], code: str, phase: str) -> None:
    pod = make_pod(
        phase="Pending",
        node="n",
        spec={"restartPolicy": "Never"},
        annotations={"sim.kcp.io/exit-code": code, "sim.kcp.io/run-seconds": "5"},
    )
    started = live(pod)
    assert started.again_in_s == 5
    pod["status"] = started.status
    still = live(pod, now=NOW + timedelta(seconds=2))
    assert (still.status, still.again_in_s) == (started.status, 3.0)
    ended = live(pod, now=NOW + timedelta(seconds=5)).status
    assert ended is not None
    assert ended["phase"] == phase
    assert ended["containerStatuses"][0]["state"]["terminated"]["exitCode"] == int(code)
    assert not conditions.is_true({"status": ended}, "Ready")
    pod["status"] = ended
    assert live(pod, now=NOW + timedelta(seconds=50)) == Step()


def test_a_deleted_pod_ends_after_its_stop_delay(make_pod: Callable[..., dict[str, Any]]) -> None:
    pod = make_pod(node="n", deleted=True)
    assert live(pod, ending=0.2).again_in_s == pytest.approx(0.3)
    assert live(pod, ending=0.5).delete


def test_readiness_follows_annotation_and_gates(make_pod: Callable[..., dict[str, Any]]) -> None:
    held_back = live(make_pod(phase="Pending", node="n", annotations={"sim.kcp.io/ready": "false"})).status
    assert held_back is not None
    assert held_back["phase"] == "Running"
    assert conditions.is_false({"status": held_back}, "Ready")
    gated = live(make_pod(phase="Pending", node="n", spec={"readinessGates": [{"conditionType": "lb"}]})).status
    assert conditions.is_false({"status": gated}, "Ready")
    assert conditions.is_true({"status": gated}, "ContainersReady")


def test_the_book_finds_pods_by_owner_node_and_labels(make_pod: Callable[..., dict[str, Any]]) -> None:
    book = PodBook(VirtualClock())
    for name, node in (("a", "n1"), ("b", ""), ("c", "n1")):
        pod = make_pod(name, node=node, labels={"app": "web", "name": name}, owner=("ReplicaSet", "rs"))
        book.on_event(_key(pod), None, pod)
    assert [p.key.name for p in book.owned_by("rs")] == ["a", "b", "c"]
    assert [p.key.name for p in book.on_node("n1")] == ["a", "c"]
    assert [p.key.name for p in book.unassigned()] == ["b"]
    assert [p.key.name for p in book.selected("default", LabelSelector.from_labels({"app": "web", "name": "c"}))] == ["c"]
    assert book.selected("other", LabelSelector.from_labels({"app": "web"})) == []
    book.on_event(_key(make_pod("a")), None, None)
    assert [p.key.name for p in book.on_node("n1")] == ["c"]


def test_the_book_counts_own_writes_before_the_watch_brings_them(make_pod: Callable[..., dict[str, Any]]) -> None:
    book, pod = PodBook(VirtualClock()), make_pod("a", owner=("ReplicaSet", "rs"))
    book.assume(pod)
    assert len(book.owned_by("rs")) == 1
    book.doom(book.owned_by("rs")[0])
    assert book.owned_by("rs")[0].terminating
    book.on_event(_key(pod), None, pod)
    assert book.owned_by("rs")[0].terminating, "an older state of the pod does not bring it back"
    book.on_event(_key(pod), None, None)
    assert book.owned_by("rs") == []
    assert book.statistics() == {"pods": 0, "assumed": 0, "doomed": 0}


async def test_an_assumed_pod_that_never_comes_is_forgotten(make_pod: Callable[..., dict[str, Any]]) -> None:
    clock = VirtualClock()
    book = PodBook(clock)
    book.assume(make_pod("a", owner=("ReplicaSet", "rs")))
    await clock.advance(6)
    assert book.owned_by("rs") == []


def _key(pod: dict[str, Any]) -> Any:
    from kcp.apimachinery import meta

    return meta.key(pod)
