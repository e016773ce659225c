"""Which FlowSchema a request falls under: the first, by precedence and name, one of whose rules fits.

Before: `fairness`. After: nothing.
Source: k8s.io/apiserver/pkg/util/flowcontrol/rule.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kcp.apiserver.request import RequestInfo
from kcp.registry.backend import UserInfo

ALL = "*"
_ACCOUNT = "system:serviceaccount:"


def in_order(schemas: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lowest `matchingPrecedence` first, then by name. Source: k8s.io/apiserver/pkg/util/apihelpers/helpers.go."""
    return sorted(schemas, key=lambda schema: (schema["spec"].get("matchingPrecedence") or 0, schema["metadata"]["name"]))


def matches(rules: Iterable[Mapping[str, Any]], user: UserInfo, info: RequestInfo) -> bool:
    """Args: rules: `spec.rules` of a FlowSchema."""
    return any(_subject(rule.get("subjects") or (), user) and _what(rule, info) for rule in rules)


def _subject(subjects: Iterable[Mapping[str, Any]], user: UserInfo) -> bool:
    return any(_is(subject, user) for subject in subjects)


def _is(subject: Mapping[str, Any], user: UserInfo) -> bool:
    match subject.get("kind"):
        case "User":
            return (subject.get("user") or {}).get("name") in (ALL, user.name)
        case "Group":
            group = (subject.get("group") or {}).get("name")
            return group == ALL or group in user.groups
        case "ServiceAccount":
            account = subject.get("serviceAccount") or {}
            of_namespace, name = f"{_ACCOUNT}{account.get('namespace')}:", account.get("name")
            return user.name.startswith(of_namespace) if name == ALL else user.name == f"{of_namespace}{name}"
    return False


def _what(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    if info.is_resource:
        return any(_resource(each, info) for each in rule.get("resourceRules") or ())
    return any(_path(each, info) for each in rule.get("nonResourceRules") or ())


def _resource(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (_in(rule, "verbs", info.verb) and _in(rule, "resources", resource) and _in(rule, "apiGroups", info.group)):
        return False
    return _in(rule, "namespaces", info.namespace) if info.namespace else bool(rule.get("clusterScope"))


def _path(rule: Mapping[str, Any], info: RequestInfo) -> bool:
    return _in(rule, "verbs", info.verb) and any(_covers(url, info.path) for url in rule.get("nonResourceURLs") or ())


def _covers(url: str, path: str) -> bool:
    """
    >>> [_covers("/healthz", "/healthz"), _covers("/healthz", "/healthz/etcd"), _covers("/heal", "/healthz"), _covers("/apis/*", "/apis/x")]
    [True, True, False, True]
    """
    return url in (ALL, path) or path.startswith(f"{url.removesuffix('*').removesuffix('/')}/")


def _in(rule: Mapping[str, Any], part: str, word: str) -> bool:
    words: Sequence[str] = rule.get(part) or ()
    return words == [ALL] or word in words
