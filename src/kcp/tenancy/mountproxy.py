"""Requests to workspaces that are mounts go on to the URL behind them, with the name of the caller but no credentials; watches and
connections that change their protocol as well.

Whoever may `get` the Workspace in its parent may go on; what may be done there is decided there. For everybody else, and for malformed
paths, a mount looks like a workspace that does not exist.
Before: authentication. After: a server elsewhere, over HTTPS; or this server once more, where the URL is its own.
Source: kcp pkg/server/mountproxy.go, pkg/server/filters/mount.go, docs/content/concepts/workspaces/mounts.md.
"""

from __future__ import annotations

import logging
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit

from kcp.apimachinery.errors import Forbidden, ServiceUnavailable, StatusError
from kcp.apimachinery.keys import NOWHERE
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes
from kcp.apiserver.connect.upgrades import wanted, without_credentials
from kcp.apiserver.request import ANONYMOUS, Filter, Handler, Request, Response, Upgrade
from kcp.client.endpoint import Endpoint
from kcp.client.http import HttpTransport
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.registry.backend import UserInfo
from kcp.streams.ways import Duplex, splice
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import Mounted
from kcp.tenancy.workspace.mounts import url_fault

log = logging.getLogger(__name__)

HOPS = "x-kcp-mount-hops"
_MOST_HOPS = 8
_HELD_SERVERS = 64
_OF_ONE_CONNECTION = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Source: net/http/httputil/reverseproxy.go, hopHeaders."""
_OF_ONE_BODY = frozenset(("content-length", "content-encoding"))
_NOT_SENT = _OF_ONE_CONNECTION | _OF_ONE_BODY | {"host", "authorization", "accept-encoding", "expect", "cookie", HOPS}
_NOT_ANSWERED = _OF_ONE_CONNECTION | _OF_ONE_BODY | {"content-type", "set-cookie"}


class LoopDetected(StatusError):
    """A mount leads to itself, through others or directly."""

    code, reason = 508, "LoopDetected"


class BadGateway(StatusError):
    code, reason = 502, "ServiceUnavailable"


@dataclass
class MountProxy:
    """Connections to the servers behind mounts, a bounded number of them; an idle one costs nothing but its entry."""

    own_url: Callable[[], str]
    """`https://host:port` of this server."""
    cert_pem: bytes = b""
    key_pem: bytes = field(default=b"", repr=False)
    ca_pem: bytes = b""
    """Who may sign certificates of servers, beside the system's authorities."""
    _servers: OrderedDict[str, HttpTransport] = field(default_factory=OrderedDict)

    async def send(self, req: Request, mount: Mounted) -> Response:
        """Raises: BadGateway."""
        parts = urlsplit(mount.url)
        target = f"{parts.path.rstrip('/')}{quote(req.info.path)}{'?' + req.query_string if req.query_string else ''}"
        body = await req.read_body() if req.method not in ("GET", "HEAD") else b""
        if req.audit is not None:
            req.audit.take_passed_on(body)
        headers = {name: value for name, value in req.headers.items() if _is_sent(name)} | {HOPS: str(_hops(req) + 1)}
        request = RawRequest(req.method, target, headers=headers, body=body, repeated=tuple(identity_headers(req.user)))
        server = await self._server(f"{parts.scheme}://{parts.netloc}")
        if wanted(req):
            return await self._upgraded(req, mount, server, request)
        async with AsyncExitStack() as stack:
            try:
                raw, chunks = await stack.enter_async_context(server.stream(request))
            except TransportError as error:
                raise _unreachable(mount, req, error) from error
            response = Response(raw.status, raw.body, raw.headers.get("content-type", "application/json"), tuple(_answered(raw)))
            if raw.status == 200 and not (req.audit is not None and req.audit.wants_answer):
                response.stream = _until_closed(chunks, stack.pop_all())
                return response
            if raw.status == 200:
                response.body = b"".join([chunk async for chunk in chunks])
            if req.audit is not None and "json" in response.content_type:
                req.audit.take_answer(response.body)
            return response

    async def _upgraded(self, req: Request, mount: Mounted, server: HttpTransport, request: RawRequest) -> Response:
        """A connection that changes its protocol: passed on as it is, whatever it is. Raises BadGateway."""
        headers = {**request.headers, "connection": "Upgrade", "upgrade": req.headers["upgrade"]}
        if offered := without_credentials(req):
            headers["sec-websocket-protocol"] = offered
        also_spoken = [("x-stream-protocol-version", text) for text in req.values("x-stream-protocol-version")[:-1]]
        request = replace(request, headers=headers, repeated=(*also_spoken, *request.repeated))
        async with AsyncExitStack() as stack:
            try:
                raw, far = await stack.enter_async_context(server.upgrade(request))
            except TransportError as error:
                raise _unreachable(mount, req, error) from error
            response = Response(raw.status, raw.body, raw.headers.get("content-type", "application/json"), tuple(_answered(raw)))
            if raw.status == 101:
                response.content_type = ""
                response.headers += (("upgrade", raw.headers.get("upgrade", "")), ("connection", "Upgrade"))
                response.upgrade = _joined(far, stack.pop_all())
            return response

    def own_path(self, mount: Mounted) -> str | None:
        """Where on this server a mount leads, if it leads here."""
        own = self.own_url().rstrip("/")
        return unquote(mount.url[len(own) :]).rstrip("/") if mount.url == own or mount.url.startswith(f"{own}/") else None

    async def _server(self, origin: str) -> HttpTransport:
        held = self._servers.get(origin)
        if held is None:
            authorities = self.ca_pem and _system_authorities() + self.ca_pem
            endpoint = Endpoint(server=origin, ca_pem=authorities, cert_pem=self.cert_pem, key_pem=self.key_pem, origin="a mount")
            held = self._servers[origin] = HttpTransport(endpoint)
            if len(self._servers) > _HELD_SERVERS:
                _, oldest = self._servers.popitem(last=False)
                await oldest.close()
        self._servers.move_to_end(origin)
        return held

    async def close(self) -> None:
        while self._servers:
            _, server = self._servers.popitem()
            await server.close()


