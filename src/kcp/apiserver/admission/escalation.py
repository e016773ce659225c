"""Nobody grants what he does not have: the check on writing Roles, ClusterRoles and their bindings.

To write a role one needs its rules oneself, or verb `escalate` on it; to write a binding the bound role's rules, or verb `bind` on
that role.
Before: `admission.chain`. After: `authz.rbac`.
Source: k8s.io/kubernetes/pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased/storage.go,
pkg/registry/rbac/escalation_check.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Invalid, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes
from kcp.apiserver.authz.policy import GROUP
from kcp.apiserver.authz.rules import Rule, parse_rules, uncovered
from kcp.registry.backend import Attributes, UserInfo

_ROLES = frozenset(GroupResource(GROUP, resource) for resource in ("roles", "clusterroles"))
_BINDINGS = frozenset(GroupResource(GROUP, resource) for resource in ("rolebindings", "clusterrolebindings"))
_STAR = frozenset("*")
_EVERYTHING = (Rule(_STAR, _STAR, _STAR), Rule(_STAR, urls=("*",)))


class RuleResolver(Protocol):
    """`authz.rbac.RBACAuthorizer`."""

    def rules(self, user: UserInfo, cluster: ClusterName, namespace: str = "") -> list[Rule]: ...

    def role_rules(self, cluster: ClusterName, namespace: str, kind: str, name: str) -> tuple[Rule, ...] | None: ...


class EscalationCheck:
    def __init__(self, authorizer: Authorizer, resolver: RuleResolver) -> None:
        """`authorizer`: the whole chain, so that privileged groups pass."""
        self._authorizer = authorizer
        self._resolver = resolver

    def plugins(self) -> tuple[Plugin, ...]:
        return (
            Plugin(name="RBACEscalation", validate=self.check_role, resources=_ROLES),
            Plugin(name="RBACEscalation", validate=self.check_binding, resources=_BINDINGS),
        )

    async def check_role(self, attributes: Attributes) -> None:
        new, old = attributes.new or {}, attributes.old or {}
        if attributes.verb == "UPDATE" and _same(new, old, "rules", "aggregationRule"):
            return
        scope = attributes.scope
        if await self._may(attributes, "escalate", scope.resource.gvr.resource, scope.name or meta.name(new)):
            return
        held = self._resolver.rules(attributes.user, scope.cluster, scope.namespace)
        if new.get("aggregationRule") is not None and uncovered(_EVERYTHING, held):
            raise forbidden(attributes, "must have cluster-admin privileges to use an aggregationRule")
        self._refuse_excess(attributes, parse_rules(new), held)

    async def check_binding(self, attributes: Attributes) -> None:
        new, old = attributes.new or {}, attributes.old or {}
        ref: Mapping[str, Any] = new.get("roleRef") or {}
        if attributes.verb == "UPDATE":
            _refuse_new_role(attributes, ref, old.get("roleRef") or {})
            if _same(new, old, "subjects"):
                return
        kind, name, scope = ref.get("kind") or "", ref.get("name") or "", attributes.scope
        resource = "roles" if kind == "Role" else "clusterroles"
        if await self._may(attributes, "bind", resource, name):
            return
        rules = self._resolver.role_rules(scope.cluster, scope.namespace, kind, name)
        if rules is None:
            raise NotFound.of(GroupResource(GROUP, resource), name)
        self._refuse_excess(attributes, rules, self._resolver.rules(attributes.user, scope.cluster, scope.namespace))

    async def _may(self, attributes: Attributes, verb: str, resource: str, name: str) -> bool:
        scope = attributes.scope
        question = AuthzAttributes(attributes.user, verb, scope.cluster, GROUP, resource, namespace=scope.namespace, name=name)
        return (await self._authorizer.authorize(question)).is_allowed

    def _refuse_excess(self, attributes: Attributes, wanted: Sequence[Rule], held: Sequence[Rule]) -> None:
        missing = uncovered(wanted, held)
        if not missing:
            return
        user = attributes.user
        groups = " ".join(f'"{group}"' for group in user.groups)
        listed = "\n".join(sorted(map(str, missing)))
        text = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{listed}'
        raise forbidden(attributes, text)


def _same(new: Mapping[str, Any], old: Mapping[str, Any], *fields: str) -> bool:
    return all((new.get(field) or None) == (old.get(field) or None) for field in fields)


def _refuse_new_role(attributes: Attributes, ref: Mapping[str, Any], old_ref: Mapping[str, Any]) -> None:
    """Source: pkg/apis/rbac/validation/validation.go (ValidateRoleBindingUpdate)."""
    fields = ("kind", "name", "apiGroup")
    if [ref.get(f) for f in fields] == [old_ref.get(f) for f in fields]:
        return
    resource = attributes.scope.resource
    fault = Cause.invalid("roleRef", dict(ref), "cannot change roleRef")
    raise Invalid.of(resource.group_resource, resource.kind, attributes.scope.name, [fault])
