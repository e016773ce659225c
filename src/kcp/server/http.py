"""The request path as one visible list: filters from the outermost in, and what each path leads to.

Before: `server.compose`. After: `apiserver`, `virtual.framework`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import Unauthorized
from kcp.apimachinery.keys import NOWHERE
from kcp.apis.kubernetes import definitions
from kcp.apiserver.audit.filter import with_audit, with_audited_answers
from kcp.apiserver.authn.chain import with_authentication
from kcp.apiserver.authn.impersonation import with_impersonation
from kcp.apiserver.authn.issuerdiscovery import issuer_discovery
from kcp.apiserver.authz.attributes import Authorizer
from kcp.apiserver.authz.filter import with_authorization
from kcp.apiserver.discovery import Discovery
from kcp.apiserver.filters import (
    chain,
    for_strangers,
    with_audit_ids,
    with_errors,
    with_request_info,
    with_timeouts,
    with_warnings,
)
from kcp.apiserver.health import Health
from kcp.apiserver.metrics import Metrics, with_metrics
from kcp.apiserver.openapi import OpenAPI
from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response
from kcp.apiserver.resources import ConnectorKey, ResourceHandler
from kcp.apiserver.root import Root
from kcp.apiserver.router import Router
from kcp.apiserver.tracing import with_tracing
from kcp.apiserver.version import version
from kcp.registry.backend import Backend
from kcp.registry.resource import Catalog
from kcp.server.security import Security
from kcp.tenancy.authz.impersonation import guard_impersonation
from kcp.tenancy.authz.inactive import without_inactive
from kcp.tenancy.authz.lifecycle import without_lifecycle_groups
from kcp.tenancy.authz.routing import with_account_cluster, with_bases_of_administrators, with_word_to_administrators
from kcp.tenancy.logicalcluster.index import WorkspaceIndex
from kcp.tenancy.mountproxy import MountProxy, with_mounts
from kcp.virtual.framework import SERVICES, Forward, View, VirtualHandler, VirtualWorkspace

if TYPE_CHECKING:
    from kcp.apiserver.audit.auditor import Auditor
    from kcp.tracing.exporting import Tracing


@dataclass(slots=True)
class Entry:
    """A handler that is filled in once the parts that need the application itself are built."""

    handler: Handler | None = None

    async def __call__(self, request: Request) -> Response:
        assert self.handler is not None, "the server is not composed yet"
        return await self.handler(request)


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the request path is built from."""

    catalog: Catalog
    backend: Backend
    security: Security
    index: WorkspaceIndex
    health: Health
    metrics: Metrics
    clock: Clock
    virtual_workspaces: Sequence[VirtualWorkspace] = ()
    mounts: MountProxy | None = None
    """None: workspaces cannot be mounts."""
    inner_filters: Sequence[Filter] = ()
    """After authorization."""
    auditor: Auditor | None = None
    """None: nothing is recorded."""
    traced: Tracing | None = None
    """None: there are no traces."""
    routes: Mapping[str, Handler] = field(default_factory=dict)
    connectors: Mapping[ConnectorKey, Handler] = field(default_factory=dict)
    """Of features that are turned on, beside those of security."""


