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
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from kcp.apimachinery.errors import Forbidden, ServiceUnavailable, StatusError
from kcp.apimachinery.keys import NOWHERE
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes
from kcp.apiserver.forwarding import forward, identity_headers
from kcp.apiserver.request import ANONYMOUS, Filter, Handler, Request, Response
from kcp.client.endpoint import Endpoint
from kcp.client.http import HttpTransport
from kcp.client.transport import TransportError
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import Mounted
from kcp.tenancy.workspace.mounts import url_fault

log = logging.getLogger(__name__)

HOPS = "x-kcp-mount-hops"
_MOST_HOPS = 8
_HELD_SERVERS = 64


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
        server = await self._server(f"{parts.scheme}://{parts.netloc}")
        is_stranger = req.user is ANONYMOUS or req.user.name == ANONYMOUS.name
        named = () if is_stranger else identity_headers(req.user)
        path = f"{parts.path.rstrip('/')}{quote(req.info.path)}"
        try:
            return await forward(server, req, path, named, {HOPS: str(_hops(req) + 1)})
        except TransportError as error:
            raise _unreachable(mount, req, error) from error

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


def _unreachable(mount: Mounted, req: Request, error: TransportError) -> BadGateway:
    log.warning("a mount cannot be reached", extra={"cluster": mount.parent, "key": mount.name, "error": str(error)})
    return BadGateway(f'the mount target of workspace "{req.info.cluster_path}" is unavailable')


def _system_authorities() -> bytes:
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in found).encode()
