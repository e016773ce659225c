"""`log`, `exec`, `attach`, `portforward` and `proxy` of upsynced pods: passed on, whatever is spoken, through the tunnel of their cluster.

Who may is decided here, in the workspace, by its RBAC and admission; in the cluster it is the syncer who asks, for this pod only.
Before: `apiserver.resources`, as connectors. After: `tunnels`.
Source: kcp 0.11 pkg/tunneler/podsubresourceproxy_handler.go.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, MethodNotAllowed, ServiceUnavailable
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import Authorizer
from kcp.apiserver.connect.options import admit, authorize_creation, options, proxied_path, served
from kcp.apiserver.connect.upgrades import wanted, without_credentials
from kcp.apiserver.request import Handler, Request, Response
from kcp.apiserver.resources import ConnectorKey
from kcp.registry.backend import Admission, Backend, Scope
from kcp.registry.resource import Catalog
from kcp.streams.spdyframes import Headers
from kcp.streams.ways import BrokenStream, Duplex, splice
from kcp.tmc.model.names import NamespaceLocator, upsyncing_key
from kcp.tmc.tunnel.protocol import SUBRESOURCES, value
from kcp.tmc.tunnel.tunnels import ANSWERED, Answer, Tunnels

_SENT = ("accept", "content-type", "user-agent", "x-stream-protocol-version")
_OF_UPGRADES = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version")
_MOST_OF_REFUSAL = 1 << 20


@dataclass(frozen=True, slots=True)
class PodConnections:
    catalog: Catalog
    backend: Backend
    admission: Admission
    authorizer: Authorizer
    tunnels: Tunnels
    target_of: Callable[[str], JSONObject | None]
    """K → its SyncTarget."""

    def connectors(self) -> dict[ConnectorKey, Handler]:
        return {("", "pods", subresource): self.connect for subresource in SUBRESOURCES}

    async def connect(self, req: Request) -> Response:
        """Raises NotFound, BadRequest, what admission says, ServiceUnavailable."""
        info = req.info
        resource = served(req, self.catalog)
        if info.subresource == "log":
            if req.method != "GET":
                raise MethodNotAllowed("the server does not allow this method on the requested resource")
        else:
            await authorize_creation(req, self.authorizer)
            await admit(req, resource, options(req), self.admission)
        name = _pod_name(info.name) if info.subresource == "proxy" else info.name
        pod = (await self.backend.get(Scope(resource, info.cluster, info.namespace, name))).decode()
        target = self._target(pod)
        key = ObjectKey(meta.cluster(target), "", meta.name(target))
        if req.audit is not None:
            req.audit.notes.add("tunnel.tmc.kcp.io/synctarget", f"{key.cluster}|{key.name}")
        locator = NamespaceLocator(key.cluster, key.name, meta.uid(target), info.cluster, info.namespace)
        path = f"/api/v1/namespaces/{locator.downstream_namespace}/pods/{quote(info.name, safe=':')}/{info.subresource}"
        path += quote(proxied_path(req)) if info.subresource == "proxy" else ""
        path += f"?{req.query_string}" if req.query_string else ""
        is_upgrade = bool(wanted(req))
        body = None if is_upgrade else b"" if req.method in ("GET", "HEAD") else await req.read_body()
        status, headers, stream = await self.tunnels.ask(key, req.method, path, list(_headers(req, is_upgrade=is_upgrade)), body)
        return await _response(status, headers, stream)

    def _target(self, pod: JSONObject) -> JSONObject:
        if not (key := upsyncing_key(pod)):
            raise BadRequest(f'pod "{meta.name(pod)}" runs in no cluster: it was not upsynced, and nothing here runs pods')
        target = self.target_of(key)
        if target is None:
            raise ServiceUnavailable(f'the cluster that pod "{meta.name(pod)}" runs in has no SyncTarget any more')
        return target


def _pod_name(text: str) -> str:
    parts = text.split(":")
    return parts[1] if len(parts) == 3 else parts[0]


def _headers(req: Request, *, is_upgrade: bool) -> Iterator[tuple[str, str]]:
    """Without anything that says who asks."""
    for name in (*_SENT, *(_OF_UPGRADES if is_upgrade else ())):
        for text in req.values(name):
            yield name, text
    if is_upgrade and (offered := without_credentials(req)):
        yield "sec-websocket-protocol", offered


async def _response(status: int, headers: Headers, stream: Answer) -> Response:
    told = tuple((name, text) for name, text in headers if name in ANSWERED)
    response = Response(status, content_type=value(headers, "content-type") or "text/plain", headers=told)
    if status == 101:
        return replace(response, content_type="", upgrade=lambda wire: _joined(wire, stream))
    if status == 200:
        return replace(response, stream=_chunks(stream))
    body = bytearray()
    try:
        while len(body) < _MOST_OF_REFUSAL and (data := await stream.read()):
            body += data
    except BrokenStream as broken:
        raise ServiceUnavailable(f"the tunnel broke within the answer: {broken}") from broken
    finally:
        await stream.reset()
    return replace(response, body=bytes(body))


async def _joined(wire: Duplex, stream: Answer) -> None:
    try:
        await splice(wire, stream)
    finally:
        await stream.reset()


async def _chunks(stream: Answer) -> AsyncGenerator[bytes, None]:
    try:
        while data := await stream.read():
            yield data
    finally:
        await stream.reset()
