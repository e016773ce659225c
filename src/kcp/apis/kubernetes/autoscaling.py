"""HorizontalPodAutoscalers: `autoscaling/v1` is a view of objects that are stored as `autoscaling/v2`. `kubectl autoscale` speaks v1.

What v1 has no fields for stands in its annotations, and comes back from there.
Before: `registry.builtin` (conversion), `rules`.
Source: k8s.io/kubernetes/pkg/apis/autoscaling/v1/{conversion,defaults}.go, pkg/apis/autoscaling/annotations.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import validation

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR = (_PREFIX + part for part in ("metrics", "current-metrics", "conditions", "behavior"))
_ANNOTATIONS = frozenset((_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR))
_V1, _V2 = "autoscaling/v1", "autoscaling/v2"
_TARGETS: Mapping[str, str] = {
    "averageUtilization": "targetAverageUtilization",
    "averageValue": "targetAverageValue",
    "value": "targetValue",
}
_CURRENTS: Mapping[str, str] = {
    "averageUtilization": "currentAverageUtilization",
    "averageValue": "currentAverageValue",
    "value": "currentValue",
}
_TYPES: Mapping[str, str] = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}


def to_v2(hpa: JSONObject) -> JSONObject:
    """Shares its parts with the argument. Without any metric the target is 80 % of the requested CPU."""
    spec, status, notes = dict(hpa.get("spec") or {}), dict(hpa.get("status") or {}), meta.annotations(hpa)
    metrics = [_metric_to_v2(metric, "target", _TARGETS) for metric in _list(notes.get(_METRICS))]
    cpu = spec.pop("targetCPUUtilizationPercentage", None)
    if cpu is None and not metrics:
        cpu = 80
    if cpu is not None:
        metrics.insert(0, _cpu("target", {"type": "Utilization", "averageUtilization": cpu}))
    spec["metrics"] = metrics
    if behavior := _decoded(notes.get(_BEHAVIOR)):
        spec["behavior"] = behavior
    current = [_metric_to_v2(metric, "current", _CURRENTS) for metric in _list(notes.get(_CURRENT))]
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        current.insert(0, _cpu("current", {"averageUtilization": used}))
    if current:
        status["currentMetrics"] = current
    if conditions := _list(notes.get(_CONDITIONS)):
        status["conditions"] = conditions
    return _object(hpa, _V2, spec, status, {name: note for name, note in notes.items() if name not in _ANNOTATIONS})


def to_v1(hpa: JSONObject) -> JSONObject:
    """Shares its parts with the argument."""
    spec, status, notes = dict(hpa.get("spec") or {}), dict(hpa.get("status") or {}), dict(meta.annotations(hpa))
    cpu, others = _split_cpu(spec.pop("metrics", None) or [], "target")
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu
    used, current = _split_cpu(status.pop("currentMetrics", None) or [], "current")
    if used is not None:
        status["currentCPUUtilizationPercentage"] = used
    told = {
        _METRICS: [_metric_to_v1(metric, "target", _TARGETS) for metric in others],
        _CURRENT: [_metric_to_v1(metric, "current", _CURRENTS) for metric in current],
        _CONDITIONS: status.pop("conditions", None),
        _BEHAVIOR: spec.pop("behavior", None),
    }
    notes |= {name: orjson.dumps(value).decode() for name, value in told.items() if value}
    status.setdefault("currentReplicas", 0)
    return _object(hpa, _V1, spec, status, notes)


def default_v1(hpa: JSONObject) -> None:
    spec = hpa.get("spec")
    if isinstance(spec, dict) and spec.get("minReplicas") is None:
        spec["minReplicas"] = 1


def validate_v1(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return validation.horizontal_pod_autoscaler(to_v2(new), to_v2(old) if old is not None else None)


def _object(hpa: JSONObject, api_version: str, spec: JSONObject, status: JSONObject, notes: Mapping[str, str]) -> JSONObject:
    metadata = {part: value for part, value in (hpa.get("metadata") or {}).items() if part != "annotations"}
    if notes:
        metadata["annotations"] = dict(notes)
    return {**hpa, "apiVersion": api_version, "metadata": metadata, "spec": spec, "status": status}


def _cpu(part: str, value: JSONObject) -> JSONObject:
    return {"type": "Resource", "resource": {"name": "cpu", part: value}}


def _split_cpu(metrics: Sequence[Any], part: str) -> tuple[int | None, list[JSONObject]]:
    """The first CPU utilization, which v1 has a field for, and all other metrics."""
    found, others = None, []
    for metric in metrics:
        resource = metric.get("resource") or {}
        value = (resource.get(part) or {}).get("averageUtilization")
        if found is None and metric.get("type") == "Resource" and resource.get("name") == "cpu" and value is not None:
            found = value
        else:
            others.append(metric)
    return found, others


def _metric_to_v1(metric: JSONObject, part: str, names: Mapping[str, str]) -> JSONObject:
    """v1 writes what v2 nests in `target` or `current`, and in `metric`, beside the metric's source."""
    kind, source = _source(metric)
    flat = {name: value for name, value in source.items() if name not in (part, "metric", "describedObject")}
    if identity := source.get("metric"):
        flat["metricName"] = identity.get("name")
        if selector := identity.get("selector"):
            flat["metricSelector" if kind == "external" else "selector"] = selector
    if described := source.get("describedObject"):
        flat["target"] = described
    flat |= {name: source[part][held] for held, name in names.items() if held in (source.get(part) or {})}
    return {"type": metric.get("type"), kind: flat}


def _metric_to_v2(metric: JSONObject, part: str, names: Mapping[str, str]) -> JSONObject:
    kind, flat = _source(metric)
    amounts = {held: flat[name] for held, name in names.items() if name in flat}
    if part == "target":
        amounts = {"type": next((_TYPES[held] for held in amounts), ""), **amounts}
    source: JSONObject = {name: flat[name] for name in ("name", "container") if name in flat}
    if "metricName" in flat:
        source["metric"] = {"name": flat["metricName"]}
        if selector := flat.get("metricSelector") or flat.get("selector"):
            source["metric"]["selector"] = selector
    if "target" in flat:
        source["describedObject"] = flat["target"]
    return {"type": metric.get("type"), kind: {**source, part: amounts}}


def _source(metric: JSONObject) -> tuple[str, JSONObject]:
    """The field that a metric's type names, and what it holds."""
    kind = str(metric.get("type") or "")
    field = kind[:1].lower() + kind[1:]
    held = metric.get(field)
    return field, held if isinstance(held, dict) else {}


def _decoded(text: str | None) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None  # a client's own words in our annotation: as if there were none, like upstream


def _list(text: str | None) -> list[JSONObject]:
    found = _decoded(text)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
