"""Subresources that lead into containers, nodes and services of a simulated cluster: `exec`, `attach`, `portforward` and `proxy`.

Admission is asked first, as for any connection, so that webhooks and policies refuse in their own words. What can be had is what a
container that runs no program can honestly give: see docs/simulation.md.
Before: `apiserver.resources`, as connectors. After: `apiserver.connect` (protocols), `execution`, `podlogs`, `podports`, `nodeports`.
Source: pkg/registry/core/pod/rest/subresources.go, pkg/registry/core/pod/strategy.go (ExecLocation and its likes),
pkg/registry/core/{node,service}/storage (the forms of names: `scheme:name:port`), pkg/kubelet/server/server.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest, InternalError, ServiceUnavailable
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apiserver.authz.attributes import Authorizer
from kcp.apiserver.connect import portforward, remotecommand
from kcp.apiserver.connect.options import METHODS, admit, authorize_creation, options, proxied_path, served
from kcp.apiserver.request import Handler, Request, Response
from kcp.registry.backend import Admission, Backend, Scope
from kcp.registry.resource import Catalog, Resource
from kcp.sim import podports
from kcp.sim.attaching import Attaching
from kcp.sim.execution import Executions
from kcp.sim.kubeletproxy import kubelet_answer
from kcp.sim.podlogs import container_name, container_spec, container_status
from kcp.sim.podverbs import PodVerbs
from kcp.streams.ways import Duplex


@dataclass(frozen=True, slots=True)
class Dialing:
    catalog: Catalog
    backend: Backend
    admission: Admission
    authorizer: Authorizer
    pods: Callable[[ClusterName, str], Awaitable[Sequence[JSONObject]]]
    """Of a namespace, or of all for ""."""
    verbs: PodVerbs
    executions: Executions

    def connectors(self) -> Mapping[tuple[str, str, str], Handler]:
        found = {("", "pods", subresource): self.connect for subresource in METHODS}
        return found | {("", resource, "proxy"): self.connect for resource in ("nodes", "services")}

    async def connect(self, req: Request) -> Response:
        """Raises: NotFound, MethodNotAllowed, what admission says, BadRequest, ServiceUnavailable."""
        info = req.info
        resource = served(req, self.catalog)
        asked = options(req)
        await authorize_creation(req, self.authorizer)
        await admit(req, resource, asked, self.admission)
        name, port = _name(info.name) if info.subresource == "proxy" else (info.name, "")
        obj = (await self.backend.get(Scope(resource, info.cluster, info.namespace, name))).decode()
        if info.subresource == "proxy":
            return await self._proxy(req, resource, obj, port)
        if not meta.nested(obj, "spec", "nodeName"):
            raise BadRequest(f"pod {name} does not have a host assigned")
        if info.subresource == "portforward":
            return self._forward(req, obj)
        container = container_name(obj, asked.get("container") or "")
        status = container_status(obj, container)
        if "running" not in (status.get("state") or {}):
            raise InternalError(f'Internal error occurred: unable to upgrade connection: container not found ("{container}")')
        if info.subresource == "attach":
            attaching = Attaching(self.backend, self.verbs, self.executions, self.executions.clock)
            return remotecommand.respond(req, asked, lambda console: attaching.attach(req, obj, container, asked, console))
        spec, words = container_spec(obj, container), list(asked.get("command") or ())
        restarts = status.get("restartCount") or 0
        return remotecommand.respond(req, asked, lambda console: self.executions.execute(obj, spec, restarts, words, console))

    @staticmethod
    def _forward(req: Request, pod: JSONObject) -> Response:
        if meta.nested(pod, "status", "phase") != "Running":
            raise BadRequest(f"unable to forward port because pod is not running. Current status={meta.nested(pod, 'status', 'phase')}")

        async def dial(port: int, wire: Duplex) -> None:
            await podports.connect(pod, port, wire)

        return portforward.respond(req, dial)

    async def _proxy(self, req: Request, resource: Resource, obj: JSONObject, port: str) -> Response:
        path = proxied_path(req)
        if not path and req.method in ("GET", "HEAD"):
            return Response(301, headers=(("location", req.path + "/" + (f"?{req.query_string}" if req.query_string else "")),))
        match resource.gvr.resource:
            case "nodes":
                pods = await self.pods(req.info.cluster, "")
                return kubelet_answer(path, [pod for pod in pods if meta.nested(pod, "spec", "nodeName") == meta.name(obj)])
            case "services":
                return await self._service(req, obj, port, path)
        wanted = int(port) if port.isdigit() else port or podports.first_port(obj)
        return _answered(req, obj, wanted, path)

    async def _service(self, req: Request, service: JSONObject, port: str, path: str) -> Response:
        """The first ready pod behind it. Source: pkg/registry/core/service/storage/storage.go (ResourceLocation)."""
        name = meta.name(service)
        ports = meta.nested(service, "spec", "ports", default=())
        meant = next((p for p in ports if port in (str(p.get("port")), p.get("name")) or (not port and len(ports) == 1)), None)
        if meant is None:
            raise ServiceUnavailable(f'no service port "{port}" found for service "{name}"')
        selector = meta.nested(service, "spec", "selector", default={})
        wanted = LabelSelector.parse(",".join(f"{key}={value}" for key, value in selector.items()))
        for pod in await self.pods(req.info.cluster, req.info.namespace):
            if selector and conditions.is_true(pod, "Ready") and wanted.matches(meta.labels(pod)):
                return _answered(req, pod, meant.get("targetPort") or meant["port"], path)
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')


def _answered(req: Request, pod: JSONObject, port: int | str, path: str) -> Response:
    found = podports.listener(pod, port)
    if found is None:
        where = f"{meta.nested(pod, 'status', 'podIP', default='')}:{port}"
        raise ServiceUnavailable(f"error trying to reach service: dial tcp {where}: connect: connection refused")
    container, number = found
    query = f"?{req.query_string}" if req.query_string else ""
    return Response(body=podports.text(pod, container, number, req.method, path + query), content_type="text/plain")


def _name(text: str) -> tuple[str, str]:
    """The object's name and the port in `name`, `name:port` or `scheme:name:port`.

    >>> _name("web"), _name("web:80"), _name("https:web:"), _name("http:web:80")
    (('web', ''), ('web', '80'), ('web', ''), ('web', '80'))
    """
    parts = text.split(":")
    if len(parts) == 3:
        return parts[1], parts[2]
    return parts[0], parts[1] if len(parts) == 2 else ""
