"""What a pod asks for in all: requests and limits of its containers put together.

Before: `quota_usage`, `limits`. Pure; amounts are quantities as they stand in JSON.
Source: k8s.io/component-helpers/resource/helpers.go (PodRequests, PodLimits).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kcp.apimachinery import quantity
from kcp.apis.kubernetes.checks import list_at, obj_at

Amounts: TypeAlias = dict[str, str]
"""A v1.ResourceList: quantities by resource name."""


def added(one: Mapping[str, str], other: Mapping[str, str]) -> Amounts:
    """The sums; a name that only one of them has stands for itself."""
    total = dict(one)
    for name, amount in other.items():
        total[name] = quantity.add(total[name], amount) if name in total else amount
    return total


def subtracted(one: Mapping[str, str], other: Mapping[str, str]) -> Amounts:
    """`one` minus `other`, below zero where need be. Source: k8s.io/apiserver/pkg/quota/v1/resources.go Subtract."""
    return added(one, {name: quantity.subtract("0", amount) for name, amount in other.items()})


def largest(one: Mapping[str, str], other: Mapping[str, str]) -> Amounts:
    total = dict(one)
    for name, amount in other.items():
        if name not in total or quantity.compare(total[name], amount) < 0:
            total[name] = amount
    return total


def _amounts(container: Mapping[str, Any], part: str) -> Amounts:
    return {name: quantity.canonical(value) for name, value in obj_at(container, "resources", part).items()}


def _total(spec: Mapping[str, Any], part: str) -> Amounts:
    return {**of_containers(spec, part), **_amounts(spec, part)}  # pod-level resources stand for those of its containers


def of_containers(spec: Mapping[str, Any], part: str) -> Amounts:
    """All at once, or the neediest init container beside the sidecars started before it, whichever is more."""
    total: Amounts = {}
    for container in list_at(spec, "containers"):
        total = added(total, _amounts(container, part))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in list_at(spec, "initContainers"):
        needed = _amounts(container, part)
        if container.get("restartPolicy") == "Always":
            total, sidecars = added(total, needed), added(sidecars, needed)
            needed = sidecars
        else:
            needed = added(needed, sidecars)
        starting = largest(starting, needed)
    return largest(total, starting)


def pod_requests(spec: Mapping[str, Any]) -> Amounts:
    return added(_total(spec, "requests"), _overhead(spec, lambda _name: True))


def pod_limits(spec: Mapping[str, Any]) -> Amounts:
    """Overhead counts where there is a limit at all."""
    total = _total(spec, "limits")
    return added(total, _overhead(spec, lambda name: quantity.compare(total.get(name, "0"), "0") != 0))


def _overhead(spec: Mapping[str, Any], counts: Callable[[str], bool]) -> Amounts:
    return {name: quantity.canonical(value) for name, value in obj_at(spec, "overhead").items() if counts(name)}
