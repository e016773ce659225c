"""What a physical cluster holds from its first moment: namespaces, a storage class, the service `kubernetes`, the default roles.

Before: `cluster`, at start. After: the cluster's own API. Everything is created only where it is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.bootstrap import bootstrap_policy
from kcp.client.rest import Client
from kcp.sim.addresses import KUBERNETES_IP
from kcp.sim.defaultclasses import DEFAULT_MARK
from kcp.sim.priority import PRIORITY_CLASSES, system_classes
from kcp.sim.workloads.endpoints import ENDPOINTS, SERVICES
from kcp.sim.workloads.slices import ENDPOINT_SLICES, SERVICE_NAME_LABEL
from kcp.sim.workloads.volumes import PROVISIONER, STORAGE_CLASSES

NAMESPACES = GVR("", "v1", "namespaces")
CONFIG_MAPS = GVR("", "v1", "configmaps")
_RBAC = {
    "ClusterRole": GVR("rbac.authorization.k8s.io", "v1", "clusterroles"),
    "ClusterRoleBinding": GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
}
_SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_MANAGER = "kube-apiserver"
_ADVERTISED = "172.18.0.1"
"""Where pods would find an API server that listens on the loopback only, which Endpoints may not name: beside the simulated nodes."""


async def ensure_namespaces(client: Client) -> None:
    for name in _SYSTEM_NAMESPACES:
        await _ensure(client, NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def ensure_storage_class(client: Client) -> None:
    """Class `standard`, the default one, whose volumes are made when they are claimed."""
    standard = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {DEFAULT_MARK: "true"}},
        "provisioner": PROVISIONER,
    }
    await _ensure(client, STORAGE_CLASSES, standard)


async def ensure_priority_classes(client: Client) -> None:
    for made in system_classes():
        await _ensure(client, PRIORITY_CLASSES, made)


async def ensure_kubernetes_service(client: Client, host: str, port: int) -> None:
    """The service under which pods reach the API. Source: pkg/controlplane/controller/kubernetesservice."""
    host = _ADVERTISED if ip_address(host).is_loopback else host
    ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {"clusterIP": KUBERNETES_IP, "type": "ClusterIP", "ports": ports, "sessionAffinity": "None"},
    }
    subsets = [{"addresses": [{"ip": host}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]
    held = {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}
    await _ensure(client, SERVICES, service)
    await _ensure(client, ENDPOINTS, {"apiVersion": "v1", "kind": "Endpoints", "metadata": held, "subsets": subsets})
    named = {"name": "kubernetes", "namespace": "default", "labels": {SERVICE_NAME_LABEL: "kubernetes"}}
    made = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": named,
        "addressType": f"IPv{ip_address(host).version}",
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        "ports": subsets[0]["ports"],
    }
    await _ensure(client, ENDPOINT_SLICES, made)


async def ensure_authentication_info(client: Client, client_ca: str, proxy: str, proxy_ca: str) -> None:
    """By what extension API servers know the users of this cluster. Source: pkg/controlplane/controller/clusterauthenticationtrust."""
    named = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    data = {
        "client-ca-file": client_ca,
        "requestheader-allowed-names": f'["{proxy}"]',
        "requestheader-client-ca-file": proxy_ca,
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-username-headers": '["X-Remote-User"]',
    }
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": data}
    await _ensure(client, CONFIG_MAPS, held)


async def ensure_policy(client: Client) -> None:
    """The default roles as objects, for `kubectl get clusterroles`; they hold without that."""
    await _ensure_all(client, bootstrap_policy())


async def _ensure_all(client: Client, objects: Iterable[JSONObject]) -> None:
    for obj in objects:
        await _ensure(client, _RBAC[obj["kind"]], obj)


async def _ensure(client: Client, gvr: GVR, obj: JSONObject) -> None:
    try:
        await client.resource(gvr).create(obj, namespace=meta.namespace(obj), field_manager=_MANAGER)
    except AlreadyExists:
        return  # from an earlier start
