"""autoscaling/v1 as a view of autoscaling/v2: what v1 has fields for, what stands in annotations, and the way back.

Source: k8s.io/kubernetes/pkg/apis/autoscaling/v1/conversion_test.go.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kcp.apis.kubernetes.autoscaling import to_v1, to_v2

PREFIX = "autoscaling.alpha.kubernetes.io/"
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}


def v2(*metrics: Any, **status: Any) -> dict[str, Any]:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "minReplicas": 1, "maxReplicas": 3, "metrics": list(metrics)}
    status = {"currentReplicas": 2, "desiredReplicas": 2, **status}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": spec, "status": status}


def test_cpu_utilization_is_a_field_of_v1() -> None:
    shown = to_v1(v2(CPU, currentMetrics=[{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 50}}}]))
    assert shown["apiVersion"] == "autoscaling/v1"
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 70
    assert shown["status"]["currentCPUUtilizationPercentage"] == 50
    assert "metrics" not in shown["spec"]
    assert "annotations" not in shown["metadata"]


@pytest.mark.parametrize(
    "metric",
    [
        CPU,
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
        {"type": "ContainerResource",
         "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 9}}},
        {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
                                  "target": {"type": "AverageValue", "averageValue": "3"}}},
        {"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}},
                                          "target": {"type": "Value", "value": "30"}}},
        {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "hits"},
                                      "target": {"type": "Value", "value": "10k"}}},
    ],
    ids=lambda metric: str(metric["type"]),
)  # fmt: skip
def test_every_metric_comes_back(metric: dict[str, Any]) -> None:
    hpa = v2(CPU, metric) if metric != CPU else v2(CPU)
    hpa["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    hpa["status"]["conditions"] = [{"type": "AbleToScale", "status": "True"}]
    hpa["metadata"]["annotations"] = {"mine": "kept"}
    assert to_v2(to_v1(hpa)) == hpa


def test_metrics_in_the_annotation_are_written_as_v1_writes_them() -> None:
    shown = to_v1(v2({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}))
    written = orjson.loads(shown["metadata"]["annotations"][PREFIX + "metrics"])
    assert written == [{"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}}]


def test_without_any_metric_the_target_is_80_percent() -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3}
    stored = to_v2({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": spec})
    assert stored["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}


def test_annotations_that_cannot_be_read_count_for_nothing() -> None:
    hpa = to_v1(v2(CPU))
    hpa["metadata"]["annotations"] = {PREFIX + "metrics": "{", PREFIX + "behavior": "[", PREFIX + "conditions": "7"}
    assert to_v2(hpa)["spec"]["metrics"] == [CPU]
