"""The virtual workspace `apiresourceschema`: who may look, and which schemas of which clusters there are to be seen.

A consumer cannot enter its providers' workspaces; what it binds is described there. Whoever may read the APIBindings of a workspace
sees, read only, the APIResourceSchemas of the exports that are bound there. Which cluster the rest of the URL names makes no difference.
Before: `virtual.framework`. After: `backend`.
Source: kcp pkg/virtual/apiresourceschema/{builder/build,authorizer/authorizer}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.keys import NOWHERE, WILDCARD, ClusterName
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, forbidden
from kcp.apiserver.request import Request
from kcp.exports.names import BINDINGS
from kcp.registry.backend import Backend
from kcp.registry.resource import Resource
from kcp.virtual.apiresourceschema.backend import BoundSchemas, SchemaBackend
from kcp.virtual.framework import View
from kcp.virtual.oneresource import OneResource

_READS = ("get", "list", "watch")
_HELD_VIEWS = 512


@dataclass(frozen=True, slots=True)
class SchemaWorkspace:
    """Implements VirtualWorkspace."""

    backend: Backend
    schemas: Resource
    """APIResourceSchemas."""
    bound: BoundSchemas
    authorizer: Authorizer
    resolve: Callable[[str], ClusterName | None]
    name: str = "apiresourceschema"
    parameters: int = 1
    _held: dict[ClusterName, View] = field(default_factory=dict)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        """Raises: Forbidden, and NotFound for all workspaces at once."""
        if parameters[0] in ("", WILDCARD):
            raise NotFound("this virtual workspace is of one consumer: /services/apiresourceschema/<cluster>/clusters/*/…")
        consumer = self.resolve(parameters[0]) or NOWHERE
        info = request.info
        if info.is_resource and info.verb not in _READS:
            raise Forbidden(f"{self.schemas.group_resource} is forbidden: only read-only access is allowed to apiresourceschemas")
        asked = AuthzAttributes(request.user, "get", consumer, BINDINGS.group, BINDINGS.resource)
        decision = await self.authorizer.authorize(asked)
        if not decision.is_allowed:
            raise forbidden(asked, decision.reason)
        info.cluster = consumer
        return self._hold(consumer)

    def _hold(self, consumer: ClusterName) -> View:
        held = self._held.get(consumer)
        if held is None:
            if len(self._held) >= _HELD_VIEWS:
                self._held.clear()
            resource = replace(self.schemas, verbs=_READS, has_status=False)
            held = self._held[consumer] = View(OneResource(resource), SchemaBackend(self.backend, consumer, self.bound))
        return held
