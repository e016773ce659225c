"""Discovery: what is served here, in the old form (`/api`, `/apis`, one document per group version) and aggregated (v2, v2beta1).

Built from the catalog when somebody asks, kept by the catalog's version token.
Before: the router. After: `registry.resource.Catalog`.
Source: k8s.io/apiserver/pkg/endpoints/discovery; KEP-3352 aggregated discovery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.versions import version_rank
from kcp.apiserver.aggregation.documents import discovered
from kcp.apiserver.documents import Document, DocumentCache, respond
from kcp.apiserver.negotiate import in_form
from kcp.apiserver.request import Request, Response
from kcp.registry.resource import Catalog, Origin, Resource

if TYPE_CHECKING:
    from kcp.apiserver.aggregation.apis import AggregatedAPIs

_AGGREGATED = "apidiscovery.k8s.io"
_CUSTOM = 1000
"""Priority of the groups of CRDs. Source: pkg/controlplane/controller/crdregistration."""
_SCALE = GVK("autoscaling", "v1", "Scale")
_PROXY = ("create", "delete", "get", "patch", "update")
_SUBRESOURCES: dict[tuple[str, str], tuple[GVK, tuple[str, ...]]] = {
    ("serviceaccounts", "token"): (GVK("authentication.k8s.io", "v1", "TokenRequest"), ("create",)),
    ("pods", "binding"): (GVK("", "v1", "Binding"), ("create",)),
    ("pods", "eviction"): (GVK("policy", "v1", "Eviction"), ("create",)),
    ("namespaces", "finalize"): (GVK("", "v1", "Namespace"), ("update",)),
    ("pods", "attach"): (GVK("", "v1", "PodAttachOptions"), ("create", "get")),
    ("pods", "exec"): (GVK("", "v1", "PodExecOptions"), ("create", "get")),
    ("pods", "log"): (GVK("", "v1", "Pod"), ("get",)),
    ("pods", "portforward"): (GVK("", "v1", "PodPortForwardOptions"), ("create", "get")),
    ("pods", "proxy"): (GVK("", "v1", "PodProxyOptions"), _PROXY),
    ("nodes", "proxy"): (GVK("", "v1", "NodeProxyOptions"), _PROXY),
    ("services", "proxy"): (GVK("", "v1", "ServiceProxyOptions"), _PROXY),
}


GROUP_PRIORITIES = {
    "": 18000, "apiregistration.k8s.io": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600, "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200,
    "policy": 17100, "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "admissionregistration.k8s.io": 16700,
    "apiextensions.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300,
    "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100, "internal.apiserver.k8s.io": 16000, "resource.k8s.io": 15900,
}  # fmt: skip
"""Where a name or short name stands for several resources, clients take that of the first group.

