"""Subresources that lead into containers, nodes and services (`exec`, `attach`, `portforward`, `proxy`): refused with a reason, because
what is simulated runs no programs and listens on no port.

Admission is asked first, as for any connection, so that webhooks and policies refuse in their own words.
Before: `apiserver.resources`, as connectors. After: admission, and the registry, which says whether there is such an object at all.
Source: pkg/registry/core/pod/rest/subresources.go, pkg/registry/core/{node,service}/storage (the forms of names: `scheme:name:port`),
k8s.io/apiserver/pkg/endpoints/handlers/rest.go (ConnectResource), pkg/apis/core/types.go (the options).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from kcp.apimachinery.errors import BadRequest, MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Handler, Request, Response
from kcp.apiserver.requestinfo import is_true
from kcp.registry.backend import Admission, Attributes, Backend, Scope
from kcp.registry.resource import Catalog

_STREAMS = ("GET", "POST")
_PROXIED = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_METHODS: Mapping[str, tuple[str, ...]] = {"attach": _STREAMS, "exec": _STREAMS, "portforward": _STREAMS, "proxy": _PROXIED}
_KINDS: Mapping[tuple[str, str], str] = {
    ("pods", "attach"): "PodAttachOptions", ("pods", "exec"): "PodExecOptions", ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions", ("nodes", "proxy"): "NodeProxyOptions", ("services", "proxy"): "ServiceProxyOptions",
}  # fmt: skip
_FLAGS = ("stdin", "stdout", "stderr", "tty")
_REFUSALS: Mapping[str, str] = {
    "pods": "containers of a simulated cluster run no programs: {what} of pod {name} is not possible",
    "nodes": "nodes of a simulated cluster have no kubelet: {what} of node {name} is not possible",
    "services": "pods of a simulated cluster listen on no port: {what} of service {name} is not possible",
}


@dataclass(frozen=True, slots=True)
class Dialing:
    catalog: Catalog
    backend: Backend
    admission: Admission

    def connectors(self) -> Mapping[tuple[str, str, str], Handler]:
        found = {("", "pods", subresource): self.refuse for subresource in _METHODS}
        return found | {("", resource, "proxy"): self.refuse for resource in ("nodes", "services")}

    async def refuse(self, req: Request) -> Response:
        """Raises: NotFound, MethodNotAllowed, what admission says, or else BadRequest."""
        info = req.info
        if req.method not in _METHODS[info.subresource]:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        resource = self.catalog.resolve(info.cluster, GVR("", info.version, info.resource))
        if resource is None:
            raise NotFound("the server could not find the requested resource")
        scope = Scope(resource, info.cluster, info.namespace, info.name, info.subresource)
        notes = req.audit.notes if req.audit is not None else None
        asked = Attributes("CONNECT", scope, req.user, _options(req), None, warnings=req.warnings, notes=notes)
        await self.admission.mutate(asked)
        await self.admission.validate(asked)
        name = _name(info.name) if info.subresource == "proxy" else info.name
        await self.backend.get(Scope(resource, info.cluster, info.namespace, name))
        raise BadRequest(_REFUSALS[info.resource].format(what=info.subresource, name=name))


def _options(req: Request) -> JSONObject:
    """What the query asks for, as the object that admission sees. Source: Convert_url_Values_To_v1_PodExecOptions and its likes."""
    info = req.info
    made: JSONObject = {"kind": _KINDS[info.resource, info.subresource], "apiVersion": "v1"}
    given = parse_qs(req.query_string, keep_blank_values=True)
    if info.subresource == "proxy":
        rest = req.info.path.partition(f"/{info.name}/proxy")[2]
        return made | ({"path": rest} if rest else {})
    if info.subresource == "portforward":
        ports = [int(port) for text in given.get("ports", ()) for port in text.split(",") if port.isascii() and port.isdigit()]
        return made | ({"ports": ports} if ports else {})
    made |= {flag: True for flag in _FLAGS if flag in given and is_true(given[flag][0])}
    if container := given.get("container", [""])[0]:
        made["container"] = container
    if info.subresource == "exec" and "command" in given:
        made["command"] = given["command"]
    return made


def _name(text: str) -> str:
    """The object's name in `name`, `name:port` or `scheme:name:port`.

    >>> _name("web"), _name("web:80"), _name("https:web:"), _name("http:web:80")
    ('web', 'web', 'web', 'web')
    """
    parts = text.split(":")
    return parts[1] if len(parts) == 3 else parts[0]
