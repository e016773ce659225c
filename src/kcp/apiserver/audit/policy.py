"""The audit policy: which requests are recorded, how much of each, and at which stages. The first rule that matches decides.

Before: `auditor`. After: nothing.
Source: k8s.io/apiserver/pkg/apis/audit/v1/types.go, pkg/apis/audit/validation/validation.go, pkg/audit/policy/{reader,checker}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from kcp.apimachinery.errors import Cause
from kcp.apimachinery.names import dns1123_subdomain
from kcp.apiserver.request import RequestInfo
from kcp.registry.backend import UserInfo

STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_FIELDS = frozenset((
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields",
))  # fmt: skip
_TEXTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")
"""Fields that are lists of strings."""


class AuditError(Exception):
    """Auditing cannot be set up; the message says what to change."""


class Level(IntEnum):
    """How much of a request is recorded; ordered."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    RESPONSE = 3


LEVELS = {"None": Level.NONE, "Metadata": Level.METADATA, "Request": Level.REQUEST, "RequestResponse": Level.RESPONSE}
NAMES = {level: name for name, level in LEVELS.items()}


@dataclass(frozen=True, slots=True)
class Audited:
    """What a policy says of one request."""

    level: Level
    omitted: frozenset[str]
    """Stages."""
    omits_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class GroupResources:
    group: str
    resources: tuple[str, ...]
    names: frozenset[str]

    def matches(self, info: RequestInfo) -> bool:
        """`*` everything, `pods/*` all subresources and pods themselves, `*/scale` one subresource of everything."""
        if self.group != info.group:
            return False
        if not self.resources:
            return True
        if self.names and info.name not in self.names:
            return False
        resource = info.resource.partition(":")[0]
        whole = f"{resource}/{info.subresource}" if info.subresource else resource
        wanted = (whole, "*", f"{resource}/*", f"*/{info.subresource}" if info.subresource else "*")
        return any(given in wanted for given in self.resources)


@dataclass(frozen=True, slots=True)
class Rule:
    says: Audited
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[GroupResources, ...]
    urls: tuple[str, ...]

    def matches(self, user: UserInfo | None, info: RequestInfo) -> bool:
        """`user`: None for who is not authenticated, whom no rule about users or groups matches."""
        if self.users and (user is None or user.name not in self.users):
            return False
        if self.groups and (user is None or self.groups.isdisjoint(user.groups)):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return info.is_resource and self._matches_resource(info)
        return not self.urls or (not info.is_resource and any(_matches_path(info.path, url) for url in self.urls))

    def _matches_resource(self, info: RequestInfo) -> bool:
        if self.namespaces and info.namespace not in self.namespaces:
            return False
        return not self.resources or any(given.matches(info) for given in self.resources)


