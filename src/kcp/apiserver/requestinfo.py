"""From method, path and query to `RequestInfo`: which verb on which resource in which cluster, split by hand because every request pays.

Before: `filters.with_request_info`, the virtual workspace framework (for the rest of its paths). After: nothing.
Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go; kcp's `/clusters/<path>` prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcp.apiserver.request import RequestInfo

_CLUSTERS = "/clusters/"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_PARTS = frozenset(("status", "finalize"))
"""Subresources of namespaces themselves: `/namespaces/a/status` is not a resource `status` in namespace a."""


def is_true(text: str | None) -> bool:
    """Whether a query parameter says yes: anything but `false` and `0` does.

    Source: k8s.io/apimachinery/pkg/runtime/conversion.go, Convert_Slice_string_To_bool.

    >>> is_true("true"), is_true(""), is_true("0"), is_true("False"), is_true(None)
    (True, True, False, False, False)
    """
    return text is not None and text.lower() not in ("false", "0")


def parse(method: str, path: str, query: Mapping[str, str]) -> RequestInfo:
    """Never fails: a path that names no resource is a non-resource path with the lower-case method as verb.

    >>> info = parse("GET", "/clusters/root:a/apis/apps/v1/namespaces/x/deployments/web/scale", {})
    >>> info.cluster_path, info.verb, info.group, info.resource, info.namespace, info.name, info.subresource
    ('root:a', 'get', 'apps', 'deployments', 'x', 'web', 'scale')
    """
    cluster_path = ""
    if path.startswith(_CLUSTERS):
        cluster_path, slash, rest = path[len(_CLUSTERS) :].partition("/")
        path = slash + rest or "/"
    if path.startswith("/api/"):
        parts = path[5:].split("/")
        group, version = "", parts[0]
        rest_at = 1
    elif path.startswith("/apis/"):
        parts = path[6:].split("/")
        group, version = parts[0], parts[1] if len(parts) > 1 else ""
        rest_at = 2
    else:
        return RequestInfo(path, method.lower(), cluster_path)
    if not parts[-1]:
        parts.pop()
    if len(parts) <= rest_at or not version:
        return RequestInfo(path, method.lower(), cluster_path)
    info = RequestInfo(path, "", cluster_path, is_resource=True, group=group, version=version)
    watches = parts[rest_at] == "watch" and len(parts) > rest_at + 1
    _fill_resource(info, parts, rest_at + 1 if watches else rest_at)
    info.verb = _verb(method, info, query, watches=watches)
    if query and not info.name and "fieldSelector" in query and info.verb in ("list", "watch", "deletecollection"):
        info.name = _pinned_name(query["fieldSelector"])
    return info


def _fill_resource(info: RequestInfo, parts: list[str], at: int) -> None:
    """`[namespaces/<namespace>/]<resource>[/<name>[/<subresource>[/…]]]` from position `at`."""
    count = len(parts)
    if parts[at] == "namespaces" and count > at + 1:
        info.namespace = parts[at + 1]
        if count > at + 2 and parts[at + 2] not in _NAMESPACE_PARTS:
            at += 2
    info.resource = parts[at]
    if count > at + 1:
        info.name = parts[at + 1]
    if count > at + 2:
        whole = count == at + 3 or parts[at + 2] == "proxy"  # what follows a proxy is a path on the other side
        info.subresource = parts[at + 2] if whole else "/".join(parts[at + 2 :])


def _verb(method: str, info: RequestInfo, query: Mapping[str, str], *, watches: bool) -> str:
    if method in ("GET", "HEAD"):
        if watches:
            return "watch" if not info.subresource else "get"
        if info.name:
            return "get"
        return "watch" if query and is_true(query.get("watch")) else "list"
    if method == "DELETE" and not info.name:
        return "deletecollection"
    return _VERBS.get(method, method.lower())


def _pinned_name(field_selector: str) -> str:
    """The name that `metadata.name=…` pins, for authorization by name; "" if none or not readable (the handler then says why)."""
    for term in field_selector.split(","):
        field, _, value = term.partition("=")
        if field == "metadata.name":
            return value.lstrip("=")
    return ""
