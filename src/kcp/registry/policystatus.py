"""The status of a ValidatingAdmissionPolicy: what type checking finds, worked out when the policy is written.

Upstream a controller of kube-controller-manager does it a moment later.
Before: `builtin`, as the kind's strategy. After: `apimachinery.cel.policycheck`.
Source: k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus/controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.meta import JSONObject, generation
from kcp.apimachinery.schema.structural import Schema
from kcp.apis.kubernetes.kinds import KINDS

_MOST_KINDS = 10

SchemaOf: TypeAlias = Callable[[GVK], Schema | None]


def status_hooks(schema_of: SchemaOf) -> tuple[Callable[[JSONObject, str], None], Callable[[JSONObject, JSONObject], None]]:
    """`prepare_create` and `prepare_update` of the kind."""

    def create(new: JSONObject, now: str) -> None:
        _check(new, 1, schema_of)

    def update(new: JSONObject, old: JSONObject) -> None:
        if new.get("spec") != old.get("spec"):
            _check(new, generation(old) + 1, schema_of)

    return create, update


def _check(policy: JSONObject, observed: int, schema_of: SchemaOf) -> None:
    from kcp.apimachinery.cel.policycheck import expression_warnings

    spec = policy.get("spec") or {}
    kinds = [(gvk, schema) for gvk in _kinds(spec) if (schema := schema_of(gvk)) is not None]
    warnings = expression_warnings(spec, kinds)
    policy["status"] = {"observedGeneration": observed, "typeChecking": {"expressionWarnings": warnings} if warnings else {}}


def _kinds(spec: Mapping[str, Any]) -> Iterable[GVK]:
    """Kubernetes' own kinds that the rules name without a wildcard, sorted."""
    by_name = {kind.gvr: kind.gvk for kind in KINDS}
    found: set[GVK] = set()
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in name for name in (*groups, *versions)):
            continue
        names = [name for name in rule.get("resources") or () if "*" not in name and "/" not in name]
        wanted = (GVR(group, version, name) for group in groups for version in versions for name in names)
        found |= {by_name[gvr] for gvr in wanted if gvr in by_name}
    return sorted(found)[:_MOST_KINDS]
