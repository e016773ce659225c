"""One object out of many clusters' words: merge strategies, conflicts, health, statuses, what is unknown; and what StatusRules may do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.health.states import Status
from kcp.tmc.model.names import (
    OBSERVED_ANNOTATION,
    OVERRIDE_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    STATUS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    SYNCER_FINALIZER,
)
from kcp.tmc.overview import rules
from kcp.tmc.overview.aggregate import AGGREGATE_ANNOTATION, ORIGINS_ANNOTATION, Aggregated, Member, aggregate, overall
from kcp.tmc.overview.instances import Kind, Target, keys_of, read
from kcp.tmc.overview.knowledge import judge
from kcp.tmc.overview.rules import StatusRule
from kcp.tmc.overview.spec import HealthOf, Merge, Policy, Resolution, StatusOf, ViewSpec, faults

DEPLOYMENTS = GroupResource("apps", "deployments")
KIND = Kind(DEPLOYMENTS, "Deployment", has_status=True)
H, D, U, N = Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY, Status.UNKNOWN


def ready(number: int, **more: Any) -> JSONObject:
    return {"replicas": number, "readyReplicas": number, "availableReplicas": number, "updatedReplicas": number, **more}


def deployment(clusters: Mapping[str, tuple[int, JSONObject | None]], **annotations: str) -> JSONObject:
    """Args: clusters: name → (share, status)."""
    marks: dict[str, str] = {"mine": "yes", **annotations}
    for number, (name, (share, status)) in enumerate(clusters.items()):
        marks[SPEC_DIFF_ANNOTATION + name] = json.dumps([{"op": "replace", "path": "/replicas", "value": share}])
        if status is not None:
            marks[STATUS_ANNOTATION + name] = json.dumps(status)
            marks[OBSERVED_ANNOTATION + name] = f"2026-01-01T00:00:0{number}Z"
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "default", "resourceVersion": "7", "generation": 1, "annotations": marks,
            "labels": {"app": "web", **{STATE_LABEL + name: STATE_SYNC for name in clusters}},
            "finalizers": [*(SYNCER_FINALIZER + name for name in clusters), "mine/hold"],
        },
        "spec": {"replicas": 9, "template": {"image": "nginx"}},
        "status": {"replicas": 99},
    }  # fmt: skip


def shown(
    obj: JSONObject, policy: Policy | None = None, *, kind: Kind = KIND, clusters: int = 2, **targets: Mapping[str, Any]
) -> Aggregated | None:
    seen = [Target(key, key, {}, **targets.get(key, {})) for key in sorted(keys_of(obj))]
    members = [Member(target, read(obj, target, kind, None)) for target in seen]
    return aggregate(obj, members, kind, policy or Policy(), clusters=clusters)


def told(found: Aggregated | None) -> dict[str, Any]:
    assert found is not None
    made: dict[str, Any] = json.loads(meta.annotations(found.obj)[AGGREGATE_ANNOTATION])
    return made


def status_of(found: Aggregated | None) -> JSONObject:
    assert found is not None
    status: JSONObject = found.obj.get("status", {})
    return status


def test_numbers_are_summed_and_add_up() -> None:
    found = shown(deployment({"east": (2, ready(2)), "west": (3, ready(1))}))
    assert status_of(found)["readyReplicas"] == 3
    assert told(found)["replicas"] == {"desired": 5, "ready": 3, "unready": 2, "unknown": 0}
    assert found is not None
    assert found.obj["spec"]["replicas"] == 5
    assert meta.annotations(found.obj)[ORIGINS_ANNOTATION] == "east,west"


def test_marks_of_placement_and_syncers_are_not_shown() -> None:
    found = shown(deployment({"east": (2, ready(2))}))
    assert found is not None
    assert meta.labels(found.obj) == {"app": "web"}
    assert meta.finalizers(found.obj) == ["mine/hold"]
    assert sorted(meta.annotations(found.obj)) == ["mine", AGGREGATE_ANNOTATION, ORIGINS_ANNOTATION]
    assert next(iter(found.obj["metadata"])) == "resourceVersion"


def test_a_silent_cluster_is_unknown_and_neither_ready_nor_unready() -> None:
    found = shown(deployment({"east": (2, ready(2)), "west": (3, ready(3))}), west={"trouble": "no heartbeat"})
    assert status_of(found)["readyReplicas"] == 2
    assert told(found)["replicas"] == {"desired": 5, "ready": 2, "unready": 0, "unknown": 3}
    assert told(found)["clusters"] == {"healthy": 1, "degraded": 0, "unhealthy": 0, "unknown": 1}
    west = told(found)["members"][1]
    assert (west["health"], west["message"], west["ready"], west["reported"]) == ("Unknown", "no heartbeat", 3, "2026-01-01T00:00:01Z")
    assert west["lastObserved"] == "@seen:west@"


def test_a_cluster_that_has_not_reported_is_unknown() -> None:
    found = shown(deployment({"east": (2, ready(2)), "west": (1, None)}))
    assert told(found)["replicas"]["unknown"] == 1
    assert told(found)["members"][1]["message"] == "has not reported yet"


def test_of_nothing_but_silent_clusters_nothing_is_known() -> None:
    found = shown(deployment({"east": (2, ready(2))}), east={"trouble": "gone"})
    assert found is not None
    assert (found.health, "status" in found.obj) == (N, False)


def test_intersection_shows_what_every_cluster_runs() -> None:
    policy = Policy(merge=Merge.INTERSECTION)
    assert shown(deployment({"east": (1, ready(1)), "west": (1, ready(1))}), policy) is not None
    assert shown(deployment({"east": (1, ready(1))}), policy) is None


@pytest.mark.parametrize(
    ("policy", "targets", "ready_replicas"),
    [
        (Policy(merge=Merge.PRIORITY), {"east": {"priority": 90}}, 1),
        (Policy(merge=Merge.PRIORITY), {"west": {"priority": 90}}, 2),
        (Policy(merge=Merge.PRIORITY), {"west": {"priority": 90, "trouble": "gone"}}, 1),
        (Policy(merge=Merge.PRIORITY), {}, 1),
        (Policy(merge=Merge.LATEST), {}, 2),
        (Policy(merge=Merge.LATEST), {"west": {"trouble": "gone"}}, 1),
    ],
)
def test_one_cluster_may_speak_for_all(policy: Policy, targets: dict[str, Any], ready_replicas: int) -> None:
    found = shown(deployment({"east": (1, ready(1)), "west": (2, ready(2))}), policy, **targets)
    assert status_of(found)["readyReplicas"] == ready_replicas
    assert len(told(found)["members"]) == 1
    assert told(found)["merged"] == policy.merge


@pytest.mark.parametrize(
    ("how", "image", "whose"),
    [
        (Resolution.LAST_WRITER, "west", "west"),
        (Resolution.FIRST_WRITER, "nginx", "east"),
        (Resolution.CLUSTER_WEIGHT, "west", "west"),
        (Resolution.MANUAL, "nginx", ""),
    ],
)
def test_where_copies_differ_somebody_is_shown_and_named(how: Resolution, image: str, whose: str) -> None:
    patch = json.dumps([{"op": "replace", "path": "/spec/template/image", "value": "west"}])
    obj = deployment({"east": (1, ready(1)), "west": (2, ready(2))}, **{OVERRIDE_ANNOTATION + "west": patch})
    found = shown(obj, Policy(conflict=how), west={"weight": 5.0})
    assert found is not None
    assert found.obj["spec"] == {"replicas": 3, "template": {"image": image}}
    assert told(found)["conflict"] == {"resolution": how, "shown": whose}


@pytest.mark.parametrize(
    ("how", "found", "whole"),
    [
        (HealthOf.MAJORITY, [(H, 1), (H, 1), (U, 1)], H), (HealthOf.MAJORITY, [(H, 1), (U, 1)], D), (HealthOf.MAJORITY, [(U, 1)], U),
        (HealthOf.MAJORITY, [(H, 1), (N, 1), (N, 1)], N), (HealthOf.MAJORITY, [], N), (HealthOf.MAJORITY, [(D, 1)], D),
        (HealthOf.WEIGHTED, [(H, 5), (U, 1), (U, 1)], H), (HealthOf.WEIGHTED, [(H, 0.3), (U, 0.8)], U),
        (HealthOf.ALL, [(H, 1), (D, 1), (U, 1)], U), (HealthOf.ALL, [(H, 1), (N, 1)], N), (HealthOf.ALL, [(H, 1)], H),
        (HealthOf.ANY, [(H, 1), (U, 1)], H), (HealthOf.ANY, [(U, 1), (N, 1)], U), (HealthOf.ANY, [(N, 1)], N),
    ],
)  # fmt: skip
def test_health_of_the_whole(how: HealthOf, found: list[tuple[Status, float]], whole: Status) -> None:
    assert overall(how, found) is whole


def test_statuses_may_be_one_clusters_or_everybodys() -> None:
    obj = {"east": (1, ready(1, conditions=[{"type": "Available", "status": "True"}])), "west": (2, ready(2))}
    assert status_of(shown(deployment(obj), Policy(status=StatusOf.PRIMARY), west={"priority": 1}))["readyReplicas"] == 2
    named = deployment(obj, **{"syncer.kcp.io/primary-cluster": "east"})
    assert status_of(shown(named, Policy(status=StatusOf.PRIMARY), west={"priority": 1}))["readyReplicas"] == 1
    every = status_of(shown(deployment(obj), Policy(status=StatusOf.AGGREGATED)))
    assert [(c["name"], c["status"]["readyReplicas"]) for c in every["clusters"]] == [("east", 1), ("west", 2)]
    assert every["readyReplicas"] == 3


def test_the_worst_condition_is_shown_with_its_clusters_name() -> None:
    conditions = [[{"type": "Available", "status": s, "message": "m"}] for s in ("True", "False")]
    obj = deployment({"east": (1, ready(1, conditions=conditions[0])), "west": (1, ready(0, conditions=conditions[1]))})
    assert status_of(shown(obj))["conditions"] == [{"type": "Available", "status": "False", "message": "west: m"}]


def test_a_copy_that_cannot_be_brought_up_to_date_is_degraded() -> None:
    error = json.dumps({"type": "ResourcePermission", "message": "no"})
    found = shown(deployment({"east": (1, ready(1))}, **{SYNC_ERROR_ANNOTATION + "east": error}))
    assert told(found)["members"][0]["health"] == "Degraded"
    assert told(found)["members"][0]["message"] == "ResourcePermission: no"


def test_what_has_not_changed_is_not_read_again() -> None:
    obj = deployment({f"c{n}": (1, ready(1)) for n in range(9)})
    targets = [Target(key, key, {}) for key in keys_of(obj)]
    held = {t.key: read(obj, t, KIND, None) for t in targets}
    meta.set_annotation(obj, STATUS_ANNOTATION + "c4", json.dumps(ready(0)))
    again = {t.key: read(obj, t, KIND, held[t.key]) for t in targets}
    assert [key for key in held if again[key] is not held[key]] == ["c4"]


def condition(kind: str, status: str) -> JSONObject:
    return {"type": kind, "status": status, "message": kind.lower()}


@pytest.mark.parametrize(
    ("resource", "obj", "status", "health"),
    [
        (GroupResource("apps", "deployments"), {"spec": {"replicas": 2}}, ready(2), H),
        (GroupResource("apps", "deployments"), {"spec": {"replicas": 2}}, ready(1), D),
        (GroupResource("apps", "deployments"), {"spec": {"replicas": 2}}, {}, U),
        (GroupResource("apps", "deployments"), {"spec": {"replicas": 2}}, {"conditions": [condition("Progressing", "True")]}, D),
        (GroupResource("apps", "deployments"), {"spec": {"replicas": 0}}, {}, H),
        (GroupResource("apps", "statefulsets"), {"spec": {"replicas": 2}}, {"readyReplicas": 2}, H),
        (GroupResource("apps", "statefulsets"), {"spec": {"replicas": 2}}, {"readyReplicas": 1}, D),
        (GroupResource("apps", "daemonsets"), {}, {"desiredNumberScheduled": 3, "numberReady": 3}, H),
        (GroupResource("apps", "daemonsets"), {}, {"desiredNumberScheduled": 3}, U),
        (GroupResource("batch", "jobs"), {}, {"conditions": [condition("Complete", "True")]}, H),
        (GroupResource("batch", "jobs"), {}, {"conditions": [condition("Failed", "True")]}, U),
        (GroupResource("batch", "jobs"), {}, {"failed": 1}, D),
        (GroupResource("batch", "cronjobs"), {}, {"lastScheduleTime": "2026-01-02", "lastSuccessfulTime": "2026-01-01"}, D),
        (GroupResource("batch", "cronjobs"), {}, {}, H),
        (GroupResource("", "services"), {"spec": {"type": "LoadBalancer"}}, {"loadBalancer": {}}, D),
        (GroupResource("", "services"), {"spec": {}}, {"loadBalancer": {}}, H),
        (GroupResource("networking.k8s.io", "ingresses"), {}, {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}, H),
        (GroupResource("", "persistentvolumeclaims"), {}, {"phase": "Bound"}, H),
        (GroupResource("", "persistentvolumeclaims"), {}, {"phase": "Lost"}, U),
        (GroupResource("autoscaling", "horizontalpodautoscalers"), {}, {"conditions": [condition("ScalingActive", "False")]}, U),
        (GroupResource("policy", "poddisruptionbudgets"), {}, {"desiredHealthy": 2, "currentHealthy": 1}, D),
        (GroupResource("", "pods"), {}, {"phase": "Running", "conditions": [condition("Ready", "True")]}, H),
        (GroupResource("", "pods"), {}, {"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}, U),
        (GroupResource("", "pods"), {}, {"phase": "Pending"}, D),
        (GroupResource("x", "ys"), {}, {"conditions": [condition("Ready", "True")]}, H),
        (GroupResource("x", "ys"), {}, {"conditions": [condition("Error", "True"), condition("Ready", "True")]}, U),
        (GroupResource("x", "ys"), {}, {"phase": "Provisioning"}, D),
        (GroupResource("x", "ys"), {}, {"backlog": 3}, N),
    ],
)  # fmt: skip
def test_health_of_one_copy(resource: GroupResource, obj: JSONObject, status: JSONObject, health: Status) -> None:
    finding = judge(resource, obj, status)
    assert finding.health is health
    assert bool(finding.message) is (health is not H)


# --- StatusRules ---


def rule(**spec: Any) -> JSONObject:
    return {"metadata": {"name": "r", "uid": "u", "generation": 1}, "spec": {"kind": "Deployment", "group": "apps", **spec}}


def with_rule(**spec: Any) -> Kind:
    return Kind(DEPLOYMENTS, "Deployment", has_status=True, rule=StatusRule.of(rule(**spec)))


def test_a_rule_says_health_and_makes_fields() -> None:
    kind = with_rule(
        health="object.status.readyReplicas == object.spec.replicas", message="'only ' + string(object.status.readyReplicas)",
        fields=[{"name": "most", "expression": "clusters.map(c, c.status.readyReplicas).max()"}],
    )  # fmt: skip
    found = shown(deployment({"east": (2, ready(2)), "west": (3, ready(1))}), kind=kind)
    assert [m["health"] for m in told(found)["members"]] == ["Healthy", "Unhealthy"]
    assert told(found)["members"][1]["message"] == "only 1"
    assert status_of(found)["most"] == 2


def test_a_rule_that_fails_on_one_cluster_is_told_and_the_others_go_on() -> None:
    kind = with_rule(health="object.status.depth < 3")
    found = shown(deployment({"east": (1, ready(1, depth=1)), "west": (1, ready(1))}), kind=kind)
    assert found is not None
    assert [m["health"] for m in told(found)["members"]] == ["Healthy", "Unknown"]
    assert found.problems == ("west: object.status.depth < 3: no such key: depth",)


def test_a_rule_that_costs_too_much_is_given_up() -> None:
    text = "object.spec.many.all(a, object.spec.many.all(b, object.spec.many.all(c, a + b + c >= 0)))"
    kind = with_rule(health=text)
    for number in range(5):
        obj = deployment({"east": (1, ready(1))})
        obj["spec"]["many"] = list(range(1000))
        found = shown(obj, kind=kind)
        assert found is not None
        assert ("not evaluated any more" in found.problems[0]) is (number >= 3)


def test_what_is_wrong_with_a_rule_is_told_when_it_is_written() -> None:
    assert [c.field for c in rules.faults(rule(health="object.+", fields=[{"name": "a", "expression": "clusters.map("}]))] == [
        "spec.health", "spec.fields[0].expression",
    ]  # fmt: skip
    assert [c.field for c in rules.faults(rule())] == ["spec"]
    assert [c.field for c in rules.faults(rule(health="3"))] == ["spec.health"]


def test_a_health_that_is_none_is_told() -> None:
    found = shown(deployment({"east": (1, ready(1))}), kind=with_rule(health="'Great'"))
    assert found is not None
    assert "neither a bool nor one of Healthy, Degraded" in found.problems[0]


# --- AggregatedViews ---


def test_a_view_is_read_with_the_defaults_of_the_reference() -> None:
    spec = ViewSpec.of({"metadata": {"name": "v"}, "spec": {"clusters": [{"name": "east", "priority": 90}]}})
    policy = spec.policy("apps", "Deployment")
    assert (policy.merge, policy.conflict, policy.health, policy.status) == ("Union", "LastWriter", "Majority", "Combined")
    assert (spec.terms("east").priority, spec.terms("east").weight, spec.terms("west").priority) == (90, 1.0, 0)
    assert spec.selects("anything", {})


def test_a_view_selects_clusters_by_label_and_name() -> None:
    spec = ViewSpec.of({"metadata": {"name": "v"}, "spec": {"targetSelector": {"matchNames": ["eu-*"], "matchLabels": {"tier": "prod"}}}})
    assert [spec.selects(*t) for t in (("eu-1", {"tier": "prod"}), ("us-1", {"tier": "prod"}), ("eu-1", {}))] == [True, False, False]


def test_what_is_wrong_with_a_view_is_told_when_it_is_written() -> None:
    view = {"spec": {"maxStaleness": "soon", "policies": [{"kind": "Pod", "fieldSelectors": ["a"]}]}}
    assert [c.field for c in faults(view)] == ["spec.maxStaleness", "spec.policies[0].fieldSelectors[0]"]
