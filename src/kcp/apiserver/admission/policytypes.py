"""The status of a ValidatingAdmissionPolicy: what type checking finds, worked out when the policy is written.

Upstream a controller of kube-controller-manager does it a moment later.
Before: `configurable`. After: `apimachinery.cel.policycheck`.
Source: k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus/controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject, generation
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes
from kcp.registry.resource import Catalog, Resource

_POLICIES = GroupResource("admissionregistration.k8s.io", "validatingadmissionpolicies")
_MOST_KINDS = 10


def policy_types(catalog: Catalog) -> Plugin:
    """Args: catalog: knows the kinds that policies name, custom ones too."""

    async def note(attributes: Attributes) -> JSONObject | None:
        new, old = attributes.new, attributes.old
        if new is not None and (old is None or new.get("spec") != old.get("spec")):
            new["status"] = _status(new, 1 if old is None else generation(old) + 1, attributes.scope.cluster, catalog)
        return new

    return Plugin(name="ValidatingAdmissionPolicyStatus", mutate=note, resources=frozenset((_POLICIES,)))


def _status(policy: JSONObject, observed: int, cluster: ClusterName, catalog: Catalog) -> JSONObject:
    from kcp.apimachinery.cel.policycheck import expression_warnings

    spec = policy.get("spec") or {}
    kinds = [(found.gvk, found.schema) for found in _named(spec, cluster, catalog) if found.schema is not None]
    warnings = expression_warnings(spec, kinds)
    return {"observedGeneration": observed, "typeChecking": {"expressionWarnings": warnings} if warnings else {}}


def _named(spec: Mapping[str, Any], cluster: ClusterName, catalog: Catalog) -> Iterable[Resource]:
    """The resources that the rules name without a wildcard, sorted by their kinds."""
    found: dict[GVR, Resource] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in name for name in (*groups, *versions)):
            continue
        names = [name for name in rule.get("resources") or () if "*" not in name and "/" not in name]
        for gvr in (GVR(group, version, name) for group in groups for version in versions for name in names):
            if (resource := catalog.resolve(cluster, gvr)) is not None:
                found[gvr] = resource
    return sorted(found.values(), key=lambda resource: resource.gvk)[:_MOST_KINDS]
