"""What every verb's handler gets: the request, what it is about, and what it may use.

Before: `resources.ResourceHandler`, which makes one per request. After: the handlers.
"""

from __future__ import annotations

from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import StatusError
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Verdict, forbidden
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend, Scope


@dataclass(slots=True)
class Call:
    req: Request
    scope: Scope
    backend: Backend
    clock: Clock
    authorizer: Authorizer | None = None
    """Asked again where a verb turns into another: a PUT or PATCH that creates. None: everything is allowed."""

    async def authorize(self, verb: str) -> None:
        """Raises Forbidden where the user may not do `verb` to this object."""
        if self.authorizer is None:
            return
        info = self.req.info
        attributes = AuthzAttributes(
            self.req.user, verb, self.scope.cluster, info.group, info.resource, info.subresource, info.namespace, info.name, info.path
        )
        decision = await self.authorizer.authorize(attributes)
        if decision.verdict is not Verdict.ALLOW:
            refusal: StatusError = forbidden(attributes, decision.reason)
            raise refusal
