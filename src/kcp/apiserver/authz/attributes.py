"""What is to be authorized, what the answer may be, and the `Authorizer` interface.

Before: `authz.filter`, the review handlers, impersonation, admission. After: `authz.union`, `authz.rbac`, and what tenancy adds.
Source: k8s.io/apiserver/pkg/authorization/authorizer/interfaces.go, pkg/endpoints/handlers/responsewriters/errors.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.registry.backend import UserInfo


class AuthzAttributes(NamedTuple):
    """One question: may `user` do this? A named tuple because one is made for every request."""

    user: UserInfo
    verb: str
    cluster: ClusterName = ClusterName("")
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Of non-resource requests, such as `/healthz`."""
    is_resource: bool = True
    is_deep: bool = False
    """Whether to answer as if the user had access to the workspace: asked by privileged callers only."""
    notes: dict[str, str] | None = None
    """Audit annotations of this request; None where nobody keeps them."""
    version: str = ""
    """Of the resource in the URL; no rule of ours depends on it."""


class Verdict(Enum):
    ALLOW = "allow"
    DENY = "deny"
    """Refused for good: later authorizers are not asked."""
    NO_OPINION = "no opinion"
    """Refused unless a later authorizer allows it."""


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    reason: str = ""

    @property
    def is_allowed(self) -> bool:
        return self.verdict is Verdict.ALLOW


NO_OPINION = Decision(Verdict.NO_OPINION)


class Authorizer(Protocol):
    """Decides; raises only when it cannot decide (then the request fails with a 500)."""

    async def authorize(self, attributes: AuthzAttributes) -> Decision: ...


def forbidden(attributes: AuthzAttributes, reason: str = "") -> Forbidden:
    """The 403 of a refused request, with upstream's text.

    >>> forbidden(AuthzAttributes(UserInfo("u"), "get", group="apps", resource="deployments", namespace="default", name="x")).message
    'deployments.apps "x" is forbidden: User "u" cannot get resource "deployments" in API group "apps" in the namespace "default"'
    """
    text = _cannot(attributes) + (f": {reason}" if reason else "")
    if not attributes.is_resource:
        return Forbidden(f"forbidden: {text}")
    resource = GroupResource(attributes.group, attributes.resource)
    subject = f'{resource} "{attributes.name}"' if attributes.name else str(resource)
    return Forbidden(f"{subject} is forbidden: {text}", resource=resource, name=attributes.name)


def _cannot(attributes: AuthzAttributes) -> str:
    user = attributes.user.name
    if not attributes.is_resource:
        return f'User "{user}" cannot {attributes.verb} path "{attributes.path}"'
    resource = f"{attributes.resource}/{attributes.subresource}" if attributes.subresource else attributes.resource
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    return f'User "{user}" cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}'
