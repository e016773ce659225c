"""Deployments: first ReplicaSet, rollout, pause, recreate, revisions, status with upstream's reasons; a second decision changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kcp.apimachinery import conditions
from kcp.apimachinery.meta import copy_json
from kcp.sim.workloads.deployment import Plan, decide
from kcp.sim.workloads.rollout import REVISION_ANNOTATION, ReplicaSetView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def deployment(image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    wanted = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    held = {"name": "web", "namespace": "default", "uid": "u1", "generation": 1, "annotations": {"team": "blue"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": held, "spec": wanted}


class World:
    """ReplicaSets that do what a plan says, with every pod ready at once."""

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, Any]] = {}
        self.steps = 0

    def views(self) -> list[ReplicaSetView]:
        return [ReplicaSetView.of(s) for s in self.sets.values()]

    def run(self, obj: dict[str, Any], limit: int = 50) -> Plan:
        """Decide and carry out until nothing changes."""
        for _ in range(limit):
            pods_of_old = 0
            plan = decide(obj, self.views(), pods_of_old, NOW)
            if not self._apply(obj, plan):
                return plan
            self.steps += 1
        raise AssertionError("the rollout does not end")

    def _apply(self, obj: dict[str, Any], plan: Plan) -> bool:
        before = copy_json([obj, self.sets])
        if plan.create is not None:
            made = {**copy_json(plan.create), "status": {}}
            made["metadata"] |= {"uid": made["metadata"]["name"], "creationTimestamp": f"2026-01-01T00:00:{len(self.sets):02}Z"}
            self.sets[made["metadata"]["name"]] = made
        for name, size in plan.sizes.items():
            self.sets[name]["spec"]["replicas"] = size
        for name, marks in plan.annotations.items():
            self.sets[name]["metadata"]["annotations"] |= marks
        for name in plan.delete:
            del self.sets[name]
        for held in self.sets.values():
            n = held["spec"]["replicas"]
            held["status"] = {"replicas": n, "readyReplicas": n, "availableReplicas": n}
        if plan.revision:
            obj["metadata"]["annotations"][REVISION_ANNOTATION] = plan.revision
        if plan.status:
            obj["status"] = plan.status
        return bool(before != [obj, self.sets])


def sizes(world: World) -> dict[str, int]:
    return {s["spec"]["template"]["spec"]["containers"][0]["image"]: s["spec"]["replicas"] for s in world.sets.values()}


def reason(obj: dict[str, Any], kind: str) -> str:
    found = conditions.get(obj, kind)
    return str(found["reason"]) if found else ""


def test_a_new_deployment_gets_one_replicaset_named_by_its_template() -> None:
    plan = decide(deployment(), [], 0, NOW)
    assert plan.create is not None
    digest = plan.create["metadata"]["labels"]["pod-template-hash"]
    assert plan.create["metadata"]["name"] == f"web-{digest}"
    assert plan.create["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert plan.create["spec"]["replicas"] == 3
    assert plan.create["metadata"]["annotations"]["team"] == "blue"
    assert plan.create["metadata"]["ownerReferences"][0]["controller"] is True


def test_converged_status_counts_and_says_so_and_stays() -> None:
    world, obj = World(), deployment()
    world.run(obj)
    counts = {k: obj["status"][k] for k in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "observedGeneration")}
    assert counts == {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3, "observedGeneration": 1}
    assert reason(obj, "Available") == "MinimumReplicasAvailable"
    assert reason(obj, "Progressing") == "NewReplicaSetAvailable"
    later = decide(obj, world.views(), 0, NOW + timedelta(hours=1))
    assert later.status == obj["status"]
    assert not later.sizes
    assert not later.annotations


def test_a_new_template_rolls_over_step_by_step_with_the_next_revision() -> None:
    world, obj = World(), deployment()
    world.run(obj)
    world.steps = 0
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
    world.run(obj)
    assert sizes(world) == {"nginx:1": 0, "nginx:2": 3}
    assert world.steps > 3
    assert obj["metadata"]["annotations"][REVISION_ANNOTATION] == "2"


def test_going_back_to_an_old_template_takes_its_replicaset_with_a_new_revision() -> None:
    world, obj = World(), deployment()
    world.run(obj)
    for image in ("nginx:2", "nginx:1"):
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = image
        world.run(obj)
    assert len(world.sets) == 2
    assert obj["metadata"]["annotations"][REVISION_ANNOTATION] == "3"
    back = next(s for s in world.sets.values() if s["spec"]["replicas"])
    assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


def test_scaling_changes_the_replicaset_and_not_the_template() -> None:
    world, obj = World(), deployment()
    world.run(obj)
    obj["spec"]["replicas"] = 6
    world.run(obj)
    assert sizes(world) == {"nginx:1": 6}
    assert obj["status"]["replicas"] == 6


def test_a_paused_deployment_scales_but_does_not_roll_out() -> None:
    world, obj = World(), deployment()
    world.run(obj)
    obj["spec"] |= {"paused": True, "replicas": 5}
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
    world.run(obj)
    assert sizes(world) == {"nginx:1": 5}
    assert reason(obj, "Progressing") == "DeploymentPaused"
    obj["spec"]["paused"] = False
    world.run(obj)
    assert sizes(world) == {"nginx:1": 0, "nginx:2": 5}


def test_recreate_waits_for_the_old_pods_to_end() -> None:
    obj = deployment(strategy={"type": "Recreate"})
    world = World()
    world.run(obj)
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
    stopping = decide(obj, world.views(), 3, NOW)
    assert list(stopping.sizes.values()) == [0]
    assert stopping.create is None
    world._apply(obj, stopping)
    assert decide(obj, world.views(), 1, NOW).create is None
    assert decide(obj, world.views(), 0, NOW).create is not None


def test_history_beyond_the_limit_is_deleted() -> None:
    world, obj = World(), deployment(revisionHistoryLimit=1)
    for number in range(4):
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"nginx:{number}"
        world.run(obj)
    assert sorted(sizes(world)) == ["nginx:2", "nginx:3"]


def test_a_rollout_without_progress_is_called_stuck_after_its_deadline() -> None:
    obj, world = deployment(progressDeadlineSeconds=60), World()
    world._apply(obj, decide(obj, [], 0, NOW))
    for held in world.sets.values():
        held["status"] = {"replicas": 3}
    first = decide(obj, world.views(), 0, NOW)
    obj["status"] = first.status
    assert first.requeue_after_s == 60
    assert reason(obj, "Progressing") == "ReplicaSetUpdated"
    obj["status"] = decide(obj, world.views(), 0, NOW + timedelta(seconds=61)).status
    assert reason(obj, "Progressing") == "ProgressDeadlineExceeded"
    assert reason(obj, "Available") == "MinimumReplicasUnavailable"


def test_a_deleted_deployment_gets_no_new_replicaset() -> None:
    obj = deployment()
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decide(obj, [], 0, NOW).create is None


def test_a_finished_rollout_that_starts_anew_is_progressing_at_once_even_if_steps_are_skipped() -> None:
    """A status is written only now and then: from 4 of 4 updated to 2 of 5 in one step."""
    world, obj = World(), deployment(progressDeadlineSeconds=60)
    world.run(obj)
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
    for _ in range(2):
        plan = decide(obj, world.views(), 0, NOW)
        world._apply({**obj}, plan)
    for held in world.sets.values():
        if held["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2":
            held["status"] = {"replicas": held["spec"]["replicas"]}
    obj["status"] = decide(obj, world.views(), 0, NOW).status
    assert reason(obj, "Progressing") == "ReplicaSetUpdated"
    obj["status"] = decide(obj, world.views(), 0, NOW + timedelta(seconds=61)).status
    assert reason(obj, "Progressing") == "ProgressDeadlineExceeded"
