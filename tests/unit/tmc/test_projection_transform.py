"""What transformations make of an object for one cluster: the four types, JSONPath with indexes and filters, conditions, templates, and
what fails, named so that it can be mended."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.patch import json_patch
from kcp.tmc.projection.transform import Scene, Transformation, TransformationError, patch_for

FACTS: dict[str, Any] = {"name": "edge-1", "labels": {"region": "eu", "a.b/c": "x"}, "cells": {}, "type": "edge",
                         "capacity": {"cpu": 8.0}, "capabilities": {"gpu": {"model": "a100"}}}  # fmt: skip
SCENE = Scene("p", "home", FACTS)


def deployment() -> dict[str, Any]:
    containers = [{"name": "web", "image": "nginx", "env": [{"name": "A", "value": "1"}]}, {"name": "log", "image": "fluent"}]
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 3, "template": {"spec": {"containers": containers}}}}  # fmt: skip


def made(*told: dict[str, Any]) -> dict[str, Any]:
    for one in told:
        assert list(Transformation.faults(one, "t")) == []
    obj = deployment()
    found: dict[str, Any] = json_patch.apply(obj, patch_for("p", [Transformation.of(one) for one in told], obj, SCENE))
    assert obj == deployment(), "the object itself is not changed"
    return found


def containers(obj: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = obj["spec"]["template"]["spec"]["containers"]
    return found


def test_set_puts_a_value_and_makes_the_way_to_it() -> None:
    found = made(
        {"type": "Set", "jsonPath": "spec.replicas", "value": 1},
        {"type": "Set", "jsonPath": "$.spec.template.metadata.annotations['a.b/c']", "value": "x"},
    )
    assert found["spec"]["replicas"] == 1
    assert found["spec"]["template"]["metadata"] == {"annotations": {"a.b/c": "x"}}


def test_list_items_are_reached_by_index_star_and_filter() -> None:
    found = made(
        {"type": "Set", "jsonPath": "spec.template.spec.containers[0].env[0].value", "value": "2"},
        {"type": "Set", "jsonPath": "spec.template.spec.containers[*].imagePullPolicy", "value": "Always"},
        {"type": "Replace", "jsonPath": '{.spec.template.spec.containers[?(@.name=="log")].image}', "value": "vector"},
        {"type": "Set", "jsonPath": "spec.template.spec.containers[-1].stdin", "value": True},
    )
    web, log = containers(found)
    assert web == {"name": "web", "image": "nginx", "env": [{"name": "A", "value": "2"}], "imagePullPolicy": "Always"}
    assert log == {"name": "log", "image": "vector", "imagePullPolicy": "Always", "stdin": True}


def test_delete_takes_what_is_there_and_does_not_mind_what_is_not() -> None:
    found = made(
        {"type": "Delete", "jsonPath": "spec.template.spec.containers[*].env"},
        {"type": "Delete", "jsonPath": "spec.strategy"},
        {"type": "Delete", "jsonPath": "spec.template.spec.containers[1]"},
    )
    assert containers(found) == [{"name": "web", "image": "nginx"}]


def test_replace_needs_something_to_replace() -> None:
    with pytest.raises(
        TransformationError, match=r"ResourceProjection p, transformation 0 \(Replace spec.paused\): spec.paused: the object"
    ):
        made({"type": "Replace", "jsonPath": "spec.paused", "value": True})
    with pytest.raises(TransformationError, match=r"containers\[7\]"):
        made({"type": "Set", "jsonPath": "spec.template.spec.containers[7].image", "value": "x"})


def test_templates_know_object_and_target() -> None:
    text = "{{.OriginalNamespace}}/{{ .OriginalName }} of {{.SourceCluster}} on {{.TargetCluster}} in {{.TargetLabels.region}} ({{.Labels.app}})"
    found = made(
        {"type": "Template", "jsonPath": "metadata.annotations.told", "value": text},
        {"type": "Template", "jsonPath": "spec.template.spec.containers[*].image", "value": "mirror.{{.TargetLabels.a.b/c}}/{{.Value}}"},
        {"type": "Template", "jsonPath": "spec.replicas", "value": "1{{.Value}}"},
    )
    assert found["metadata"]["annotations"]["told"] == "shop/web of home on edge-1 in eu (web)"
    assert [c["image"] for c in containers(found)] == ["mirror.x/nginx", "mirror.x/fluent"]
    assert found["spec"]["replicas"] == 13, "in place of a number, a number"
    with pytest.raises(TransformationError, match="there is no zone"):
        made({"type": "Template", "jsonPath": "spec.nodeName", "value": "{{.TargetLabels.zone}}"})


def test_a_condition_sees_what_those_before_have_made() -> None:
    found = made(
        {"type": "Set", "jsonPath": "spec.replicas", "value": 5, "conditional": "cluster.capacity.cpu > 4"},
        {"type": "Set", "jsonPath": "spec.paused", "value": True, "conditional": "object.spec.replicas == 3"},
        {
            "type": "Set",
            "jsonPath": "spec.minReadySeconds",
            "value": 9,
            "conditional": "'gpu' in cluster.capabilities && cluster.type == 'edge'",
        },
    )
    assert found["spec"]["replicas"] == 5
    assert "paused" not in found["spec"]
    assert found["spec"]["minReadySeconds"] == 9
    with pytest.raises(TransformationError, match=r"object.spec.typo > 1: .*no such key"):
        made({"type": "Delete", "jsonPath": "spec.replicas", "conditional": "object.spec.typo > 1"})


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"type": "Set", "jsonPath": "metadata.name", "value": "x"}, "only spec, data"),
        ({"type": "Template", "jsonPath": "metadata.name", "value": "{{.OriginalName}}-2"}, "only spec, data"),
        ({"type": "Set", "jsonPath": "status.replicas", "value": 1}, "only spec, data"),
        ({"type": "Set", "jsonPath": "metadata.labels['workload.kcp.io/projected']", "value": "x"}, "only spec, data"),
        ({"type": "Delete", "jsonPath": "metadata.labels[*]"}, "only spec, data"),
        ({"type": "Set", "jsonPath": "spec..replicas", "value": 1}, "cannot be written to"),
        ({"type": "Set", "jsonPath": "", "value": 1}, "empty"),
        ({"type": "Set", "jsonPath": "spec.a"}, "needs it"),
        ({"type": "Delete", "jsonPath": "spec.a", "value": 1}, "takes none"),
        ({"type": "Template", "jsonPath": "spec.a", "value": "{{.Nobody}}"}, "is none of"),
        ({"type": "Template", "jsonPath": "spec.a", "value": "{{.TargetCluster"}, "not closed"),
        ({"type": "Template", "jsonPath": "spec.a", "value": 3}, "a template is a text"),
        ({"type": "Set", "jsonPath": "spec.a", "value": 1, "conditional": "cluster."}, "compilation failed"),
    ],
)
def test_what_can_never_work_is_told_before(told: dict[str, Any], why: str) -> None:
    assert why in "; ".join(map(str, Transformation.faults(told, "t")))