def build_handler(parts: HttpParts) -> Handler:
    """The whole request path."""
    connectors = {**parts.security.connectors, **parts.connectors}
    api = serve_api(parts.catalog, parts.backend, parts.clock, connectors, parts.security.authorizer)
    probes = {f"/{probe}{end}": parts.health.handle for probe in ("healthz", "livez", "readyz") for end in ("", "/")}
    routes: dict[str, Handler] = {
        **api.routes,
        **probes,
        **issuer_discovery(parts.security.account_tokens),
        "/version": version,
        "/metrics": parts.metrics.handle,
        **parts.routes,
    }
    router = Router(api.resources, {**routes, "/": Root(parts.catalog, tuple(routes))})
    security = parts.security

    async def again(request: Request) -> Response:
        return await whole(request)

    mounts = (with_mounts(parts.index.mount_at, security.authorizer, parts.mounts, again),) if parts.mounts is not None else ()
    inner = (without_inactive(parts.index.record), *parts.inner_filters)
    ordinary = chain(
        router,
        with_request_info(parts.index, unknown=NOWHERE),
        *_authenticated(parts),
        *mounts,
        with_word_to_administrators(),
        with_authorization(security.authorizer),
        *inner,
    )
    located = with_request_info(parts.index)
    forwarded = chain(router, located, with_authorization(security.authorizer), *inner)
    trusted = chain(router, located, *inner)
    views = _virtual(parts, lambda forward: trusted if forward.is_authorized else forwarded)
    virtual = chain(views, *_authenticated(parts, views.info))
    whole = _split(virtual, ordinary)
    return chain(
        whole,
        with_bases_of_administrators(),
        with_metrics(parts.metrics.requests, parts.clock),
        with_audit_ids(),
        *([with_audited_answers(parts.auditor)] if parts.auditor is not None else ()),
        with_warnings(),
        with_errors(),
        with_timeouts(),
    )


def _authenticated(parts: HttpParts, info_of: Callable[[Request], RequestInfo] = lambda req: req.info) -> Sequence[Filter]:
    """From who asks to as whom; `info_of` says what is asked for, where that is not known from the URL alone."""
    security, auditor, traced = parts.security, parts.auditor, parts.traced

    async def refused(req: Request, refusal: Unauthorized) -> None:
        if auditor is not None:
            await auditor.refuse(req, info_of(req), refusal)

    return (
        for_strangers(with_authentication(security.authentication, refused)),
        *([with_tracing(traced.tracer, traced.revisions, info_of)] if traced is not None else ()),
        with_account_cluster(),
        *([with_audit(auditor, info_of)] if auditor is not None else ()),
        with_impersonation(security.authorizer, guard_impersonation),
        without_lifecycle_groups(),
    )


def _virtual(parts: HttpParts, forward: Callable[[Forward], Handler]) -> VirtualHandler:
    handlers: WeakKeyDictionary[View, Handler] = WeakKeyDictionary()

    def serve(view: View) -> Handler:
        handler = handlers.get(view)
        if handler is None:
            api = serve_api(view.catalog, view.backend, parts.clock, view.connectors, view.authorizer, is_virtual=True)
            handler = handlers[view] = chain(Router(api.resources, api.routes), without_inactive(parts.index.record))
        return handler

    return VirtualHandler(parts.virtual_workspaces, resolve_cluster=parts.index.resolve, serve=serve, forward=forward)


def _split(virtual: Handler, ordinary: Handler) -> Handler:
    """Virtual workspaces authorize for themselves: their URLs mean something else than the resource they seem to name."""

    async def split(request: Request) -> Response:
        return await (virtual if request.path.startswith(SERVICES) else ordinary)(request)

    return split


@dataclass(frozen=True, slots=True)
class Api:
    """Resources and the documents that describe them."""

    resources: Handler
    routes: Mapping[str, Handler]


def serve_api(
    catalog: Catalog,
    backend: Backend,
    clock: Clock,
    connectors: Mapping[ConnectorKey, Handler],
    authorizer: Authorizer | None,
    *,
    is_virtual: bool = False,
) -> Api:
    """A Kubernetes API over any catalog and backend."""
    resources = ResourceHandler(catalog, backend, clock, connectors=connectors, authorizer=authorizer)
    discovery = Discovery(catalog, is_virtual=is_virtual)
    openapi = OpenAPI(catalog, lambda name: definitions.load().published(name), clock)
    routes: dict[str, Handler] = {path: discovery for path in ("/api", "/apis", "/api/", "/apis/")}
    routes |= {path: openapi for path in ("/openapi/v2", "/openapi/v3", "/openapi/v3/")}
    return Api(resources, routes)
