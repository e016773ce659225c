"""The DNS of a cluster, as kubeadm installs it: pods in `kube-system` that tools look for, and the Service at the address that pods ask.

Nothing answers there: simulated pods listen on no port. Before: `cluster`. After: the cluster's own API.
Source: k8s.io/kubernetes/cmd/kubeadm/app/phases/addons/dns/manifests.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client

NAMESPACE = "kube-system"
_NAME, _LABELS = "coredns", {"k8s-app": "kube-dns"}
_ADDRESS = "10.96.0.10"
_IMAGE = "registry.k8s.io/coredns/coredns:v1.12.1"
_COREFILE = """.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa
    cache 30
    loop
    reload
    loadbalance
}
"""


async def ensure_dns(client: Client) -> None:
    for gvr, obj in _objects():
        metadata = {**obj["metadata"], "namespace": NAMESPACE}
        try:
            await client.resource(gvr).create({**obj, "metadata": metadata}, namespace=NAMESPACE, field_manager="kubeadm")
        except AlreadyExists:
            continue  # from an earlier start


def _objects() -> Iterator[tuple[GVR, JSONObject]]:
    named = {"name": _NAME}
    yield GVR("", "v1", "serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named}
    yield GVR("", "v1", "configmaps"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {"Corefile": _COREFILE}}
    yield GVR("apps", "v1", "deployments"), _deployment()
    labels = {**_LABELS, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
    ]  # fmt: skip
    spec = {"clusterIP": _ADDRESS, "selector": _LABELS, "ports": ports}
    yield (
        GVR("", "v1", "services"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "labels": labels}, "spec": spec},
    )


def _deployment() -> JSONObject:
    container = {
        "name": _NAME, "image": _IMAGE, "args": ["-conf", "/etc/coredns/Corefile"],
        "resources": {"limits": {"memory": "170Mi"}, "requests": {"cpu": "100m", "memory": "70Mi"}},
        "ports": [
            {"containerPort": 53, "name": "dns", "protocol": "UDP"}, {"containerPort": 53, "name": "dns-tcp", "protocol": "TCP"},
            {"containerPort": 9153, "name": "metrics", "protocol": "TCP"},
        ],
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
    }  # fmt: skip
    config = {"name": "config-volume", "configMap": {"name": _NAME, "items": [{"key": "Corefile", "path": "Corefile"}]}}
    pod = {
        "serviceAccountName": _NAME, "priorityClassName": "system-cluster-critical", "containers": [container], "dnsPolicy": "Default",
        "volumes": [config], "tolerations": [{"key": "CriticalAddonsOnly", "operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": _NAME, "labels": _LABELS},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": _LABELS}, "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        },
    }  # fmt: skip
