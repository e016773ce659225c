"""What other servers serve, in the words of this server's own documents: entries of aggregated discovery, parts of OpenAPI v2.

Before: `apiserver.discovery`, `apiserver.openapi`. After: nothing.
Source: k8s.io/kube-aggregator/pkg/apiserver/handler_discovery.go, pkg/controllers/openapi/aggregator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kcp.apimachinery.meta import JSONObject

_REFERENCE = "#/definitions/"


def discovered(group: str, version: str, entries: Iterable[JSONObject]) -> list[JSONObject]:
    """The resources of an APIResourceList as aggregated discovery tells them."""
    found: dict[str, JSONObject] = {}
    for entry in entries:
        name, _, subresource = entry["name"].partition("/")
        kind = {"group": entry.get("group") or group, "version": entry.get("version") or version, "kind": entry.get("kind") or ""}
        told: JSONObject = {"responseKind": kind, "verbs": entry.get("verbs") or []}
        scope = "Namespaced" if entry.get("namespaced") else "Cluster"
        held = found.setdefault(name, {"resource": name, "scope": scope, "singularResource": "", "verbs": []})
        if subresource:
            held.setdefault("subresources", []).append({"subresource": subresource, **told})
            continue
        held |= {**told, "scope": scope, "singularResource": entry.get("singularName") or ""}
        held |= {part: entry[part] for part in ("shortNames", "categories") if entry.get(part)}
    return list(found.values())


def merged(own: JSONObject, others: Sequence[tuple[str, Mapping[str, Any]]]) -> JSONObject:
    """Our OpenAPI v2 document with the paths below each prefix of the others', and the definitions that these need.

    A definition that two documents have is taken from the first: what both mean by a name such as ObjectMeta is the same.
    """
    paths, definitions = dict(own.get("paths") or {}), dict(own.get("definitions") or {})
    for prefix, document in others:
        theirs = document.get("paths") or {}
        added = {path: told for path, told in theirs.items() if path.startswith(f"{prefix}/")}
        paths |= added
        _take(definitions, document.get("definitions") or {}, added)
    return {**own, "paths": paths, "definitions": definitions}


def _take(into: dict[str, Any], theirs: Mapping[str, Any], used: Any) -> None:
    pending: list[Any] = [used]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            name = node.get("$ref")
            if isinstance(name, str) and (name := name.removeprefix(_REFERENCE)) not in into and name in theirs:
                into[name] = theirs[name]
                pending.append(theirs[name])
            pending += [value for value in node.values() if isinstance(value, (dict, list))]