def with_mounts(mount_at: Callable[[str], Mounted | None], authorizer: Authorizer, proxy: MountProxy, again: Handler) -> Filter:
    """Send on what is asked of mounts.

    Args: mount_at: `WorkspaceIndex.mount_at`. again: the whole request path, for mounts of this server's own workspaces.
    Raises: ServiceUnavailable for mounts that are not ready; Forbidden, LoopDetected, BadGateway.
    """

    def wrap(handler: Handler) -> Handler:
        async def sent(req: Request) -> Response:
            mount = mount_at(req.info.cluster_path) if req.info.cluster == NOWHERE else None
            if mount is None or not await _may_see(authorizer, req.user, mount):
                return await handler(req)
            if req.audit is not None:
                req.audit.notes.add("mount.tenancy.kcp.io/target", mount.url)
                req.audit.notes.add("mount.tenancy.kcp.io/workspace", req.info.cluster_path)
            _note(req, mount)
            _check(req, mount)
            path = proxy.own_path(mount)
            if path is None:
                return await proxy.send(req, mount)
            req.path = path + req.info.path
            req.headers = {**req.headers, HOPS: str(_hops(req) + 1)}
            return await again(req)

        return sent

    return wrap


async def _may_see(authorizer: Authorizer, user: UserInfo, mount: Mounted) -> bool:
    asked = AuthzAttributes(user, "get", mount.parent, kinds.WORKSPACES.group, kinds.WORKSPACES.resource, name=mount.name)
    return (await authorizer.authorize(asked)).is_allowed


def _note(req: Request, mount: Mounted) -> None:
    """For the audit: which mount, and where to."""
    if req.audit is not None:
        parts = urlsplit(mount.url)
        req.audit.notes["mount.tenancy.kcp.io/workspace"] = req.info.cluster_path
        req.audit.notes["mount.tenancy.kcp.io/target"] = f"{parts.scheme}://{parts.netloc}"


def _check(req: Request, mount: Mounted) -> None:
    path = req.info.cluster_path
    if req.impersonated_by is not None:
        raise Forbidden(f'impersonation is not supported in workspace "{path}", which is a mount')
    if not mount.is_ready or url_fault(mount.url):
        where = f'condition WorkspaceMountReady of workspace "{mount.name}" in its parent says why'
        raise ServiceUnavailable(f'workspace "{path}" is a mount that is not ready: {where}', retry_after_s=1)
    if _hops(req) >= _MOST_HOPS:
        raise LoopDetected(f'workspace "{path}" is mounted in a circle, or behind more than {_MOST_HOPS} mounts')


def _hops(req: Request) -> int:
    told = req.headers.get(HOPS, "0")
    return int(told) if told.isascii() and told.isdigit() and len(told) < _MOST_HOPS else _MOST_HOPS


def _is_sent(header: str) -> bool:
    return header not in _NOT_SENT and not header.startswith(("impersonate-", "x-remote-"))


def identity_headers(user: UserInfo) -> Iterator[tuple[str, str]]:
    """Who asks, in the headers of an authenticating proxy; nothing of who is anonymous."""
    if user is ANONYMOUS or user.name == ANONYMOUS.name:
        return
    yield "X-Remote-User", user.name
    for group in user.groups:
        yield "X-Remote-Group", group
    for key, values in user.extra.items():
        for value in values:
            yield f"X-Remote-Extra-{quote(key, safe='')}", value


def _answered(raw: RawResponse) -> Iterator[tuple[str, str]]:
    headers: Mapping[str, str] = raw.headers
    return ((name, value) for name, value in headers.items() if name not in _NOT_ANSWERED)


def _unreachable(mount: Mounted, req: Request, error: TransportError) -> BadGateway:
    log.warning("a mount cannot be reached", extra={"cluster": mount.parent, "key": mount.name, "error": str(error)})
    return BadGateway(f'the mount target of workspace "{req.info.cluster_path}" is unavailable')


def _joined(far: Duplex, stack: AsyncExitStack) -> Upgrade:
    async def joined(near: Duplex) -> None:
        async with stack:
            await splice(near, far)

    return joined


async def _until_closed(chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in chunks:
            yield chunk


def _system_authorities() -> bytes:
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in found).encode()
