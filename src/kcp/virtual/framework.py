"""One handler for every virtual workspace: resolve the URL, authorize, and serve through the ordinary handlers.

A virtual workspace is a URL family, a catalog and a backend; discovery, OpenAPI, tables, watches and patches come from `apiserver`.
Before: the router, for paths under `/services/`. After: `apiserver.resources`, `apiserver.discovery`.
Source: kcp-dev/virtual-workspace-framework (dynamic.DynamicVirtualWorkspace, framework.RootPathResolver).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kcp.apimachinery.errors import BadRequest, Forbidden, NotFound
from kcp.apimachinery.keys import NOWHERE, WILDCARD, ClusterName
from kcp.apiserver import requestinfo
from kcp.apiserver.authz.attributes import Authorizer, Decision, Verdict
from kcp.apiserver.authz.filter import note
from kcp.apiserver.request import Handler, Request, RequestInfo, Response
from kcp.apiserver.resources import ConnectorKey
from kcp.registry.backend import Backend, UserInfo
from kcp.registry.resource import Catalog

SERVICES = "/services/"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class View:
    """What one URL of a virtual workspace serves. A workspace that gives the same view again spares the server building its handlers."""

    catalog: Catalog
    backend: Backend
    connectors: Mapping[ConnectorKey, Handler] = field(default_factory=dict)
    """What is answered rather than stored, such as reviews."""
    authorizer: Authorizer | None = None
    """Asked where a write turns out to be another one: an apply that creates. None: who may do the one may do the other."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Instead of a view: the workspace itself, as somebody."""

    user: UserInfo
    is_authorized: bool = False
    """Whether the virtual workspace has said already that the request is allowed."""


class VirtualWorkspace(Protocol):
    """One family of URLs, `/services/<name>/<parameters…>/clusters/<cluster>/…`."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> int:
        """How many path segments after the name say which view is meant."""

    async def view(self, parameters: Sequence[str], request: Request) -> View | Forward:
        """Authorize `request.user` and give the view, or say as whom the request goes on.

        Raises: NotFound or Forbidden (a StatusError in any case), with a message that says what to check.
        """


class VirtualHandler:
    """Serves `/services/…` by the virtual workspaces it is given."""

    def __init__(
        self,
        workspaces: Sequence[VirtualWorkspace],
        *,
        resolve_cluster: Callable[[str], ClusterName | None],
        serve: Callable[[View], Handler],
        forward: Callable[[Forward], Handler],
    ) -> None:
        self._workspaces = {w.name: w for w in workspaces}
        self._resolve_cluster = resolve_cluster
        self._serve = serve
        """Builds the handler for resources and discovery of a view; supplied by the composition root."""
        self._forward = forward
        """The ordinary request path, behind authentication."""

    async def __call__(self, request: Request) -> Response:
        name, _, rest = request.path.removeprefix(SERVICES).partition("/")
        workspace = self._workspaces.get(name)
        if workspace is None:
            known = ", ".join(sorted(self._workspaces)) or "none"
            raise NotFound(f"no virtual workspace {name!r} is served here (served: {known})")
        parts = rest.split("/", workspace.parameters)
        if len(parts) <= workspace.parameters:
            raise BadRequest(f"/services/{name}/ takes {workspace.parameters} more path segments and then /clusters/<cluster>/…")
        parameters, tail = parts[: workspace.parameters], "/" + parts[workspace.parameters]
        request.info = requestinfo.parse(request.method, tail, request.query)
        request.info.cluster = self._cluster(request.info.cluster_path)
        try:
            view = await workspace.view(parameters, request)
        except Forbidden as refusal:
            note(request, Decision(Verdict.DENY, refusal.message))
            raise
        if isinstance(view, View) or view.is_authorized:
            note(request, Decision(Verdict.ALLOW, f"by virtual workspace {name}"))
        if isinstance(view, Forward):
            request.user = view.user
            request.path = f"/clusters/{request.info.cluster}{request.info.path}"
            return await self._forward(view)(request)
        return await self._serve(view)(request)

    def info(self, request: Request) -> RequestInfo:
        """What a request asks for, before anybody says whether it may; the URL as it is where it leads nowhere."""
        name, _, rest = request.path.removeprefix(SERVICES).partition("/")
        workspace = self._workspaces.get(name)
        parts = rest.split("/", workspace.parameters) if workspace is not None else []
        if workspace is None or len(parts) <= workspace.parameters:
            return requestinfo.parse(request.method, request.path, request.query)
        info = requestinfo.parse(request.method, "/" + parts[workspace.parameters], request.query)
        info.cluster = self._cluster(info.cluster_path)
        return info

    def _cluster(self, path: str) -> ClusterName:
        if path in ("", "*"):
            return WILDCARD
        return self._resolve_cluster(path) or NOWHERE  # what is nowhere is refused as what is closed
