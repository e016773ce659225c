"""Where a Service of a simulated cluster really leads: its pods are simulated, but an external name or hand-written endpoints are not.

Before: admission webhooks that name a Service. After: the watch cache.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject

if TYPE_CHECKING:
    from kcp.apiserver.admission.webhooks.model import ServiceReference

_SERVICES = GroupResource("", "services")
_ENDPOINTS = GroupResource("", "endpoints")


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """Implements the resolver of webhook Services."""

    lookup: Callable[[GroupResource, ClusterName, str, str], Awaitable[JSONObject | None]]

    async def resolve(self, cluster: ClusterName, reference: ServiceReference) -> str | None:
        """`https://<address>:<port>`, None for a Service that is absent or has nothing but simulated pods behind it."""
        service = await self.lookup(_SERVICES, cluster, reference.namespace, reference.name)
        if service is None:
            return None
        spec: Mapping[str, Any] = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return f"https://{spec.get('externalName')}:{reference.port}"
        endpoints = await self.lookup(_ENDPOINTS, cluster, reference.namespace, reference.name)
        port = next((p for p in spec.get("ports") or () if p.get("port") == reference.port), None)
        if endpoints is None or port is None:
            return None
        return _first(endpoints, port.get("name") or "")


def _first(endpoints: JSONObject, port_name: str) -> str | None:
    for subset in endpoints.get("subsets") or ():
        address = next((a["ip"] for a in subset.get("addresses") or () if not a.get("targetRef")), None)
        port = next((p["port"] for p in subset.get("ports") or () if (p.get("name") or "") == port_name), None)
        if address is not None and port is not None:
            return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"
    return None
