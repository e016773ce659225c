"""Policy rules: what one grants, and whether one set of rules covers another.

Pure. Before: `authz.rbac` (evaluation), `admission.escalation` (covering), `authz.reviews` (listing).
Source: k8s.io/kubernetes/pkg/registry/rbac/validation/{rule,policy_comparator}.go, pkg/apis/rbac/v1/evaluation_helpers.go,
k8s.io/component-helpers/auth/rbac/validation/policy_comparator.go.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.meta import JSONObject


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule: of resources, or of non-resource URLs."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    """`pods`, `pods/log`, `*/scale`, `*`."""
    names: frozenset[str] = frozenset()
    """Empty: every name."""
    urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Rule:
        """From the JSON of a PolicyRule; absent lists are empty."""
        return cls(
            frozenset(obj.get("verbs") or ()),
            frozenset(obj.get("apiGroups") or ()),
            frozenset(obj.get("resources") or ()),
            frozenset(obj.get("resourceNames") or ()),
            tuple(obj.get("nonResourceURLs") or ()),
        )

    def matches_resource(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Whether the rule speaks of this, for some names at least."""
        if not _holds(self.verbs, verb) or not _holds(self.groups, group):
            return False
        combined = f"{resource}/{subresource}" if subresource else resource
        if "*" in self.resources or combined in self.resources:
            return True
        return bool(subresource) and f"*/{subresource}" in self.resources

    def matches_url(self, verb: str, path: str) -> bool:
        return _holds(self.verbs, verb) and any(_url_covers(url, path) for url in self.urls)

    def to_object(self) -> JSONObject:
        """As a PolicyRule, lists sorted: for SelfSubjectRulesReview."""
        fields: tuple[tuple[str, Iterable[str]], ...] = (
            ("verbs", self.verbs), ("apiGroups", self.groups), ("resources", self.resources),
            ("resourceNames", self.names), ("nonResourceURLs", self.urls),
        )  # fmt: skip
        return {key: sorted(values) for key, values in fields if values}

    def __str__(self) -> str:
        """As upstream prints it: `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`. Source: rbac/v1 CompactString."""
        fields: tuple[tuple[str, Iterable[str]], ...] = (
            ("APIGroups", self.groups), ("Resources", self.resources), ("NonResourceURLs", self.urls),
            ("ResourceNames", self.names), ("Verbs", self.verbs),
        )  # fmt: skip
        listed = (f"{key}:[{' '.join(_quoted(values))}]" for key, values in fields if values)
        return "{" + ", ".join(listed) + "}"


def _quoted(values: Iterable[str]) -> list[str]:
    return [f'"{value}"' for value in sorted(values)]


def _holds(granted: frozenset[str], wanted: str) -> bool:
    return "*" in granted or wanted in granted


def _url_covers(granted: str, wanted: str) -> bool:
    """Exact, or by a trailing `*` of the granted URL."""
    if granted in ("*", wanted):
        return True
    return granted.endswith("*") and wanted.startswith(granted.rstrip("*"))


def parse_rules(role: Mapping[str, Any]) -> tuple[Rule, ...]:
    return tuple(Rule.of(rule) for rule in role.get("rules") or ())


def uncovered(wanted: Iterable[Rule], held: Sequence[Rule]) -> list[Rule]:
    """Those parts of `wanted` that no rule of `held` grants, merged for display; empty: all is covered.

    Every rule is broken down to one verb, group, resource and name (or one URL), and each piece must be covered by one held rule.
    """
    missing = [piece for rule in wanted for piece in _pieces(rule) if not any(_covers(owner, piece) for owner in held)]
    return list(_merge(missing))


def _pieces(rule: Rule) -> Iterator[Rule]:
    names = sorted(rule.names) or [""]
    for verb in sorted(rule.verbs):
        for group, resource, name in itertools.product(sorted(rule.groups), sorted(rule.resources), names):
            kept = frozenset((name,)) if name else frozenset[str]()
            yield Rule(frozenset((verb,)), frozenset((group,)), frozenset((resource,)), kept)
        for url in rule.urls:
            yield Rule(frozenset((verb,)), urls=(url,))


def _covers(owner: Rule, piece: Rule) -> bool:
    """`piece` is a single verb on a single thing."""
    (verb,) = piece.verbs
    if not _holds(owner.verbs, verb):
        return False
    if piece.urls:
        return any(_url_covers(url, piece.urls[0]) for url in owner.urls)
    (group,), (resource,) = piece.groups, piece.resources
    if not _holds(owner.groups, group):
        return False
    _, slash, subresource = resource.partition("/")
    held = "*" in owner.resources or resource in owner.resources or (bool(slash) and f"*/{subresource}" in owner.resources)
    return held and (not owner.names or (bool(piece.names) and piece.names <= owner.names))


def _merge(pieces: Iterable[Rule]) -> Iterator[Rule]:
    """Join pieces that differ in their verb only."""
    verbs: dict[Rule, set[str]] = {}
    for piece in pieces:
        key = Rule(frozenset(), piece.groups, piece.resources, piece.names, piece.urls)
        verbs.setdefault(key, set()).update(piece.verbs)
    for key, found in verbs.items():
        yield Rule(frozenset(found), key.groups, key.resources, key.names, key.urls)
