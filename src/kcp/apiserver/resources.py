"""From a resource request to the handler of its verb: who serves this resource here, and may this verb be used on it.

Before: `router`. After: `handlers/<verb>`. Source: k8s.io/apiserver/pkg/endpoints/installer.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import WILDCARD
from kcp.apiserver.authz.attributes import Authorizer
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.create import create
from kcp.apiserver.handlers.delete import delete
from kcp.apiserver.handlers.deletecollection import delete_collection
from kcp.apiserver.handlers.get import get
from kcp.apiserver.handlers.list import list_
from kcp.apiserver.handlers.patch import patch
from kcp.apiserver.handlers.update import update
from kcp.apiserver.handlers.watch import watch
from kcp.apiserver.negotiate import check_answerable, in_form, is_of_metadata
from kcp.apiserver.request import Handler, Request, RequestInfo, Response
from kcp.registry.backend import Backend, Scope
from kcp.registry.resource import Catalog, Origin, Resource

VerbHandler: TypeAlias = Callable[[Call], Awaitable[Response]]

_HANDLERS: Mapping[str, VerbHandler] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
_READS = frozenset(("get", "list", "watch"))
_OF_SUBRESOURCES = frozenset(("get", "update", "patch"))
_UPDATED_ONLY = frozenset(("finalize",))
"""Subresources that take a PUT and nothing else. Source: pkg/registry/core/namespace/storage/storage.go (FinalizeREST)."""
_OF_ONE = frozenset(("update", "patch", "delete"))
_OF_COLLECTIONS = frozenset(("list", "watch", "create", "deletecollection"))

ConnectorKey: TypeAlias = tuple[str, str, str]
"""Group, resource and subresource ("" for the resource itself)."""


_INTO_CONTAINERS = frozenset(("attach", "exec", "portforward"))
"""A GET that becomes a WebSocket does as much as a POST, and takes the same right. Source: pkg/registry/core/pod/rest/subresources.go."""


class ResourceHandler:
    """The handler of everything under /api/<version> and /apis/<group>/<version>. Cheap to make; keeps nothing."""

    def __init__(
        self,
        catalog: Catalog,
        backend: Backend,
        clock: Clock,
        *,
        connectors: Mapping[ConnectorKey, Handler] | None = None,
        authorizer: Authorizer | None = None,
    ) -> None:
        """Args:
        connectors: handlers of what is answered rather than stored: reviews, token requests, `pods/log`, `pods/binding`.
        authorizer: asked where an update or apply would create.
        """
        self._catalog = catalog
        self._backend = backend
        self._clock = clock
        self._connectors = connectors or {}
        self._authorizer = authorizer

    async def __call__(self, req: Request) -> Response:
        """Raises: NotFound, MethodNotAllowed, and what the verb's handler says."""
        info = req.info
        if self._connectors and (info.subresource or req.method == "POST"):
            connector = self._connectors.get((info.group, info.resource, info.subresource))
            if connector is not None:
                if req.method == "POST":
                    check_answerable(req)
                elif info.subresource in _INTO_CONTAINERS:
                    scope = Scope(self._resource(req), info.cluster, info.namespace, info.name, info.subresource)
                    await Call(req, scope, self._backend, self._clock, self._authorizer).authorize("create")
                return in_form(req, await connector(req))
        resource = self._resource(req)
        if resource.deprecation_warning:
            req.warnings.append(resource.deprecation_warning)
        _check_shape(info, resource)
        namespace = info.namespace if resource.namespaced else ""
        if info.verb in _OF_COLLECTIONS and info.verb != "watch":
            scope = Scope(resource, info.cluster, namespace)  # a name here is only what a field selector pins
        else:
            scope = Scope(resource, info.cluster, namespace, info.name, info.subresource)
        return await _HANDLERS[info.verb](Call(req, scope, self._backend, self._clock, self._authorizer))

    def _resource(self, req: Request) -> Resource:
        """Raises NotFound."""
        info = req.info
        resource = self._catalog.resolve(info.cluster, info.gvr) if info.cluster != WILDCARD else self._across(req)
        if resource is None:
            raise _not_served()
        return resource

    def _across(self, req: Request) -> Resource | None:
        """What this names in all workspaces together: whole objects of one identity, or metadata of whatever has the name.

        Source: kcp pkg/server/apiextensions.go (apiBindingAwareCRDLister.Get).
        """
        info = req.info
        if info.resource.endswith(":*"):
            return None
        found = self._catalog.resolve(WILDCARD, info.gvr)
        if found is None and ":" not in info.resource:
            every = self._catalog.resolve(WILDCARD, GVR(info.group, info.version, f"{info.resource}:*"))
            if every is not None and is_of_metadata(req, Scope(every, WILDCARD), is_stream=info.verb == "watch"):
                return every
        return found


def _not_served() -> NotFound:
    return NotFound("the server could not find the requested resource")


def _check_shape(info: RequestInfo, resource: Resource) -> None:
    """Whether such a URL exists for this resource, and takes this verb. Raises NotFound, MethodNotAllowed."""
    if info.namespace:
        if not resource.namespaced and info.resource != "namespaces":
            raise _not_served()
    elif resource.namespaced and info.cluster != WILDCARD:
        if info.verb in ("create", "deletecollection"):  # source for custom kinds: customresource_handler.go (ServeHTTP)
            raise _not_served() if resource.origin is Origin.CRD else _not_allowed(info)
        if info.verb not in _OF_COLLECTIONS:
            raise _not_served()
    verb = info.verb
    if info.subresource:
        if not _has_subresource(resource, info.subresource):
            raise _not_served()
        if verb not in _OF_SUBRESOURCES or (info.subresource in _UPDATED_ONLY and verb != "update"):
            raise _not_allowed(info)
        return
    if verb not in _HANDLERS or (verb not in resource.verbs and not (verb == "create" and resource.is_terminating)):
        raise _not_allowed(info)
    if info.cluster == WILDCARD and (verb not in _READS or verb == "get"):
        raise MethodNotAllowed(f"{verb} is not possible across all workspaces: use /clusters/<workspace>/ in place of /clusters/*/")
    if (verb == "create") if info.name else (verb in _OF_ONE):
        raise _not_allowed(info)


def _has_subresource(resource: Resource, subresource: str) -> bool:
    if subresource == "scale":
        return resource.scale is not None
    if subresource == "status":
        return resource.has_status
    return subresource in resource.strategy.subresource_parts


def _not_allowed(info: RequestInfo) -> MethodNotAllowed:
    return MethodNotAllowed(
        "the server does not allow this method on the requested resource",
        resource=info.gvr.group_resource,
        name=info.name,
    )
