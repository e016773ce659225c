"""What OverridePolicies make of an object for one cluster, and which of them nobody may write."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.patch import json_patch
from kcp.tmc.overrides.policy import Cluster, OverrideError, faults, patch_for

EAST = Cluster("east", {"region": "eu", "tier": "prod"})
WEST = Cluster("west", {"region": "us"})


def policy(*rules: dict[str, Any], name: str = "p", **selector: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"resourceSelectors": [selector] if selector else [], "overrideRules": list(rules)}}


def deployment() -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {}},
        "spec": {"replicas": 4, "template": template},
    }  # fmt: skip


def made(obj: dict[str, Any], cluster: Cluster, *policies: dict[str, Any]) -> Any:
    return json_patch.apply(obj, patch_for(policies, obj, cluster))


IMAGE = {"jsonPatch": [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "eu/web:1"}]}


@pytest.mark.parametrize(
    ("where", "applies"),
    [
        ({}, True),
        ({"clusterNames": ["e*"]}, True),
        ({"clusterNames": ["west"]}, False),
        ({"exclude": ["east"]}, False),
        ({"labelSelector": {"matchLabels": {"tier": "prod"}}}, True),
        ({"labelSelector": {"matchLabels": {"tier": "test"}}}, False),
    ],
)
def test_rules_concern_clusters(where: dict[str, Any], *, applies: bool) -> None:
    obj = deployment()
    found = made(obj, EAST, policy({**IMAGE, "targetCluster": where}))
    assert (found["spec"]["template"]["spec"]["containers"][0]["image"] == "eu/web:1") is applies
    assert obj == deployment(), "not changed"


@pytest.mark.parametrize(
    ("selector", "applies"),
    [
        ({"kind": "Deployment", "apiVersion": "apps/v1", "name": "web"}, True),
        ({"kind": "Service"}, False),
        ({"labelSelector": {"matchLabels": {"app": "other"}}}, False),
    ],
)
def test_policies_select_objects(selector: dict[str, Any], *, applies: bool) -> None:
    assert bool(patch_for([policy(IMAGE, **selector)], deployment(), EAST)) is applies


def test_fields_are_set_by_expressions_and_missing_parents_made() -> None:
    rule = {
        "when": "object.spec.replicas > 2",
        "set": [
            {"path": "/spec/replicas", "expression": "object.spec.replicas * 2"},
            {"path": "/spec/template/metadata/labels/region", "expression": "cluster.labels.region"},
            {"path": "/metadata/annotations/where", "expression": "cluster.name"},
        ],
    }
    found = made(deployment(), EAST, policy(rule))
    assert found["spec"]["replicas"] == 8
    assert found["spec"]["template"]["metadata"] == {"labels": {"region": "eu"}}


def test_rules_apply_to_what_those_before_have_made() -> None:
    double = {"set": [{"path": "/spec/replicas", "expression": "object.spec.replicas * 2"}]}
    only_many = {"when": "object.spec.replicas > 10", "set": [{"path": "/spec/paused", "expression": "true"}]}
    found = made(deployment(), WEST, policy(only_many, name="z"), policy(double, double, name="a"))
    assert (found["spec"]["replicas"], found["spec"]["paused"]) == (16, True)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"jsonPatch": [{"op": "remove", "path": "/spec/nothing"}]}, "rule 0"),
        ({"jsonPatch": [{"op": "test", "path": "/spec/replicas", "value": 9}]}, "rule 0"),
        ({"set": [{"path": "/spec/x", "expression": "object.spec.absent"}]}, "no such key"),
        ({"set": [{"path": "/spec/x", "expression": "object."}]}, "compilation failed"),
        ({"set": [{"path": "/metadata/name", "expression": "'other'"}]}, "may be overridden"),
    ],
)
def test_what_cannot_be_applied_names_policy_and_rule(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(OverrideError, match="OverridePolicy p, rule 0") as caught:
        patch_for([policy(rule)], deployment(), EAST)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["", "/kind", "/apiVersion", "/status/x", "/metadata/name", "/metadata/labels", "/metadata/finalizers",
     "/metadata/labels/state.workload.kcp.io~1K", "/metadata/annotations/kcp.io~1cluster", "spec"],
)  # fmt: skip
def test_what_is_not_theirs_is_refused(path: str) -> None:
    assert [c.field for c in faults(policy({"jsonPatch": [{"op": "add", "path": path, "value": {}}]}))] == [
        "spec.overrideRules[0].jsonPatch[0].path"
    ]


@pytest.mark.parametrize("path", ["/spec", "/data/a", "/metadata/labels/a", "/metadata/annotations/example.com~1a"])
def test_what_is_theirs_is_not(path: str) -> None:
    assert list(faults(policy({"jsonPatch": [{"op": "add", "path": path, "value": {}}]}))) == []


def test_expressions_must_compile_and_conditions_be_true_or_false() -> None:
    wrong = policy({"when": "1 + 1", "set": [{"path": "/spec/x", "expression": "nobody"}]})
    assert [c.field for c in faults(wrong)] == ["spec.overrideRules[0].when", "spec.overrideRules[0].set[0].expression"]
