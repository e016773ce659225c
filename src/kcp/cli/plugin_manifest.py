"""What a physical cluster is given to run a syncer, and what the syncer's account may do in kcp. Pure.

Before: `plugin_workload`. After: nothing.
Source: kcp release-0.11 pkg/cliplugins/workload/plugin/{sync.go,syncer.yaml}.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby

from kcp.apimachinery.meta import JSONObject

_RBAC = "rbac.authorization.k8s.io"
_KUBECONFIG = "kubeconfig"
_MOUNT = "/kcp/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    target: str
    uid: str
    cluster: str
    """Path of the SyncTarget's workspace."""
    account: str
    """`kcp-syncer-<name>-<hash>`: name of everything below."""
    namespace: str
    kcp_namespace: str
    server: str
    ca_pem: bytes
    token: str = field(repr=False)
    insecure: bool
    image: str
    replicas: int
    resources: tuple[str, ...]
    permitted: frozenset[tuple[str, str]]
    """(group, plural) that the syncer may do everything with."""
    qps: float
    burst: int
    feature_gates: str
    api_import_poll_interval_s: float
    namespace_clean_delay_s: float
    upsync_resources: tuple[str, ...] = ()
    """Of the cluster, to be shown in workspaces."""


def syncer_roles(metadata: JSONObject, target: str, namespace: str) -> tuple[JSONObject, JSONObject]:
    """ClusterRole and ClusterRoleBinding of a syncer in kcp."""
    group = "workload.kcp.io"
    rules = [
        {"apiGroups": [group], "resources": ["synctargets"], "verbs": ["sync"], "resourceNames": [target]},
        {"apiGroups": [group], "resources": ["synctargets/tunnel"], "verbs": ["get"], "resourceNames": [target]},
        {"apiGroups": [group], "resources": ["synctargets"], "verbs": ["get"], "resourceNames": [target]},
        {"apiGroups": [group], "resources": ["synctargets"], "verbs": ["list", "watch"]},
        {"apiGroups": [group], "resources": ["synctargets/status"], "verbs": ["update", "patch"], "resourceNames": [target]},
        {"apiGroups": ["apiresource.kcp.io"], "resources": ["apiresourceimports"], "verbs": ["*"]},
        {"apiGroups": ["workload.kcp.io"], "resources": ["resourceimports"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["workload.kcp.io"], "resources": ["resourceimports/status"], "verbs": ["patch", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"], "resourceNames": ["syncer-transformations"]},
    ]
    role: JSONObject = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": dict(metadata), "rules": rules}
    return role, _binding("ClusterRole", str(metadata["name"]), dict(metadata), str(metadata["name"]), namespace)


def _binding(kind: str, role: str, metadata: JSONObject, account: str, namespace: str) -> JSONObject:
    return {
        "apiVersion": f"{_RBAC}/v1", "kind": f"{kind}Binding", "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }  # fmt: skip


def render(manifest: Manifest) -> str:
    """YAML documents, in the order that `kubectl apply` needs."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    texts = [yaml.dump(obj, Dumper=dumper, sort_keys=False, default_flow_style=False, width=1 << 16) for obj in objects(manifest)]
    return "---\n" + "---\n".join(texts)


def objects(manifest: Manifest) -> list[JSONObject]:
    """The syncer's namespace with all that is in it, and its rights in the cluster. No DNS server: names resolve without kcp's."""
    name, namespace = manifest.account, manifest.namespace
    dns = name.replace("kcp-syncer-", "kcp-dns-", 1)
    inside = {"namespace": namespace}
    token_of = {"annotations": {"kubernetes.io/service-account.name": name}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, **inside}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-token", **inside, **token_of},
         "type": "kubernetes.io/service-account-token"},
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": _rules(manifest)},
        _binding("ClusterRole", name, {"name": name}, name, namespace),
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": {"name": dns, **inside}, "rules": _DNS_RULES},
        _binding("Role", dns, {"name": dns, **inside}, name, namespace),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **inside}, "stringData": {_KUBECONFIG: _kubeconfig(manifest)}},
        _deployment(manifest),
    ]  # fmt: skip


_DNS_RULES = [
    {"apiGroups": [""], "resources": ["serviceaccounts", "services"], "verbs": ["create", "get", "list", "update", "delete", "watch"]},
    {"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["create", "get", "list", "update", "delete", "watch"]},
    {"apiGroups": [_RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create", "get", "list", "update", "delete", "watch"]},
]


def _rules(manifest: Manifest) -> list[JSONObject]:
    every = ["create", "get", "list", "watch", "patch", "update", "delete"]
    found: list[JSONObject] = [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": every},
        {"apiGroups": [""], "resources": ["endpoints", "events", "nodes", "persistentvolumes", "pods"], "verbs": ["get", "list", "watch"]},
        {
            "apiGroups": [""],
            "resources": ["pods/attach", "pods/exec", "pods/log", "pods/portforward", "pods/proxy"],
            "verbs": ["create", "get"],
        },
        {"apiGroups": ["metrics.k8s.io"], "resources": ["nodes"], "verbs": ["get", "list"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["get", "watch", "list"]},
    ]
    for group, entries in groupby(sorted(manifest.permitted), key=lambda entry: entry[0]):
        plurals = [plural for _, plural in entries]
        found.append({"apiGroups": [group], "resources": [*plurals, *(f"{plural}/status" for plural in plurals)], "verbs": ["*"]})
    return found


def _kubeconfig(manifest: Manifest) -> str:
    import yaml

    cluster: JSONObject = {"server": manifest.server}
    if manifest.ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(manifest.ca_pem).decode()
    if manifest.insecure:
        cluster["insecure-skip-tls-verify"] = True
    document: JSONObject = {
        "apiVersion": "v1", "kind": "Config", "current-context": "default-context",
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "contexts": [{"name": "default-context",
                      "context": {"cluster": "default-cluster", "namespace": manifest.kcp_namespace, "user": "default-user"}}],
        "users": [{"name": "default-user", "user": {"token": manifest.token}}],
    }  # fmt: skip
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=1 << 16)
    return text


def _deployment(manifest: Manifest) -> JSONObject:
    labels: Mapping[str, str] = {"app": manifest.account}
    container: JSONObject = {
        "name": "kcp-syncer",
        "image": manifest.image,
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "command": ["/ko-app/syncer" if _is_kcps_own(manifest.image) else "workload-syncer"],
        "args": arguments(manifest),
        "env": [{"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "volumeMounts": [{"name": "kcp-config", "mountPath": _MOUNT, "readOnly": True}],
    }
    pod = {
        "containers": [container],
        "serviceAccountName": manifest.account,
        "volumes": [{"name": "kcp-config", "secret": {"secretName": manifest.account, "optional": False}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": manifest.account, "namespace": manifest.namespace},
        "spec": {
            "replicas": manifest.replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def _is_kcps_own(image: str) -> bool:
    """Whether an image holds the Go syncer of kcp 0.11, which has another name and further flags.

    >>> _is_kcps_own("ghcr.io/kcp-dev/kcp/syncer:v0.11.0")
    True
    """
    return image.partition("@")[0].rpartition("/")[0].endswith("kcp-dev/kcp")


def arguments(manifest: Manifest) -> list[str]:
    """The syncer's line, with the flags of kcp 0.11."""
    return [
        f"--from-kubeconfig={_MOUNT}{_KUBECONFIG}",
        f"--sync-target-name={manifest.target}",
        f"--sync-target-uid={manifest.uid}",
        f"--from-cluster={manifest.cluster}",
        f"--api-import-poll-interval={manifest.api_import_poll_interval_s:g}s",
        f"--downstream-namespace-clean-delay={manifest.namespace_clean_delay_s:g}s",
        *(f"--resources={resource}" for resource in manifest.resources),
        *([f"--dns-image={manifest.image}"] if _is_kcps_own(manifest.image) else []),
        *(f"--upsync-resources={resource}" for resource in manifest.upsync_resources if not _is_kcps_own(manifest.image)),
        f"--qps={manifest.qps:g}",
        f"--burst={manifest.burst}",
        *([f"--feature-gates={manifest.feature_gates}"] if manifest.feature_gates else []),
    ]
