"""The RBAC objects of one logical cluster, parsed and indexed by subject.

Pure values: built from JSON once, replaced as a whole when an object changes, with unchanged objects taken over.
Before: `authz.rbac`, `authz.bootstrap`. After: `authz.rules`.
Source: k8s.io/kubernetes/pkg/registry/rbac/validation/rule.go, pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apiserver.authz.rules import Rule, parse_rules
from kcp.registry.backend import UserInfo

log = logging.getLogger(__name__)

GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Role:
    """A Role, or a ClusterRole (namespace "")."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    rules: tuple[Rule, ...]
    selectors: tuple[LabelSelector, ...] | None = None
    """Of an aggregated ClusterRole: it has the rules of every ClusterRole that one of them matches, not its own."""

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Role:
        aggregation = obj.get("aggregationRule")
        selectors = None
        if aggregation is not None:
            selectors = _selectors(aggregation)
        return cls(meta.name(obj), meta.namespace(obj), meta.labels(obj), parse_rules(obj), selectors)


@dataclass(frozen=True, slots=True)
class Binding:
    """A RoleBinding, or a ClusterRoleBinding (namespace "")."""

    name: str
    namespace: str
    role_kind: str
    role_name: str
    subjects: tuple[tuple[str, str], ...]
    """Each as the index names it, `User "u"` or `Group "g"`, and as the reason of a decision does (service accounts differ)."""

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Binding:
        ref = obj.get("roleRef") or {}
        namespace = meta.namespace(obj)
        subjects = tuple(_subject(s, namespace) for s in obj.get("subjects") or ())
        return cls(meta.name(obj), namespace, ref.get("kind") or "", ref.get("name") or "", subjects)

    def reason(self, subject: str) -> str:
        """Why the bound role's rules hold for someone. Source: rule.go (clusterRoleBindingDescriber, roleBindingDescriber)."""
        where = f'RoleBinding "{self.name}/{self.namespace}"' if self.namespace else f'ClusterRoleBinding "{self.name}"'
        return f'RBAC: allowed by {where} of {self.role_kind} "{self.role_name}" to {subject}'


Parsed: TypeAlias = Role | Binding


def _selectors(aggregation: Mapping[str, Any]) -> tuple[LabelSelector, ...]:
    """Of an aggregationRule. A malformed one selects nothing: one bad object must not end all authorization in its cluster."""
    try:
        return tuple(LabelSelector.from_object(s) for s in aggregation.get("clusterRoleSelectors") or ())
    except BadRequest as fault:
        log.warning("aggregationRule ignored: %s", fault)
        return ()


def _subject(subject: Mapping[str, Any], binding_namespace: str) -> tuple[str, str]:
    kind, name = subject.get("kind"), subject.get("name") or ""
    if kind == "ServiceAccount":
        namespace = subject.get("namespace") or binding_namespace
        return f'User "system:serviceaccount:{namespace}:{name}"', f'ServiceAccount "{name}/{namespace}"'
    return f'{kind} "{name}"', f'{kind} "{name}"'


def parse(obj: Mapping[str, Any]) -> Parsed:
    """A Role or Binding from its JSON; `kind` tells which."""
    return Binding.of(obj) if str(obj.get("kind")).endswith("Binding") else Role.of(obj)


def subjects_of(user: UserInfo) -> list[str]:
    return [f'User "{user.name}"', *(f'Group "{group}"' for group in user.groups)]


class Policy:
    """Roles by name and bindings by subject. Immutable once made."""

    def __init__(self, objects: Iterable[Parsed]) -> None:
        self.cluster_roles: dict[str, Role] = {}
        self.roles: dict[tuple[str, str], Role] = {}
        self._bindings: dict[str, list[tuple[Binding, str]]] = {}
        for parsed in objects:
            if isinstance(parsed, Binding):
                for indexed, shown in parsed.subjects:
                    self._bindings.setdefault(indexed, []).append((parsed, shown))
            elif parsed.namespace:
                self.roles[parsed.namespace, parsed.name] = parsed
            else:
                self.cluster_roles[parsed.name] = parsed

    def bindings(self, user: UserInfo) -> Iterator[tuple[Binding, str]]:
        """Each binding that names the user or one of its groups, with the subject it names; cluster-wide ones first."""
        found = [pair for subject in subjects_of(user) for pair in self._bindings.get(subject, ())]
        found.sort(key=lambda pair: bool(pair[0].namespace))
        yield from found


EMPTY_POLICY = Policy(())


@dataclass(frozen=True, slots=True)
class Scopes:
    """Where role references of one policy are looked up: in its own objects, in the static ones, in those of inherited clusters."""

    own: Policy
    static: Policy = EMPTY_POLICY
    inherited: tuple[Policy, ...] = ()

    def rules(self, binding: Binding) -> tuple[Rule, ...] | None:
        """What the bound role grants; None if there is no such role."""
        if binding.role_kind == "Role":
            role = self.own.roles.get((binding.namespace, binding.role_name))
            return role.rules if role else None
        return self.cluster_role_rules(binding.role_name) if binding.role_kind == "ClusterRole" else None

    def cluster_role_rules(self, name: str) -> tuple[Rule, ...] | None:
        found = self.own.cluster_roles.get(name) or self.static.cluster_roles.get(name)
        if found is not None:
            return self.effective(found)
        elsewhere = next((policy for policy in self.inherited if name in policy.cluster_roles), None)
        return None if elsewhere is None else Scopes(elsewhere, self.static).cluster_role_rules(name)

    def effective(self, role: Role, seen: frozenset[str] = frozenset()) -> tuple[Rule, ...]:
        """A role's rules, aggregation evaluated, also through several levels (admin takes edit, which takes view)."""
        if role.selectors is None:
            return role.rules
        seen |= {role.name}
        merged: dict[Rule, None] = {}
        for name in sorted((self.own.cluster_roles.keys() | self.static.cluster_roles.keys()) - seen):
            other = self.own.cluster_roles.get(name) or self.static.cluster_roles[name]
            if any(selector.matches(other.labels) for selector in role.selectors):
                merged.update(dict.fromkeys(self.effective(other, seen)))
        return tuple(merged)


def aggregated_rules(role: Mapping[str, Any], cluster_roles: Iterable[Mapping[str, Any]]) -> list[JSONObject] | None:
    """The `rules` that an aggregated ClusterRole should show, from the other ClusterRoles beside it; None if it does not aggregate.

    For a controller that writes them, so that `kubectl get clusterrole -o yaml` shows what holds.
    """
    aggregation = role.get("aggregationRule")
    if aggregation is None:
        return None
    selectors = _selectors(aggregation)
    rules: list[JSONObject] = []
    for other in sorted(cluster_roles, key=meta.name):
        if meta.name(other) == meta.name(role) or not any(s.matches(meta.labels(other)) for s in selectors):
            continue
        rules.extend(rule for rule in other.get("rules") or () if rule not in rules)
    return rules
