"""How a program in the physical cluster talks to its workspace as if it ran there: the 0.11 mutators. Pure, but for `Tokens`.

A workload whose service account has a token in the workspace (a Secret of type kubernetes.io/service-account-token) gets that token, kcp's
root certificate and kcp's address where client libraries look for those of a cluster. Without such a token it stays as it is, and talks to
the cluster that it runs in. Names of services resolve in the cluster's own way: no name server of kcp's is put in front.
Before: `rendering`. After: nothing.
Source: kcp release-0.11 pkg/syncer/spec/mutators/podspecable.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.syncer.downstream import downstream_name

TEMPLATED = frozenset(
    (GroupResource("apps", "deployments"), GroupResource("apps", "statefulsets"), GroupResource("apps", "replicasets"),
     GroupResource("apps", "daemonsets"))
)  # fmt: skip
"""Workloads whose pod templates may change; those of Jobs may not."""
SECRETS = GVR("", "v1", "secrets")
BY_TOKEN = "tmc-token"
"""Index of Secrets: workspace and namespace of those that are tokens."""
TOKEN_TYPE = "kubernetes.io/service-account-token"
_ACCOUNT = "kubernetes.io/service-account.name"
_CONFIG_MAPS = GroupResource("", "configmaps")
_VOLUME = "kcp-api-access"
_MOUNT = {"name": _VOLUME, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def is_token(secret: Mapping[str, Any]) -> bool:
    """Whether this is a service account's token, and already filled in."""
    return secret.get("type") == TOKEN_TYPE and bool((secret.get("data") or {}).get("token"))


def index_by_token(secret: Mapping[str, Any]) -> Iterable[str]:
    return [_where(secret)] if is_token(secret) else []


def _where(obj: Mapping[str, Any]) -> str:
    return str(ObjectKey(meta.cluster(obj), meta.namespace(obj), ""))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The service account tokens of the workspaces that this syncer serves."""

    secrets: Informer
    """Of the syncer's view, with index BY_TOKEN."""

    async def wait_known(self) -> None:
        """Pods should not be started once without a token and then again with it."""
        if not self.secrets.has_synced:
            await self.secrets.wait_synced()

    def of(self, view: JSONObject) -> str:
        """`token_of` for a workload, of what is known."""
        where = _where(view)
        return token_of(account_of(view), self.secrets.by_index(BY_TOKEN, where)) if self.secrets.is_indexed(BY_TOKEN, where) else ""


def account_of(view: JSONObject) -> str:
    """Name of the service account that a workload's pods run as."""
    spec = meta.nested(view, "spec", "template", "spec", default={})
    return spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"


def token_of(account: str, secrets: Iterable[JSONObject]) -> str:
    """Name downstream of the oldest token of an account; "" if it has none. The oldest: a further token restarts nothing."""
    mine = [s for s in secrets if is_token(s) and meta.annotations(s).get(_ACCOUNT) == account and not meta.deletion_timestamp(s)]
    first = min(mine, key=lambda s: (meta.creation_timestamp(s), meta.name(s)), default=None)
    return downstream_name(SECRETS.group_resource, meta.name(first)) if first is not None else ""


def with_access(view: JSONObject, secret: str, workspace_url: str) -> JSONObject:
    """The workload with its workspace in place of the cluster. `view` is not changed.

    Args: secret: name downstream of the token's Secret. workspace_url: as the syncer's view says.
    """
    url = urlsplit(workspace_url)
    address = {"KUBERNETES_SERVICE_HOST": url.hostname or "", "KUBERNETES_SERVICE_PORT": str(url.port or 443)}
    address["KUBERNETES_SERVICE_PORT_HTTPS"] = address["KUBERNETES_SERVICE_PORT"]
    wanted: JSONObject = meta.copy_json(view)
    spec = wanted["spec"]["template"]["spec"]
    spec["automountServiceAccountToken"] = False
    for field in ("serviceAccountName", "serviceAccount"):  # the account is not the cluster's
        spec.pop(field, None)
    spec["volumes"] = [*(v for v in spec.get("volumes") or () if v.get("name") != _VOLUME), _volume(secret)]
    for container in _containers(spec):
        held = [_resolved(entry, meta.namespace(view)) for entry in container.get("env") or () if entry.get("name") not in address]
        container["env"] = [*held, *({"name": name, "value": value} for name, value in address.items())]
        mounts = [m for m in container.get("volumeMounts") or () if m.get("mountPath") != _MOUNT["mountPath"]]
        container["volumeMounts"] = [*mounts, dict(_MOUNT)]
    return wanted


def _containers(spec: JSONObject) -> Iterator[JSONObject]:
    for field in _CONTAINERS:
        yield from spec.get(field) or ()


def _resolved(entry: JSONObject, namespace: str) -> JSONObject:
    """Of the downward API only the namespace is another one in the cluster."""
    if meta.nested(entry, "valueFrom", "fieldRef", "fieldPath") == "metadata.namespace":
        return {"name": entry["name"], "value": namespace}
    return entry


def _volume(secret: str) -> JSONObject:
    items = [{"key": key, "path": key} for key in ("token", "namespace")]
    root = {"name": downstream_name(_CONFIG_MAPS, "kube-root-ca.crt"), "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources = [{"secret": {"name": secret, "items": items}}, {"configMap": root}]
    return {"name": _VOLUME, "projected": {"defaultMode": 420, "sources": sources}}
