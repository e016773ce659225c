"""What of a pod may change once it is there: images, a shorter deadline, more tolerations, fewer gates; a gated pod's placement, too.

Before: `workload_validation`. After: `checks`.
Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (ValidatePodUpdate), KEP-3521 and KEP-3838 (gated pods).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, obj_at

_OTHERS = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_APART = ("activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers", "containers", "initContainers")
_HIGHEST = 2**31 - 1


def update(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    spec, held = obj_at(new, "spec"), obj_at(old, "spec")
    if spec == held:
        return
    added_or_removed = [kind for kind in ("containers", "initContainers") if len(list_at(spec, kind)) != len(list_at(held, kind))]
    if added_or_removed:
        yield Cause.forbidden(f"spec.{added_or_removed[0]}", "pod updates may not add or remove containers")
        return
    deadline = list(_deadline(spec, held))
    yield from deadline
    if deadline and spec.get("activeDeadlineSeconds") is not None:
        return
    yield from _tolerations(spec, held)
    yield from _gates(spec, held)
    is_gated = bool(held.get("schedulingGates"))
    if is_gated:
        yield from _placement(spec, held)
    if _fixed(spec, held, is_gated=is_gated) != _fixed(held, held, is_gated=is_gated):
        yield Cause.forbidden("spec", _OTHERS)


def _deadline(spec: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Cause]:
    at, wanted, before = "spec.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), held.get("activeDeadlineSeconds")
    if wanted is None:
        if before is not None:
            yield Cause.invalid(at, None, "must not update from a positive integer to nil value")
    elif not 0 <= wanted <= _HIGHEST:
        yield Cause.invalid(at, wanted, f"must be between 0 and {_HIGHEST}, inclusive")
    elif before is not None and before < wanted:
        yield Cause.invalid(at, wanted, "must be less than or equal to previous value")


def _tolerations(spec: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Cause]:
    now = [_without_seconds(toleration) for toleration in list_at(spec, "tolerations")]
    if any(_without_seconds(toleration) not in now for toleration in list_at(held, "tolerations")):
        yield Cause.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _without_seconds(toleration: Mapping[str, Any]) -> Mapping[str, Any]:
    return {field: value for field, value in toleration.items() if field != "tolerationSeconds"}


def _gates(spec: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Cause]:
    before = {gate.get("name") for gate in list_at(held, "schedulingGates")}
    for path, gate in checks.numbered(spec, "schedulingGates", "spec.schedulingGates"):
        if (name := gate.get("name")) not in before:
            yield Cause.forbidden(f"{path}.name", f"only deletion is allowed, but found new scheduling gate '{name}'")


def _placement(spec: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Cause]:
    """A gated pod may be confined further."""
    wanted = obj_at(spec, "nodeSelector")
    if not obj_at(held, "nodeSelector").items() <= wanted.items():
        yield Cause.invalid("spec.nodeSelector", wanted, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
    at = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
    before = list_at(held, "affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms")
    terms = list_at(spec, "affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms")
    if before and len(before) != len(terms):
        yield Cause.invalid(at, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
        return
    for index, (old, new) in enumerate(zip(before, terms, strict=False)):
        if any(new.get(kind, [])[: len(old.get(kind, []))] != old.get(kind, []) for kind in ("matchExpressions", "matchFields")):
            yield Cause.invalid(f"{at}[{index}]", new, "only additions are allowed (no mutations or deletions)")


def _fixed(spec: Mapping[str, Any], held: Mapping[str, Any], *, is_gated: bool) -> Mapping[str, Any]:
    """The part of `spec` that has rules of no other kind."""
    found = {field: value for field, value in spec.items() if field not in _APART}
    if is_gated:
        found.pop("nodeSelector", None)
        affinity = {kind: value for kind, value in obj_at(spec, "affinity").items() if kind != "nodeAffinity"}
        found["affinity"] = affinity or None
    grace = held.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        found["terminationGracePeriodSeconds"] = grace
    for kind in ("containers", "initContainers"):
        found[kind] = [{field: value for field, value in container.items() if field != "image"} for container in list_at(spec, kind)]
    return found
