"""Rules of configuration, services, access and storage kinds, beyond their schemas; all faults of an object at once.

`rules` finds the workloads' rules here too. Source: k8s.io/kubernetes/pkg/apis/{core,rbac,networking}/validation/validation.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at
from kcp.apis.kubernetes.service_validation import service
from kcp.apis.kubernetes.storage_validation import persistent_volume_claim
from kcp.apis.kubernetes.workload_validation import (
    cron_job,
    daemon_set,
    deployment,
    horizontal_pod_autoscaler,
    job,
    pod,
    pod_disruption_budget,
    replica_set,
    replication_controller,
)

__all__ = [
    "binding", "config_map", "cron_job", "daemon_set", "deployment", "horizontal_pod_autoscaler", "ingress", "job",
    "persistent_volume_claim", "pod", "pod_disruption_budget", "replica_set", "replication_controller", "role",
    "secret", "service",
]  # fmt: skip

_MAX_DATA_BYTES = 1 << 20


def config_map(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    data, binary = obj_at(new, "data"), obj_at(new, "binaryData")
    causes = [*checks.data_keys(new, "data"), *checks.data_keys(new, "binaryData")]
    causes += [Cause.invalid(f"binaryData[{key}]", key, "duplicate of key present in data") for key in binary if key in data]
    causes += _size(sum(len(str(v).encode()) for v in data.values()) + sum(len(str(v)) * 3 // 4 for v in binary.values()), "")
    return [*causes, *checks.frozen_data(new, old, "data", "binaryData")]


def _size(total: int, at: str) -> Iterator[Cause]:
    if total > _MAX_DATA_BYTES:
        yield Cause.too_long(at, _MAX_DATA_BYTES)


_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def secret(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    data, kind = obj_at(new, "data"), str(new.get("type") or "")
    causes = [*checks.data_keys(new, "data"), *_base64(data)]
    causes += _size(sum(len(str(v)) * 3 // 4 for v in data.values()), "data")
    causes += [Cause.required(f"data[{key}]") for key in _SECRET_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        causes += [Cause.required("data[username]"), Cause.required("data[password]")]
    if kind == "kubernetes.io/service-account-token" and not obj_at(new, "metadata", "annotations").get(_ACCOUNT_NAME):
        causes.append(Cause.required(f"metadata.annotations[{_ACCOUNT_NAME}]"))
    if old is not None:
        causes += checks.unchanged(kind, old.get("type") or "", "type")
    return [*causes, *checks.frozen_data(new, old, "data")]


def _base64(data: Mapping[str, Any]) -> Iterator[Cause]:
    for key, value in data.items():
        if not isinstance(value, str):
            continue
        try:
            base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
        except binascii.Error as fault:
            yield Cause.invalid(f"data[{key}]", "<hidden>", f"illegal base64 data: {fault}")


def ingress(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes: list[Cause] = []
    if not list_at(spec, "rules") and not spec.get("defaultBackend"):
        causes.append(Cause.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified"))
    causes += checks.named(spec.get("ingressClassName"), "spec.ingressClassName", names.dns1123_subdomain)
    for path, rule in numbered(spec, "rules", "spec.rules"):
        host = str(rule.get("host") or "")
        causes += checks.named(host.removeprefix("*."), f"{path}.host", names.dns1123_subdomain)
        for at, one in numbered(obj_at(rule, "http"), "paths", f"{path}.http.paths"):
            causes += _ingress_path(one, at)
    return causes


def _ingress_path(held: Mapping[str, Any], at: str) -> Iterator[Cause]:
    kind, where = held.get("pathType"), str(held.get("path") or "")
    if not kind:
        yield Cause.required(f"{at}.pathType", "pathType must be specified")
    yield from checks.one_of(held, at, "pathType", ("Exact", "ImplementationSpecific", "Prefix"))
    if not where.startswith("/") and (where or kind in ("Exact", "Prefix")):
        yield Cause.invalid(f"{at}.path", where, "must be an absolute path")
    backend = obj_at(held, "backend", "service")
    if backend:
        yield from checks.required(backend, f"{at}.backend.service", "name")
        yield from checks.named(backend.get("name"), f"{at}.backend.service.name", names.dns1035_label)
        port = obj_at(backend, "port")
        if not port.get("number") and not port.get("name"):
            yield Cause.required(f"{at}.backend.service.port", "port name or number is required")
        yield from checks.port(port.get("number") or None, f"{at}.backend.service.port.number")


def role(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    """A Role or ClusterRole. Source: k8s.io/kubernetes/pkg/apis/rbac/validation/validation.go."""
    causes: list[Cause] = []
    namespaced = new.get("kind") == "Role"
    for path, rule in numbered(new, "rules", "rules"):
        if not list_at(rule, "verbs"):
            causes.append(Cause.required(f"{path}.verbs", "verbs must contain at least one value"))
        urls = list_at(rule, "nonResourceURLs")
        if urls:
            if namespaced:
                causes.append(Cause.invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs"))
            if any(list_at(rule, field) for field in ("apiGroups", "resources", "resourceNames")):
                detail = "rules cannot apply to both regular resources and non-resource URLs"
                causes.append(Cause.invalid(f"{path}.nonResourceURLs", urls, detail))
            continue
        if not list_at(rule, "apiGroups"):
            causes.append(Cause.required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not list_at(rule, "resources"):
            causes.append(Cause.required(f"{path}.resources", "resource rules must supply at least one resource"))
    for path, selector in numbered(obj_at(new, "aggregationRule"), "clusterRoleSelectors", "aggregationRule.clusterRoleSelectors"):
        causes += checks.selector(selector, path)
    return causes


def binding(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    """A RoleBinding or ClusterRoleBinding."""
    reference = obj_at(new, "roleRef")
    kinds = ("ClusterRole", "Role") if new.get("kind") == "RoleBinding" else ("ClusterRole",)
    causes = [
        *checks.one_of(reference, "roleRef", "apiGroup", ("rbac.authorization.k8s.io",)),
        *checks.one_of(reference, "roleRef", "kind", kinds),
        *checks.required(reference, "roleRef", "name"),
        *checks.named(reference.get("name"), "roleRef.name", names.path_segment),
    ]
    for path, subject in numbered(new, "subjects", "subjects"):
        causes += checks.required(subject, path, "name")
        causes += checks.one_of(subject, path, "kind", ("Group", "ServiceAccount", "User"))
        if subject.get("kind") == "ServiceAccount":
            causes += checks.named(subject.get("name"), f"{path}.name", names.dns1123_subdomain)
            if not subject.get("namespace") and new.get("kind") == "ClusterRoleBinding":
                causes.append(Cause.required(f"{path}.namespace"))
    if old is not None and reference != obj_at(old, "roleRef"):
        causes.append(Cause.invalid("roleRef", reference, "cannot change roleRef"))
    return causes
