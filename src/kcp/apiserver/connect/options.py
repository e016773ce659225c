"""What a request for a connection asks for, as the object that admission and audit see.

Before: `sim.dialing`, `tmc.tunnel`. After: nothing.
Source: k8s.io/apiserver/pkg/endpoints/handlers/rest.go (ConnectResource), pkg/apis/core/types.go (the options),
pkg/apis/core/v1/conversion.go (Convert_url_Values_To_v1_PodExecOptions and its likes).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from kcp.apimachinery.errors import MethodNotAllowed, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, forbidden
from kcp.apiserver.request import Request
from kcp.apiserver.requestinfo import is_true
from kcp.registry.backend import Admission, Attributes, Scope
from kcp.registry.resource import Catalog, Resource

_STREAMS = ("GET", "POST")
_PROXIED = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
METHODS: Mapping[str, tuple[str, ...]] = {"attach": _STREAMS, "exec": _STREAMS, "portforward": _STREAMS, "proxy": _PROXIED}
_KINDS: Mapping[tuple[str, str], str] = {
    ("pods", "attach"): "PodAttachOptions", ("pods", "exec"): "PodExecOptions", ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions", ("nodes", "proxy"): "NodeProxyOptions", ("services", "proxy"): "ServiceProxyOptions",
}  # fmt: skip
_FLAGS = ("stdin", "stdout", "stderr", "tty")


def served(req: Request, catalog: Catalog) -> Resource:
    """The resource that is meant. Raises MethodNotAllowed, NotFound."""
    info = req.info
    if info.subresource in METHODS and req.method not in METHODS[info.subresource]:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    resource = catalog.resolve(info.cluster, GVR("", info.version, info.resource))
    if resource is None:
        raise NotFound("the server could not find the requested resource")
    return resource


async def authorize_creation(req: Request, authorizer: Authorizer) -> None:
    """A WebSocket is opened by GET: who may only `get` `pods/exec` must not run programs by it. Raises Forbidden.

    Source: pkg/registry/core/pod/rest/authorize.go (AuthorizePodWebsocketUpgradeCreatePermission, on since 1.35).
    """
    info = req.info
    if info.subresource == "proxy" or info.verb == "create":
        return
    attributes = AuthzAttributes(
        req.user, "create", info.cluster, info.group, info.resource, info.subresource, info.namespace, info.name, info.path
    )
    decision = await authorizer.authorize(attributes)
    if not decision.is_allowed:
        refusal: StatusError = forbidden(attributes, decision.reason)
        raise refusal


async def admit(req: Request, resource: Resource, asked: JSONObject, admission: Admission) -> None:
    """Ask webhooks and policies about the connection. Raises what they say."""
    info = req.info
    scope = Scope(resource, info.cluster, info.namespace, info.name, info.subresource)
    notes = req.audit.notes if req.audit is not None else None
    attributes = Attributes("CONNECT", scope, req.user, asked, None, warnings=req.warnings, notes=notes)
    await admission.mutate(attributes)
    await admission.validate(attributes)


def options(req: Request) -> JSONObject:
    """By the query, with what is not said left out; output is wanted unless refused, as upstream's defaults have it."""
    info = req.info
    made: JSONObject = {"kind": _KINDS[info.resource, info.subresource], "apiVersion": "v1"}
    given = parse_qs(req.query_string, keep_blank_values=True)
    if info.subresource == "proxy":
        rest = proxied_path(req)
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


def proxied_path(req: Request) -> str:
    """What follows `/proxy` in the URL."""
    return req.info.path.partition(f"/{req.info.name}/proxy")[2]
