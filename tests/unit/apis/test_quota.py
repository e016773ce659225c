"""What objects use of quotas, scopes, charging writes, recounting; rules of quotas. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import quota
from kcp.apis.kubernetes.limit_validation import resource_quota
from kcp.apis.kubernetes.podresources import pod_limits, pod_requests
from kcp.apis.kubernetes.quota import Exceeded, Write
from kcp.apis.kubernetes.quota_usage import PODS, SERVICES, evaluator, is_best_effort, resource_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAPS = GroupResource("", "configmaps")


def container(name: str = "c", *, restart: str = "", **resources: Any) -> JSONObject:
    return {"name": name, "resources": resources, **({"restartPolicy": restart} if restart else {})}


def pod(*containers: JSONObject, **spec: Any) -> JSONObject:
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": list(containers), **spec}, "status": {}}


def held(hard: dict[str, str], used: dict[str, str] | None = None, *, name: str = "q", **spec: Any) -> JSONObject:
    made: JSONObject = {"metadata": {"name": name, "namespace": "n"}, "spec": {"hard": hard, **spec}}
    if used is not None:
        made["status"] = {"hard": hard, "used": used}
    return made


def test_a_pod_asks_for_its_containers_or_its_neediest_start() -> None:
    one, two = container(requests={"cpu": "1"}), container(requests={"cpu": "500m", "memory": "1Gi"})
    assert pod_requests({"containers": [one, two]}) == {"cpu": "1500m", "memory": "1Gi"}
    start = container(requests={"cpu": "4"})
    assert pod_requests({"containers": [one], "initContainers": [start]}) == {"cpu": "4"}
    sidecar = container(requests={"cpu": "2"}, restart="Always")
    assert pod_requests({"containers": [one], "initContainers": [sidecar, start]}) == {"cpu": "6"}
    assert pod_requests({"containers": [one], "overhead": {"cpu": "100m"}}) == {"cpu": "1100m"}
    assert pod_requests({"containers": [one], "resources": {"requests": {"cpu": "3"}}}) == {"cpu": "3"}
    limited = container(limits={"memory": "1Gi"})
    assert pod_limits({"containers": [limited], "overhead": {"cpu": "1", "memory": "1Gi"}}) == {"memory": "2Gi"}


def test_a_finished_or_lost_pod_is_only_counted() -> None:
    counting = evaluator(PODS)
    made = pod(container(requests={"cpu": "1", "nvidia.com/gpu": "2"}, limits={"cpu": "2"}))
    charged = {"count/pods": "1", "pods": "1", "cpu": "1", "requests.cpu": "1", "limits.cpu": "2", "requests.nvidia.com/gpu": "2"}
    assert counting.usage(made, NOW) == charged
    lost = {**made, "metadata": {"deletionTimestamp": "2025-12-31T23:00:00Z", "deletionGracePeriodSeconds": 30}}
    for ended in ({**made, "status": {"phase": "Failed"}}, lost):
        assert counting.usage(ended, NOW) == {"count/pods": "1"}


@pytest.mark.parametrize(
    ("scope", "spec", "expected"),
    [
        ({"scopeName": "Terminating"}, {"activeDeadlineSeconds": 0}, True),
        ({"scopeName": "Terminating"}, {}, False),
        ({"scopeName": "NotTerminating"}, {}, True),
        ({"scopeName": "BestEffort"}, {}, True),
        ({"scopeName": "NotBestEffort"}, {}, False),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, {"priorityClassName": "x"}, True),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, {}, True),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["x"]}, {"priorityClassName": "x"}, False),
        (
            {"scopeName": "CrossNamespacePodAffinity"},
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["a"]}]}}},
            True,
        ),
        ({"scopeName": "CrossNamespacePodAffinity"}, {"affinity": {"podAffinity": {}}}, False),
        ({"scopeName": "Unknown"}, {}, False),
    ],
)
def test_scopes(scope: JSONObject, spec: JSONObject, expected: bool) -> None:
    assert evaluator(PODS).in_scope(scope, pod(container(), **spec)) is expected


def test_best_effort_has_neither_requests_nor_limits() -> None:
    assert is_best_effort(pod(container(requests={"cpu": "0", "nvidia.com/gpu": "1"})))
    assert not is_best_effort(pod(container(), container(limits={"memory": "1"})))


def test_names_lead_to_the_resources_they_are_about() -> None:
    found = {name: resource_of(name) for name in ("pods", "requests.storage", "gold.storageclass.storage.k8s.io/requests.storage", "x")}
    assert [str(r) if r else None for r in found.values()] == ["pods", "persistentvolumeclaims", "persistentvolumeclaims", None]
    assert resource_of("count/deployments.apps") == GroupResource("apps", "deployments")
    assert evaluator(GroupResource("apps", "deployments")).usage({}, NOW) == {"count/deployments.apps": "1"}


def test_load_balancers_count_the_ports_they_will_get() -> None:
    counting = evaluator(SERVICES)
    ports = [{"port": 80}, {"port": 81, "nodePort": 30000}]
    used = counting.usage({"spec": {"type": "LoadBalancer", "ports": ports}}, NOW)
    assert (used["services.nodeports"], used["services.loadbalancers"]) == ("2", "1")
    used = counting.usage({"spec": {"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": False}}, NOW)
    assert used["services.nodeports"] == "1"


def test_every_quota_is_charged_or_none() -> None:
    write = Write(evaluator(MAPS), {})
    loose, tight = held({"configmaps": "5"}, {"configmaps": "1"}), held({"count/configmaps": "1"}, {"count/configmaps": "1"}, name="tight")
    assert quota.charge([loose], write, NOW) == {0: {"configmaps": "2"}}
    text = "exceeded quota: tight, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"
    with pytest.raises(Exceeded, match=text):
        quota.charge([loose, tight], write, NOW)
    assert quota.charge([held({"configmaps": "0"}), held({"secrets": "0"}, {"secrets": "0"})], write, NOW) == {}


def test_a_quota_without_figures_refuses() -> None:
    unknown = {**held({"configmaps": "5"}), "status": {"hard": {"configmaps": "5"}}}
    with pytest.raises(Exceeded, match="status unknown for quota: q, resources: configmaps"):
        quota.charge([unknown], Write(evaluator(MAPS), {}), NOW)


def test_a_change_is_charged_by_its_difference_and_may_always_shrink() -> None:
    def service(kind: str) -> JSONObject:
        return {"spec": {"type": kind, "ports": [{"port": 80}]}}

    over = held({"services.nodeports": "0"}, {"services.nodeports": "1"})
    shrinking = Write(evaluator(SERVICES), service("ClusterIP"), service("NodePort"))
    assert quota.charge([over], shrinking, NOW) == {0: {"services.nodeports": "0"}}
    assert quota.charge([over], Write(evaluator(SERVICES), service("NodePort"), service("NodePort")), NOW) == {}


def test_negative_requests_are_refused() -> None:
    with pytest.raises(Exceeded, match=r"quota usage is negative for resource\(s\): cpu,requests.cpu"):
        quota.charge([held({"pods": "1"}, {"pods": "0"})], Write(evaluator(PODS), pod(container(requests={"cpu": "-1"}))), NOW)


def test_recounting_keeps_what_cannot_be_counted_and_forgets_what_is_not_limited() -> None:
    before = held({"configmaps": "2", "x.example.com/thing": "4"}, {"configmaps": "1", "secrets": "3"})
    status = quota.status(before, {"configmaps": "2"})
    assert status == {"hard": {"configmaps": "2", "x.example.com/thing": "4"}, "used": {"configmaps": "2"}}
    again = {**before, "status": status}
    assert quota.status(again, {"configmaps": "2"}) == status


def test_scoped_quotas_count_no_objects_without_scopes() -> None:
    scoped = held({"configmaps": "2", "pods": "2"}, scopes=["BestEffort"])
    assert quota.by_number(evaluator(MAPS), scoped, 7) == {"configmaps": "0"}
    counted = quota.by_content(evaluator(PODS), scoped, [pod(container()), pod(container(requests={"cpu": "1"}))], NOW)
    assert counted == {"pods": "1"}


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"hard": {"gadgets": "1"}}, "must be a standard resource for quota"),
        ({"hard": {"pods": "1500m"}}, "must be an integer"),
        ({"hard": {"pods": "-1"}}, "must be greater than or equal to 0"),
        ({"hard": {"pods": "1"}, "scopes": ["Slow"]}, "unsupported scope"),
        ({"hard": {"configmaps": "1"}, "scopes": ["Terminating"]}, "unsupported scope applied to resource"),
        ({"hard": {"pods": "1"}, "scopes": ["Terminating", "NotTerminating"]}, "conflicting scopes"),
        (
            {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            "must be at least one value",
        ),
        (
            {"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [{"scopeName": "BestEffort", "operator": "DoesNotExist"}]}},
            "must be 'Exist' when scope is any of",
        ),
    ],
)
def test_faulty_quotas_are_invalid(spec: JSONObject, fault: str) -> None:
    causes = resource_quota({"spec": spec}, None)
    assert len(causes) == 1
    assert fault in causes[0].message


def test_scopes_are_immutable() -> None:
    old = {"spec": {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}}
    assert [c.field for c in resource_quota({"spec": {"hard": {"pods": "1"}}}, old)] == ["spec.scopes"]
    assert resource_quota(old, old) == []
