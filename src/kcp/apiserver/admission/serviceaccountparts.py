"""What a ServiceAccount gives the Pods that run as it, and which secrets it lets them have. Pure.

Before: `serviceaccount`. Source: k8s.io/kubernetes/plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.checks import list_at, obj_at

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path, no secret
_VOLUME = "kube-api-access-"
_TOKEN_SECONDS = 3607
"""An hour and a recognizable bit. Source: pkg/serviceaccount/claims.go WarnOnlyBoundTokenExpirationSeconds."""
_ENFORCE_ANNOTATION = "kubernetes.io/enforce-mountable-secrets"
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_PARTS = {"initContainers": "init container", "containers": "container", "ephemeralContainers": "ephemeral container"}


def wants_token(account: JSONObject, spec: Mapping[str, Any]) -> bool:
    """The pod's wish comes first, then the account's."""
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def mount_token(spec: JSONObject, named: Callable[[str], str]) -> None:
    """A volume with token, CA and namespace in every container that has nothing in that place. Args: named: a name from its beginning."""
    held = next((v["name"] for v in list_at(spec, "volumes") if str(v.get("name", "")).startswith(_VOLUME)), None)
    volume = held or named(_VOLUME)
    without = [
        container
        for part in ("initContainers", "containers")
        for container in list_at(spec, part)
        if all(mount.get("mountPath") != TOKEN_PATH for mount in list_at(container, "volumeMounts"))
    ]
    for container in without:
        mount = {"name": volume, "readOnly": True, "mountPath": TOKEN_PATH}
        container["volumeMounts"] = [*list_at(container, "volumeMounts"), mount]
    if without and not held:
        spec["volumes"] = [*list_at(spec, "volumes"), {"name": volume, "projected": _token_source()}]


def _token_source() -> JSONObject:
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ],
        "defaultMode": 0o644,
    }


def is_enforced(account: JSONObject) -> bool:
    return meta.annotations(account).get(_ENFORCE_ANNOTATION) in _TRUE


def secret_faults(account: JSONObject, spec: Mapping[str, Any], part: str) -> Iterator[str]:
    """Secrets that the account does not list. Args: part: `containers`, with all that a new pod has, or `ephemeralContainers`."""
    mountable, me = {secret.get("name") for secret in list_at(account, "secrets")}, meta.name(account)
    if part == "containers":
        for volume in list_at(spec, "volumes"):
            if "secret" in volume and (name := obj_at(volume, "secret").get("secretName", "")) not in mountable:
                yield f'volume with secret.secretName="{name}" is not allowed because service account {me} does not reference that secret'
        yield from _environment_faults(spec, "initContainers", mountable, me)
    yield from _environment_faults(spec, part, mountable, me)
    if part == "containers":
        allowed = {secret.get("name") for secret in list_at(account, "imagePullSecrets")}
        for at, secret in enumerate(list_at(spec, "imagePullSecrets")):
            if (name := secret.get("name", "")) not in allowed:
                text = f'imagePullSecrets[{at}].name="{name}" is not allowed because service account {me} does not reference'
                yield f"{text} that imagePullSecret"


def _environment_faults(spec: Mapping[str, Any], part: str, mountable: set[Any], me: str) -> Iterator[str]:
    end = f"is not allowed because service account {me} does not reference that secret"
    for container in list_at(spec, part):
        what = f"{_PARTS[part]} {container.get('name')}"
        for variable in list_at(container, "env"):
            wanted = obj_at(variable, "valueFrom", "secretKeyRef")
            if wanted and (name := wanted.get("name", "")) not in mountable:
                yield f'{what} with envVar {variable.get("name")} referencing secret.secretName="{name}" {end}'
        for source in list_at(container, "envFrom"):
            if "secretRef" in source and (name := obj_at(source, "secretRef").get("name", "")) not in mountable:
                yield f'{what} with envFrom referencing secret.secretName="{name}" {end}'


def mirror_fault(pod: JSONObject) -> str:
    """A kubelet's own pod uses nothing of the API. "" for no fault."""
    spec = meta.nested(pod, "spec", default={})
    if spec.get("serviceAccountName"):
        return "a mirror pod may not reference service accounts"
    if any(_secrets(spec)):
        return "a mirror pod may not reference secrets"
    sources = (source for volume in list_at(spec, "volumes") for source in list_at(obj_at(volume, "projected"), "sources"))
    if any("serviceAccountToken" in source for source in sources):
        return "a mirror pod may not use ServiceAccountToken volume projections"
    return ""


def _secrets(spec: Mapping[str, Any]) -> Iterator[bool]:
    """Each place where a secret may be named. Source: pkg/api/v1/pod/util.go VisitPodSecretNames."""
    yield bool(list_at(spec, "imagePullSecrets"))
    for part in _PARTS:
        for container in list_at(spec, part):
            yield any("secretRef" in source for source in list_at(container, "envFrom"))
            yield any("secretKeyRef" in obj_at(variable, "valueFrom") for variable in list_at(container, "env"))
    for volume in list_at(spec, "volumes"):
        yield "secret" in volume or any("secret" in source for source in list_at(obj_at(volume, "projected"), "sources"))
        yield any("secretRef" in source for source in volume.values() if isinstance(source, Mapping))