def _matches_path(path: str, url: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*")))


class Policy:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def of(self, user: UserInfo | None, info: RequestInfo) -> Audited | None:
        """None: nothing is recorded of this request."""
        for rule in self._rules:
            if rule.matches(user, info):
                return rule.says if rule.says.level else None
        return None


def load_policy(path: Path) -> Policy:
    """Raises AuditError."""
    import yaml

    try:
        document = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AuditError(f"--audit-policy-file={path}: {error}") from error
    try:
        return parse_policy(document)
    except AuditError as error:
        raise AuditError(f"--audit-policy-file={path}: {error}") from error


def parse_policy(document: object) -> Policy:
    """Raises AuditError with every fault."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != ("audit.k8s.io/v1", "Policy"):
        raise AuditError("it must be of apiVersion audit.k8s.io/v1 and kind Policy")
    rules = document.get("rules") or []
    if not isinstance(rules, list) or not rules:
        raise AuditError("loaded illegal policy with 0 rules")
    causes = [Cause.invalid(str(name), str(name), "no such field") for name in document if name not in _POLICY_FIELDS]
    causes += [*_text_faults("", document, ("omitStages",)), *_switch_faults("", document)]
    causes = causes or list(_stage_faults("omitStages", document.get("omitStages")))
    causes += [cause for index, rule in enumerate(rules) for cause in _faults(f"rules[{index}]", rule)]
    if causes:
        raise AuditError("; ".join(map(str, causes)))
    return Policy([_rule(rule, document) for rule in rules])


_POLICY_FIELDS = frozenset(("apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"))


def _rule(given: Mapping[str, Any], policy: Mapping[str, Any]) -> Rule:
    """Stages are omitted that either says; of managed fields the rule has the last word."""
    omits = given.get("omitManagedFields")
    says = Audited(
        LEVELS[given["level"]],
        frozenset((*(policy.get("omitStages") or ()), *(given.get("omitStages") or ()))),
        bool(policy.get("omitManagedFields") if omits is None else omits),
    )
    users, groups, verbs, namespaces = (frozenset(given.get(name) or ()) for name in ("users", "userGroups", "verbs", "namespaces"))
    resources = tuple(
        GroupResources(held.get("group") or "", tuple(held.get("resources") or ()), frozenset(held.get("resourceNames") or ()))
        for held in given.get("resources") or ()
    )
    return Rule(says, users, groups, verbs, namespaces, resources, tuple(given.get("nonResourceURLs") or ()))


def _faults(path: str, rule: object) -> Iterator[Cause]:
    if not isinstance(rule, dict):
        yield Cause.invalid(path, rule, "must be an object")
        return
    yield from (Cause.invalid(f"{path}.{name}", name, "no such field") for name in rule if name not in _FIELDS)
    level = rule.get("level")
    if not level:
        yield Cause.required(f"{path}.level")
    elif not isinstance(level, str) or level not in LEVELS:
        yield Cause.not_supported(f"{path}.level", level, tuple(LEVELS))
    faults = [*_text_faults(path, rule, _TEXTS), *_switch_faults(path, rule)]
    if not isinstance(rule.get("resources") or [], list):
        faults.append(Cause.invalid(f"{path}.resources", rule["resources"], "must be a list"))
    yield from faults
    if faults:
        return
    yield from _stage_faults(f"{path}.omitStages", rule.get("omitStages"))
    yield from _url_faults(f"{path}.nonResourceURLs", rule.get("nonResourceURLs") or ())
    for held in rule.get("resources") or ():
        yield from _resource_faults(f"{path}.resources", held)
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        text = "rules cannot apply to both regular resources and non-resource URLs"
        yield Cause.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], text)


def _text_faults(path: str, held: Mapping[str, Any], names: Sequence[str]) -> Iterator[Cause]:
    for name in names:
        value = held.get(name) or []
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            yield Cause.invalid(f"{path}.{name}" if path else name, value, "must be a list of strings")


def _switch_faults(path: str, held: Mapping[str, Any]) -> Iterator[Cause]:
    if not isinstance(held.get("omitManagedFields"), bool | None):
        yield Cause.invalid(
            f"{path}.omitManagedFields" if path else "omitManagedFields", held["omitManagedFields"], "must be true or false"
        )


def _url_faults(path: str, urls: Sequence[Any]) -> Iterator[Cause]:
    for index, url in enumerate(urls):
        if url == "*":
            continue
        if not url.startswith("/"):
            yield Cause.invalid(f"{path}[{index}]", url, "non-resource URL rules must begin with a '/' character")
        if "*" in url[:-1]:
            yield Cause.invalid(f"{path}[{index}]", url, "non-resource URL wildcards '*' must be the final character of the rule")


def _resource_faults(path: str, held: object) -> Iterator[Cause]:
    if not isinstance(held, dict):
        yield Cause.invalid(path, held, "must be an object with group, resources and resourceNames")
        return
    faults = list(_text_faults(path, held, ("resources", "resourceNames")))
    if not isinstance(held.get("group") or "", str):
        faults.append(Cause.invalid(f"{path}.group", held["group"], "must be a string"))
    yield from faults
    if faults:
        return
    if group := held.get("group"):
        yield from (Cause.invalid(f"{path}.group", group, text) for text in dns1123_subdomain(str(group)))
    if held.get("resourceNames") and not held.get("resources"):
        yield Cause.invalid(f"{path}.resourceNames", held["resourceNames"], "using resourceNames requires at least one resource")


def _stage_faults(path: str, stages: object) -> Iterator[Cause]:
    for index, stage in enumerate(stages if isinstance(stages, list) else ()):
        if stage not in STAGES:
            yield Cause.invalid(f"{path}[{index}]", stage, f"allowed stages are {','.join(STAGES)}")
