"""Objects by which a cluster tells how it is set up: the range of service addresses.

Nothing here waits for them; they are made in the background after the start.
Before: `cluster`. After: the cluster's own API. Everything is created only where it is missing.
Source: k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.sim.addresses import SERVICE_CIDRS, SERVICE_NETWORK

_MANAGER = "kube-apiserver"


async def ensure_first_objects(client: Client, now: str) -> None:
    network = {"apiVersion": SERVICE_CIDRS.api_version, "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}}
    ready = {"type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready"}
    await _ensure(client, SERVICE_CIDRS, {**network, "spec": {"cidrs": [str(SERVICE_NETWORK)]}}, {**ready, "lastTransitionTime": now})


async def _ensure(client: Client, gvr: GVR, obj: JSONObject, condition: JSONObject | None = None) -> None:
    resource = client.resource(gvr)
    try:
        await resource.create(obj, field_manager=_MANAGER)
    except AlreadyExists:
        return  # from an earlier start
    if condition is not None:
        await resource.patch(meta.name(obj), {"status": {"conditions": [condition]}}, subresource="status", field_manager=_MANAGER)
