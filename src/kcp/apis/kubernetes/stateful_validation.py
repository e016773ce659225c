"""Rules of StatefulSets, whose pods get a volume for each claim template. Before: `rules`.

Source: k8s.io/kubernetes/pkg/apis/apps/validation/validation.go (ValidateStatefulSetSpec, ValidateStatefulSetUpdate).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks, workload_validation
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.storage_validation import claim_spec

_ORDERS, _STRATEGIES = ("OrderedReady", "Parallel"), ("RollingUpdate", "OnDelete")
_MAY_CHANGE = frozenset((
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
))  # fmt: skip
_UPDATE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def stateful_set(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = _spec(spec)
    if old is None:
        for path, claim in numbered(spec, "volumeClaimTemplates", "spec.volumeClaimTemplates"):
            causes += claim_spec(obj_at(claim, "spec"), f"{path}.spec")
        causes += checks.named(spec.get("serviceName"), "spec.serviceName", names.dns1123_label)
        return causes
    if causes:  # what was there already does not stop the rest
        held = _spec(obj_at(old, "spec"))
        causes = [cause for cause in causes if not (held and cause.field.startswith("spec.template.spec"))]
    if _others(spec) != _others(obj_at(old, "spec")):
        causes.append(Cause.forbidden("spec", _UPDATE))
    return causes


def _spec(spec: Mapping[str, Any]) -> list[Cause]:
    order = spec.get("podManagementPolicy")
    causes = [
        *checks.not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit"),
        *checks.not_negative(obj_at(spec, "ordinals"), "spec.ordinals", "start"),
        *_strategy(obj_at(spec, "updateStrategy")),
    ]
    if isinstance(order, str) and order not in _ORDERS:
        causes.append(Cause.invalid("spec.podManagementPolicy", order, "must be 'OrderedReady' or 'Parallel'"))
    for moment in ("whenDeleted", "whenScaled"):
        at = "spec.persistentVolumeClaimRetentionPolicy"
        causes += checks.one_of(obj_at(spec, "persistentVolumeClaimRetentionPolicy"), at, moment, ("Delete", "Retain"))
    causes += workload_validation.selection(spec, "statefulset")
    causes += workload_validation.template(_as_pods_get_it(spec), "spec")
    if obj_at(spec, "template", "spec").get("activeDeadlineSeconds") is not None:
        told = "activeDeadlineSeconds in StatefulSet is not Supported"
        causes.append(Cause.forbidden("spec.template.spec.activeDeadlineSeconds", told))
    return causes


def _as_pods_get_it(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The template with a volume for each claim, before those of other names, and without what the controller sets itself."""
    template, inner = obj_at(spec, "template"), obj_at(spec, "template", "spec")
    claims = [obj_at(claim, "metadata").get("name") for claim in list_at(spec, "volumeClaimTemplates")]
    if not inner or not (claims or inner.get("subdomain") or inner.get("hostname")):
        return spec
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claims)]
    others = [volume for volume in list_at(inner, "volumes") if volume.get("name") not in claims]
    kept = {field: value for field, value in inner.items() if field not in ("subdomain", "hostname")}
    return {**spec, "template": {**template, "spec": {**kept, "volumes": [*claimed, *others]}}}


def _strategy(strategy: Mapping[str, Any]) -> Iterator[Cause]:
    at, kind, rolling = "spec.updateStrategy", strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete" and rolling is not None:
        yield Cause.invalid(f"{at}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
    elif isinstance(kind, str) and kind not in _STRATEGIES:
        yield Cause.invalid(at, strategy, "must be 'RollingUpdate' or 'OnDelete'")
    elif kind == "RollingUpdate" and isinstance(rolling, Mapping):
        yield from checks.not_negative(rolling, f"{at}.rollingUpdate", "partition")
        unavailable = rolling.get("maxUnavailable")
        yield from checks.int_or_percent(unavailable, f"{at}.rollingUpdate.maxUnavailable")
        if checks.is_zero(unavailable):
            yield Cause.invalid(f"{at}.rollingUpdate.maxUnavailable", unavailable, "cannot be 0")


def _others(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return {field: value for field, value in spec.items() if field not in _MAY_CHANGE}
