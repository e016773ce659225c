"""Objects by which a cluster tells how it is set up: the range of service addresses, the levels of fairness, its API groups.

Nothing here waits for them; they are made in the background after the start.
Before: `cluster`. After: the cluster's own API. Everything is created only where it is missing.
Source: k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr, pkg/controlplane/apiserver/aggregator.go (priorities of groups),
k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import flowcontrol
from kcp.apis.kubernetes.kinds import KINDS
from kcp.client.rest import Client
from kcp.sim.addresses import SERVICE_NETWORK

_API_SERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices")
_SERVICE_CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs")
_MANAGER = "kube-apiserver"
_PRIORITIES: Mapping[str, int] = {
    "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600, "autoscaling": 17500,
    "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100, "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 15200,
}  # fmt: skip


async def ensure_first_objects(client: Client, now: str) -> None:
    for obj in flowcontrol.bootstrap_objects():
        await _ensure(client, _resource(obj), obj)
    network = {"apiVersion": _SERVICE_CIDRS.api_version, "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
    ready = {"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready"}
    await _ensure(client, _SERVICE_CIDRS, {**network, "spec": {"cidrs": [str(SERVICE_NETWORK)]}}, {**ready, "lastTransitionTime": now})
    local = {"type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available"}
    for obj in api_services():
        await _ensure(client, _API_SERVICES, obj, {**local, "lastTransitionTime": now})


def api_services() -> Iterable[JSONObject]:
    """One for each version of each group that is built in, but for the one that they belong to themselves."""
    for group, version in dict.fromkeys((kind.group, kind.version) for kind in KINDS):
        if group not in _PRIORITIES:
            continue
        labels = {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        spec: JSONObject = {
            "version": version,
            "groupPriorityMinimum": _PRIORITIES[group],
            "versionPriority": _version_priority(group, version),
        }
        yield {
            "apiVersion": _API_SERVICES.api_version,
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}", "labels": labels},
            "spec": {"group": group, **spec} if group else spec,
        }


def _version_priority(group: str, version: str) -> int:
    if not group:
        return 1
    return {"v2": 30, "v1": 15}.get(version, 9)


def _resource(obj: JSONObject) -> GVR:
    gvk = GVK.of(obj["apiVersion"], obj["kind"])
    return GVR(gvk.group, gvk.version, f"{gvk.kind.lower()}s")


async def _ensure(client: Client, gvr: GVR, obj: JSONObject, condition: JSONObject | None = None) -> None:
    resource = client.resource(gvr)
    try:
        await resource.create(obj, field_manager=_MANAGER)
    except AlreadyExists:
        return  # from an earlier start
    if condition is not None:
        await resource.patch(meta.name(obj), {"status": {"conditions": [condition]}}, subresource="status", field_manager=_MANAGER)
