"""Whether a policy or webhook is about a write: its rules, its match policy and its selectors.

Before: `policies`, `webhooks`. After: `occasion`.
Source: k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/{rules,namespace,object}, pkg/admission/plugin/policy/matching/matching.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apiserver.admission.occasion import NamespaceLookup, Occasion
from kcp.registry.resource import Resource

Serves: TypeAlias = Callable[[ClusterName, GVR], Resource | None]
"""The catalog: what is served under a name, here."""

_CONFIGURATION = frozenset((
    "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
))  # fmt: skip


def is_exempt(occasion: Occasion) -> bool:
    """What configures admission is itself beyond it, so that a bad configuration can be mended."""
    return occasion.gvr.group == "admissionregistration.k8s.io" and occasion.gvr.resource in _CONFIGURATION


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `rules` or `resourceRules`."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """(resource, subresource), each of which may be `*`; subresource "": the resource itself."""
    scope: str
    names: frozenset[str]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Rule:
        resources = ((head, sub) for head, _, sub in (str(r).partition("/") for r in given.get("resources") or ()))
        operations, groups, versions = (frozenset(given.get(key) or ()) for key in ("operations", "apiGroups", "apiVersions"))
        scope, names = given.get("scope") or "*", frozenset(given.get("resourceNames") or ())
        return cls(operations, groups, versions, tuple(resources), scope, names)

    def matches(self, occasion: Occasion, gvr: GVR) -> bool:
        return (
            _among(occasion.operation, self.operations)
            and _among(gvr.group, self.groups)
            and _among(gvr.version, self.versions)
            and any(head in ("*", gvr.resource) and sub in ("*", occasion.subresource) for head, sub in self.resources)
            and (not self.names or occasion.name in self.names)
            and self._in_scope(occasion)
        )

    def _in_scope(self, occasion: Occasion) -> bool:
        if self.scope == "*":
            return True
        is_namespaced = bool(occasion.attributes.scope.namespace)
        return is_namespaced if self.scope == "Namespaced" else not is_namespaced


def _among(value: str, allowed: frozenset[str]) -> bool:
    return "*" in allowed or value in allowed


@dataclass(frozen=True, slots=True)
class Match:
    """Everything that says which writes something is about."""

    rules: tuple[Rule, ...] | None
    """None: every write (a binding without rules of its own)."""
    excluded: tuple[Rule, ...]
    is_exact: bool
    namespaces: LabelSelector
    objects: LabelSelector

    @classmethod
    def of_resources(cls, given: Mapping[str, Any] | None, *, rules_required: bool) -> Match:
        """From a policy's or binding's MatchResources."""
        held = given or {}
        listed = held.get("resourceRules")
        rules = tuple(map(Rule.of, listed or ())) if listed or rules_required else None
        return cls(rules, tuple(map(Rule.of, held.get("excludeResourceRules") or ())), *_common(held))

    @classmethod
    def of_webhook(cls, given: Mapping[str, Any]) -> Match:
        return cls(tuple(map(Rule.of, given.get("rules") or ())), (), *_common(given))

    def find(self, occasion: Occasion, serves: Serves) -> Occasion | None:
        """The write in the version that a rule names; None if no rule is about it. Selectors are not looked at."""
        if any(rule.matches(occasion, occasion.gvr) for rule in self.excluded):
            return None
        if self.rules is None or any(rule.matches(occasion, occasion.gvr) for rule in self.rules):
            return occasion
        return None if self.is_exact else self._equivalent(occasion, self.rules, serves)

    def _equivalent(self, occasion: Occasion, rules: Sequence[Rule], serves: Serves) -> Occasion | None:
        for version in sorted({version for rule in rules for version in rule.versions} - {occasion.gvr.version, "*"}):
            gvr = GVR(occasion.gvr.group, version, occasion.gvr.resource)
            if any(rule.matches(occasion, gvr) for rule in rules) and (resource := serves(occasion.cluster, gvr)) is not None:
                return occasion.in_version(gvr, occasion.kind if occasion.subresource == "scale" else resource.gvk)
        return None

    async def selects(self, occasion: Occasion, namespace_of: NamespaceLookup) -> bool:
        if not self.objects.is_everything and not any(
            obj is not None and self.objects.matches(meta.labels(obj)) for obj in (occasion.new, occasion.old)
        ):
            return False
        if self.namespaces.is_everything:
            return True
        if occasion.is_namespace:
            return self.namespaces.matches(meta.labels(occasion.new or occasion.old or {}))
        namespace = await occasion.namespace_object(namespace_of)
        return namespace is None or self.namespaces.matches(meta.labels(namespace))


def _common(given: Mapping[str, Any]) -> tuple[bool, LabelSelector, LabelSelector]:
    return given.get("matchPolicy") == "Exact", _selector(given.get("namespaceSelector")), _selector(given.get("objectSelector"))


def _selector(given: JSONObject | None) -> LabelSelector:
    return LabelSelector.EVERYTHING if given is None else LabelSelector.from_object(given)
