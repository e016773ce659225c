"""The filter that asks the authorizer, and answers 403 where nobody allowed the request.

Before: `authn` (req.user) and the request-info filter (req.info). After: the resource handlers.
Source: k8s.io/apiserver/pkg/endpoints/filters/authorization.go.
"""

from __future__ import annotations

from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, Decision, Verdict, forbidden
from kcp.apiserver.request import Filter, Handler, Request, Response


def attributes_of(req: Request) -> AuthzAttributes:
    info = req.info
    return AuthzAttributes(
        req.user, info.verb, info.cluster, info.group, info.resource, info.subresource, info.namespace, info.name, info.path,
        info.is_resource, notes=req.audit.notes if req.audit is not None else None, version=info.version,
    )  # fmt: skip


def note(req: Request, decision: Decision) -> None:
    """The outcome, for the audit log."""
    if req.audit is not None:
        req.audit.notes.add("authorization.k8s.io/decision", "allow" if decision.is_allowed else "forbid")
        req.audit.notes.add("authorization.k8s.io/reason", decision.reason)


def with_authorization(authorizer: Authorizer) -> Filter:
    """Only allowed requests go on. Raises Forbidden."""

    def wrap(handler: Handler) -> Handler:
        async def authorized(req: Request) -> Response:
            attributes = attributes_of(req)
            decision = await authorizer.authorize(attributes)
            note(req, decision)
            if decision.verdict is not Verdict.ALLOW:
                raise forbidden(attributes, decision.reason)
            return await handler(req)

        return authorized

    return wrap
