"""Objects that the tests of admission write."""

from __future__ import annotations

from typing import Any

REGISTRATION = "admissionregistration.k8s.io/v1"
ON_CONFIG_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "nginx:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def validating_policy(name: str, *validations: dict[str, Any], rules: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    match = {"resourceRules": rules or [ON_CONFIG_MAPS], **spec.pop("match", {})}
    held = {"matchConstraints": match, "validations": list(validations), **spec}
    return {"apiVersion": REGISTRATION, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": held}


def binding_of(name: str, *actions: str, policy: str = "", **spec: Any) -> dict[str, Any]:
    held = {"policyName": policy or name, "validationActions": list(actions) or ["Deny"], **spec}
    return {"apiVersion": REGISTRATION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": held}


def applied(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def mutating_policy(name: str, *mutations: dict[str, Any], rules: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    held = {
        "matchConstraints": {"resourceRules": rules or [ON_CONFIG_MAPS]},
        "mutations": list(mutations),
        "reinvocationPolicy": "Never",
        **spec,
    }
    return {"apiVersion": REGISTRATION, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": held}


def mutating_binding(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": REGISTRATION,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, **spec},
    }


def widget_crd(openapi: dict[str, Any], *, versions: tuple[str, ...] = ("v1",)) -> dict[str, Any]:
    served = [
        {
            "name": name,
            "served": True,
            "storage": name == versions[0],
            "schema": {"openAPIV3Schema": openapi},
            "subresources": {"status": {}},
        }
        for name in versions
    ]
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": served}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}, "spec": spec,
    }  # fmt: skip


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}
