"""Subresources that lead into containers, nodes and services (`exec`, `attach`, `portforward`, `proxy`): refused with a reason, because
what is simulated runs no programs and listens on no port.

Before: `apiserver.resources`, as connectors. After: the registry, which says whether there is such an object at all.
Source: pkg/registry/core/pod/rest/subresources.go, pkg/registry/core/{node,service}/storage (the forms of names: `scheme:name:port`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kcp.apimachinery.errors import BadRequest, MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apiserver.request import Handler, Request, Response
from kcp.registry.backend import Backend, Scope
from kcp.registry.resource import Catalog

_STREAMS = ("GET", "POST")
_PROXIED = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_METHODS: Mapping[str, tuple[str, ...]] = {"attach": _STREAMS, "exec": _STREAMS, "portforward": _STREAMS, "proxy": _PROXIED}
_REFUSALS: Mapping[str, str] = {
    "pods": "containers of a simulated cluster run no programs: {what} of pod {name} is not possible",
    "nodes": "nodes of a simulated cluster have no kubelet: {what} of node {name} is not possible",
    "services": "pods of a simulated cluster listen on no port: {what} of service {name} is not possible",
}


@dataclass(frozen=True, slots=True)
class Dialing:
    catalog: Catalog
    backend: Backend

    def connectors(self) -> Mapping[tuple[str, str, str], Handler]:
        found = {("", "pods", subresource): self.refuse for subresource in _METHODS}
        return found | {("", resource, "proxy"): self.refuse for resource in ("nodes", "services")}

    async def refuse(self, req: Request) -> Response:
        """Raises: NotFound, MethodNotAllowed, or else BadRequest."""
        info = req.info
        if req.method not in _METHODS[info.subresource]:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        resource = self.catalog.resolve(info.cluster, GVR("", info.version, info.resource))
        if resource is None:
            raise NotFound("the server could not find the requested resource")
        name = _name(info.name) if info.subresource == "proxy" else info.name
        await self.backend.get(Scope(resource, info.cluster, info.namespace, name))
        raise BadRequest(_REFUSALS[info.resource].format(what=info.subresource, name=name))


def _name(text: str) -> str:
    """The object's name in `name`, `name:port` or `scheme:name:port`.

    >>> _name("web"), _name("web:80"), _name("https:web:"), _name("http:web:80")
    ('web', 'web', 'web', 'web')
    """
    parts = text.split(":")
    return parts[1] if len(parts) == 3 else parts[0]