Source: k8s.io/kubernetes/pkg/controlplane/apiserver/aggregator.go, pkg/controlplane/instance.go.
"""


def aggregated_form(accept: str) -> str:
    """The version of aggregated discovery that an Accept header asks for first; "" for the old documents.

    >>> aggregated_form("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")
    'v2'
    """
    for offer in accept.split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        given = dict(p.partition("=")[::2] for p in parameters)
        if kind == "application/json" and "g" not in given:
            return ""
        if kind == "application/json" and given.get("g") == _AGGREGATED and given.get("v") in ("v2", "v2beta1"):
            return given["v"]
    return ""


class Discovery:
    """Handler for `/api`, `/apis` and everything below them that is not a resource."""

    def __init__(self, catalog: Catalog, *, is_virtual: bool = False, elsewhere: AggregatedAPIs | None = None) -> None:
        """Args:
        elsewhere: what other servers serve behind this one.
        is_virtual: of a virtual workspace, which answers in the old form only and always has the core group, if only by name.

        Source: kcp-dev/virtual-workspace-framework pkg/dynamic/apiserver (its discovery handlers).
        """
        self._catalog = catalog
        self._is_virtual = is_virtual
        self._elsewhere = elsewhere
        self._documents = DocumentCache()

    async def __call__(self, request: Request) -> Response:
        info = request.info
        may_aggregate = not self._is_virtual and info.path.strip("/") in ("api", "apis")
        form = aggregated_form(request.headers.get("accept", "")) if may_aggregate else ""
        if info.path.strip("/") == "api" and not form:
            document = self._make(request, form)  # names the host that the client asked for, of which there may be any number
        else:
            changes = self._elsewhere.changes if self._elsewhere is not None else 0
            key = (info.cluster, self._catalog.version(info.cluster), changes, info.path, form)
            document = self._documents.get(key, lambda: self._make(request, form))
        response = respond(request, document, *((("cache-control", "public"),) if form else ()))
        return response if response.status == 304 else in_form(request, response)

    def _make(self, request: Request, form: str) -> Document:
        info = request.info
        groups = grouped(self._catalog.resources(info.cluster))
        if self._is_virtual and info.path.strip("/") == "api":
            groups = {"": {"v1": []}, **groups}
        parts = info.path.strip("/").split("/")
        legacy = parts[0] == "api"
        if form:
            chosen = {g: v for g, v in groups.items() if (g == "") == legacy}
            told = _aggregated_list(chosen, form)
            if not legacy and self._elsewhere is not None:
                _add_remote(told["items"], self._elsewhere)
            content_type = f"application/json;g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList"
            return Document.of(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE), content_type)
        versions = {group: list(held) for group, held in groups.items()}
        if self._elsewhere is not None:
            versions = _with_remote(versions, self._elsewhere)
        return Document.of(orjson.dumps(_legacy_document(parts, groups, versions, _host(request)), option=orjson.OPT_APPEND_NEWLINE))


def _host(request: Request) -> str:
    """Where the client found this server: that is where it will find it again."""
    return request.headers.get("host", "")


def grouped(resources: Iterable[Resource]) -> dict[str, dict[str, list[Resource]]]:
    """Group → version (preferred first) → resources in order of their names; Kubernetes' own groups first, in upstream's order."""
    groups: dict[str, dict[str, list[Resource]]] = {}
    for resource in resources:
        groups.setdefault(resource.gvr.group, {}).setdefault(resource.gvr.version, []).append(resource)
    return {
        group: {v: sorted(groups[group][v], key=lambda r: r.gvr.resource) for v in sorted(groups[group], key=version_rank)}
        for group in sorted(groups, key=lambda name: (-GROUP_PRIORITIES.get(name, 0), name))
    }


def _priority(group: str, elsewhere: AggregatedAPIs) -> int:
    given = [remote.priority for remote in elsewhere.remotes.values() if remote.group == group]
    return max(given, default=GROUP_PRIORITIES.get(group, _CUSTOM))


def _with_remote(versions: Mapping[str, list[str]], elsewhere: AggregatedAPIs) -> dict[str, list[str]]:
    """Groups and versions with those of other servers; the groups by their priorities."""
    found = {group: list(held) for group, held in versions.items()}
    for remote in sorted(elsewhere.remotes.values(), key=lambda remote: (-remote.version_priority, version_rank(remote.version))):
        held = found.setdefault(remote.group, [])
        if remote.version not in held:
            held.append(remote.version)
    return {group: found[group] for group in sorted(found, key=lambda group: -_priority(group, elsewhere))}


def _add_remote(items: list[dict[str, Any]], elsewhere: AggregatedAPIs) -> None:
    """The same in the aggregated form; a server that is away is told to be stale, with what it served last."""
    groups = {item["metadata"].get("name", ""): item for item in items}
    for remote in sorted(elsewhere.remotes.values(), key=lambda remote: (-remote.version_priority, version_rank(remote.version))):
        item = groups.get(remote.group)
        if item is None:
            item = groups[remote.group] = {"metadata": {"name": remote.group}, "versions": []}
            items.append(item)
        served = elsewhere.served(remote)
        resources = discovered(remote.group, remote.version, served.resources) if served is not None else []
        freshness = "Current" if remote.is_available and served is not None else "Stale"
        item["versions"].append({"version": remote.version, "resources": resources, "freshness": freshness})
    items.sort(key=lambda item: -_priority(item["metadata"].get("name", ""), elsewhere))


def _legacy_document(
    parts: list[str], groups: dict[str, dict[str, list[Resource]]], versions: Mapping[str, list[str]], host: str
) -> dict[str, Any]:
    match parts:
        case ["api"]:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
            return {"kind": "APIVersions", "versions": list(groups.get("", {})), "serverAddressByClientCIDRs": addresses}
        case ["apis"]:
            found = [_group(group, held) for group, held in versions.items() if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
        case ["apis", group] if group in versions:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions[group])}
        case ["api", version] if version in groups.get("", {}):
            return _resource_list(version, groups[""][version])
        case ["apis", group, version] if version in groups.get(group, {}):
            return _resource_list(f"{group}/{version}", groups[group][version])
    raise NotFound("the server could not find the requested resource")


def _group(group: str, versions: Iterable[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(group_version: str, resources: Iterable[Resource]) -> dict[str, Any]:
    entries = [entry for resource in resources for entry in _legacy_entries(resource)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}


def _legacy_entries(resource: Resource) -> Iterable[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.gvr.resource,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.storage_hash:
        entry["storageVersionHash"] = resource.storage_hash
    yield entry
    for name, gvk, verbs in subresources_of(resource):
        sub: dict[str, Any] = {"name": f"{resource.gvr.resource}/{name}", "singularName": "", "namespaced": resource.namespaced}
        sub |= {"kind": gvk.kind, "verbs": list(verbs) or None}
        if (gvk.group, gvk.version) != (resource.gvr.group, resource.gvr.version):
            sub |= {"group": gvk.group, "version": gvk.version}
        yield sub


def subresources_of(resource: Resource) -> Iterable[tuple[str, GVK, tuple[str, ...]]]:
    """Name, kind and verbs of each subresource, in order of their names; of a CRD the status first.

    Source: apiextensions-apiserver/pkg/apiserver/customresource_discovery_controller.go (sync).
    """
    found: dict[str, tuple[GVK, tuple[str, ...]]] = {}
    if resource.has_status:
        found["status"] = (resource.gvk, resource.status_verbs)
    if resource.scale is not None:
        found["scale"] = (_SCALE, ("get", "patch", "update"))
    for name in resource.subresources - {"status", "scale"}:
        found[name] = _SUBRESOURCES.get((resource.gvr.resource, name), (resource.gvk, ("get", "patch", "update")))
    for name in found if resource.origin is Origin.CRD else sorted(found):
        yield name, *found[name]


def _aggregated_list(groups: dict[str, dict[str, list[Resource]]], form: str) -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [
                {"version": version, "resources": [_aggregated(r) for r in resources], "freshness": "Current"}
                for version, resources in versions.items()
            ],
        }
        for group, versions in groups.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{form}", "metadata": {}, "items": items}


def _aggregated(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "resource": resource.gvr.resource,
        "responseKind": _kind(resource.gvk),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = [
        {"subresource": name, "responseKind": _kind(gvk), "verbs": list(verbs)} for name, gvk, verbs in subresources_of(resource)
    ]
    if subresources:
        entry["subresources"] = subresources
    return entry


def _kind(gvk: GVK) -> dict[str, str]:
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
