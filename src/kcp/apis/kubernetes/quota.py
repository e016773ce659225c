"""ResourceQuotas: whether a write fits into them, and what their status ought to say. Pure.

Before: `apiserver.admission.resourcequota`, `controller.builtin.resourcequota`. After: `quota_usage`.
Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go (CheckRequest), pkg/quota/v1/resources.go;
kcp pkg/admission/kubequota (quotas over a whole workspace).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.checks import list_at, obj_at
from kcp.apis.kubernetes.podresources import Amounts, added, subtracted
from kcp.apis.kubernetes.quota_usage import Evaluator, evaluator, resource_of

CLUSTER_SCOPED = "experimental.quota.kcp.io/cluster-scoped"
_NAMESPACES_OF_CLUSTER_SCOPED = ("admin", "default")


class Exceeded(Exception):
    """The write does not fit; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Write:
    """A creation, or with `old` a change, of one object."""

    evaluator: Evaluator
    new: Mapping[str, Any]
    old: Mapping[str, Any] | None = None


def is_cluster_scoped(quota: Mapping[str, Any]) -> bool:
    """Whether a quota counts over its whole workspace, objects without a namespace included."""
    return meta.annotations(quota).get(CLUSTER_SCOPED) == "true" and meta.namespace(quota) in _NAMESPACES_OF_CLUSTER_SCOPED


def scopes(quota: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Requirements that an object has to meet to be counted, all of them."""
    plain = [{"scopeName": name, "operator": "Exists"} for name in list_at(quota, "spec", "scopes")]
    return [*plain, *list_at(quota, "spec", "scopeSelector", "matchExpressions")]


def charge(quotas: Sequence[Mapping[str, Any]], write: Write, now: datetime) -> dict[int, Amounts]:
    """What `status.used` of each concerned quota becomes, by position; empty if the write uses nothing more.

    A quota whose status does not say its limits yet limits nothing. Raises: Exceeded.
    """
    concerned = {index: names for index, quota in enumerate(quotas) if (names := _concerns(quota, write))}
    if not concerned:
        return {}
    usage, delta = _usage(write, now)
    charged: dict[int, Amounts] = {}
    for index in concerned:
        counted_before = write.old is not None and _is_in_scopes(quotas[index], write.evaluator, write.old)
        if more := delta if counted_before else usage:
            charged[index] = _charged(quotas[index], more)
    return {index: used for index, used in charged.items() if used != quotas[index]["status"].get("used")}


def _concerns(quota: Mapping[str, Any], write: Write) -> list[str]:
    """The names by which a quota limits this write. Raises: Exceeded if the object lacks what they require."""
    names = write.evaluator.names(obj_at(quota, "status", "hard"))
    if not names or not _is_in_scopes(quota, write.evaluator, write.new):
        return []
    fault = write.evaluator.fault(names, write.new)
    if fault:
        raise Exceeded(f"failed quota: {meta.name(quota)}: {fault}")
    used = obj_at(quota, "status", "used")
    if any(name not in used for name in names):
        raise Exceeded(f"status unknown for quota: {meta.name(quota)}, resources: {','.join(sorted(names))}")
    return names


def _is_in_scopes(quota: Mapping[str, Any], evaluator: Evaluator, obj: Mapping[str, Any]) -> bool:
    return all(evaluator.in_scope(scope, obj) for scope in scopes(quota))


def _usage(write: Write, now: datetime) -> tuple[Amounts, Amounts]:
    """What the object uses, and how much of that more than before, or less; without zeros. Raises: Exceeded for a negative request."""
    usage = write.evaluator.usage(write.new, now)
    negative = sorted(name for name, amount in usage.items() if quantity.compare(amount, "0") < 0)
    if negative:
        raise Exceeded(f"quota usage is negative for resource(s): {','.join(negative)}")
    delta = usage if write.old is None else subtracted(usage, write.evaluator.usage(write.old, now))
    return _without_zeros(usage), _without_zeros(delta)


def _without_zeros(amounts: Amounts) -> Amounts:
    return {name: amount for name, amount in amounts.items() if quantity.compare(amount, "0") != 0}


def _charged(quota: Mapping[str, Any], delta: Amounts) -> Amounts:
    hard, used = obj_at(quota, "status", "hard"), obj_at(quota, "status", "used")
    asked = masked(delta, hard)
    after = added(used, asked)
    over = sorted(n for n in asked if quantity.compare(asked[n], "0") > 0 and quantity.compare(after[n], hard[n]) > 0)
    if over:
        told = (("requested", asked), ("used", used), ("limited", hard))
        text = ", ".join(f"{what}: {_listed(masked(amounts, over))}" for what, amounts in told)
        raise Exceeded(f"exceeded quota: {meta.name(quota)}, {text}")
    return after


def masked(amounts: Mapping[str, str], names: Iterable[str]) -> Amounts:
    """The amounts of these names only."""
    wanted = frozenset(names)
    return {name: amount for name, amount in amounts.items() if name in wanted}


def _listed(amounts: Mapping[str, str]) -> str:
    return ",".join(f"{name}={quantity.canonical(amount)}" for name, amount in sorted(amounts.items()))


def counted_resources(quota: Mapping[str, Any]) -> list[Evaluator]:
    """What has to be counted for a quota, each resource once, in order of name."""
    resources = {resource_of(name) for name in obj_at(quota, "spec", "hard")}
    return [evaluator(resource) for resource in sorted(r for r in resources if r is not None)]


def by_number(counting: Evaluator, quota: Mapping[str, Any], count: int) -> Amounts:
    """Usage of `count` objects that are only counted."""
    if scopes(quota):
        return dict.fromkeys(counting.names(obj_at(quota, "spec", "hard")), "0")
    return {name: str(count) for name in counting.names(obj_at(quota, "spec", "hard"))}


def by_content(counting: Evaluator, quota: Mapping[str, Any], objects: Iterable[Mapping[str, Any]], now: datetime) -> Amounts:
    """Usage of these objects, as far as they are in the quota's scopes."""
    names = counting.names(obj_at(quota, "spec", "hard"))
    total: Amounts = dict.fromkeys(names, "0")
    for obj in objects:
        if _is_in_scopes(quota, counting, obj):
            total = added(total, masked(counting.usage(obj, now), names))
    return total


def status(quota: Mapping[str, Any], used: Mapping[str, str]) -> JSONObject:
    """The status of a quota of which `used` was counted; what could not be counted keeps its last figure.

    Source: pkg/controller/resourcequota/resource_quota_controller.go syncResourceQuota.
    """
    hard = dict(obj_at(quota, "spec", "hard"))
    before = obj_at(quota, "status", "used")
    figures: Amounts = {}
    for name in hard:
        figure = used.get(name, before.get(name))
        if figure is not None:
            held = before.get(name)
            figures[name] = held if held is not None and quantity.compare(held, figure) == 0 else figure
    return {**obj_at(quota, "status"), "hard": hard, "used": figures}
