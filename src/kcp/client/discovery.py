"""Which resources a server serves, asked of the server.

Before: `rest.Client.discover`, and through it the namespace controller, the syncer and the CLI.
Source: KEP-3352 (aggregated discovery); k8s.io/client-go/discovery/discovery_client.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.meta import JSONObject

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
"""Accept header: one document for all groups, or the old form from servers that do not know it."""


@dataclass(frozen=True, slots=True)
class APIResource:
    """One served resource at one version."""

    gvr: GVR
    kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ()
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    preferred: bool = True
    """Whether this is the version of its group that the server names first."""

    @property
    def gvk(self) -> GVK:
        return GVK(self.gvr.group, self.gvr.version, self.kind)


GetJSON = Callable[[str, str], Awaitable[JSONObject]]
"""`(path, accept) -> document`."""


async def discover(get_json: GetJSON) -> list[APIResource]:
    """Every served version of every resource, core group first, in the server's order.

    Raises: StatusError, TransportError; never a part of the truth.
    """
    found: list[APIResource] = []
    for root in ("/api", "/apis"):
        document = await get_json(root, AGGREGATED)
        if document.get("kind") == "APIGroupDiscoveryList":
            found.extend(_aggregated(document))
        else:
            found.extend(await _legacy(get_json, document))
    return found


def _aggregated(document: Mapping[str, Any]) -> Iterator[APIResource]:
    for item in document.get("items") or ():
        group = (item.get("metadata") or {}).get("name") or ""
        for index, version in enumerate(item.get("versions") or ()):
            for entry in version.get("resources") or ():
                kind = entry.get("responseKind") or {}
                yield APIResource(
                    gvr=GVR(group, version["version"], entry["resource"]),
                    kind=kind.get("kind") or "",
                    namespaced=entry.get("scope") == "Namespaced",
                    verbs=tuple(entry.get("verbs") or ()),
                    singular=entry.get("singularResource") or "",
                    short_names=tuple(entry.get("shortNames") or ()),
                    categories=tuple(entry.get("categories") or ()),
                    subresources=tuple(sub["subresource"] for sub in entry.get("subresources") or ()),
                    preferred=index == 0,
                )


async def _legacy(get_json: GetJSON, document: Mapping[str, Any]) -> list[APIResource]:
    """Source: k8s.io/client-go/discovery/discovery_client.go (ServerResourcesForGroupVersion: no v1 is an empty one)."""
    found: list[APIResource] = []
    for group_version, preferred in _group_versions(document):
        path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
        try:
            entries = (await get_json(path, "application/json")).get("resources") or ()
        except NotFound:
            if "/" in group_version:
                raise
            continue  # a virtual workspace names the core group even where it serves nothing of it
        found.extend(_version_resources(group_version, entries, preferred=preferred))
    return found


def _group_versions(document: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Group versions named by an APIVersions (`/api`) or an APIGroupList (`/apis`) document."""
    for index, version in enumerate(document.get("versions") or ()):
        yield version, index == 0
    for group in document.get("groups") or ():
        preferred = (group.get("preferredVersion") or {}).get("groupVersion")
        for version in group.get("versions") or ():
            yield version["groupVersion"], version["groupVersion"] == preferred


def _version_resources(group_version: str, entries: Any, *, preferred: bool) -> Iterator[APIResource]:
    group, _, version = group_version.rpartition("/")
    subresources: dict[str, list[str]] = {}
    for entry in entries:
        name, slash, sub = entry["name"].partition("/")
        if slash:
            subresources.setdefault(name, []).append(sub)
    for entry in entries:
        if "/" in entry["name"]:
            continue
        yield APIResource(
            gvr=GVR(group, version, entry["name"]),
            kind=entry.get("kind") or "",
            namespaced=bool(entry.get("namespaced")),
            verbs=tuple(entry.get("verbs") or ()),
            singular=entry.get("singularName") or "",
            short_names=tuple(entry.get("shortNames") or ()),
            categories=tuple(entry.get("categories") or ()),
            subresources=tuple(subresources.get(entry["name"], ())),
            preferred=preferred,
        )
