"""ComponentStatuses: what a cluster's control plane consists of. Nobody can write them, so they are put straight into the registry.

Before: `server`. After: the registry. Source: k8s.io/kubernetes/pkg/registry/core/componentstatus/rest.go.
"""

from __future__ import annotations

from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import LOCAL
from kcp.registry.backend import Backend, Scope, UserInfo, WriteOptions
from kcp.registry.resource import Catalog

_STATUSES = GVR("", "v1", "componentstatuses")
_COMPONENTS = {"controller-manager": "ok", "etcd-0": "ok", "scheduler": "ok"}
_SERVER = UserInfo("system:apiserver", ("system:masters", "system:authenticated"))


async def ensure_component_statuses(catalog: Catalog, backend: Backend) -> None:
    resource = catalog.resolve(LOCAL, _STATUSES)
    assert resource is not None, "a physical cluster serves its ComponentStatuses"
    for name, message in _COMPONENTS.items():
        status = {"metadata": {"name": name}, "conditions": [{"type": "Healthy", "status": "True", "message": message}]}
        try:
            await backend.create(Scope(resource, LOCAL), status, WriteOptions(user=_SERVER, operation="Apply"))
        except AlreadyExists:
            continue  # from an earlier start
