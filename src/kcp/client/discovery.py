"""Which resources a server serves, asked of the server.

Before: `rest.Client.discover`, and through it the namespace controller, the syncer and the CLI.
Source: KEP-3352 (aggregated discovery); k8s.io/client-go/discovery/discovery_client.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import RawResponse, decode_object

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


Get = Callable[[str, Mapping[str, str]], Awaitable[RawResponse]]
"""`(path, headers) -> answer`."""


class Discovered:
    """What a server said last. Asking again costs next to nothing while it has nothing new to say (ETag, 304)."""

    def __init__(self) -> None:
        self._etags: dict[str, str] = {}
        self._parts: dict[str, Sequence[APIResource]] = {}
        self._whole: Sequence[APIResource] = ()

    async def ask(self, get: Get) -> Sequence[APIResource]:
        """Every served version of every resource, core group first, in the server's order; the same object while nothing changes.

        Raises: StatusError, TransportError; never a part of the truth.
        """
        answers = {root: await get(root, self._headers(root)) for root in ("/api", "/apis")}
        if any(answer.status != _NOT_MODIFIED for answer in answers.values()):
            for root, answer in answers.items():
                if answer.status != _NOT_MODIFIED:
                    self._parts[root] = await _read(get, decode_object(answer))
                    self._etags[root] = answer.headers.get("etag", "")
            self._whole = tuple(resource for root in answers for resource in self._parts[root])
        return self._whole

    def _headers(self, root: str) -> Mapping[str, str]:
        etag = self._etags.get(root)
        return {"accept": AGGREGATED, "if-none-match": etag} if etag else {"accept": AGGREGATED}


_NOT_MODIFIED = 304


async def _read(get: Get, document: JSONObject) -> Sequence[APIResource]:
    if document.get("kind") == "APIGroupDiscoveryList":
        return tuple(_aggregated(document))
    return await _legacy(get, document)


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


async def _legacy(get: Get, document: Mapping[str, Any]) -> list[APIResource]:
    """Source: k8s.io/client-go/discovery/discovery_client.go (ServerResourcesForGroupVersion: no v1 is an empty one)."""
    found: list[APIResource] = []
    for group_version, preferred in _group_versions(document):
        path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
        try:
            entries = decode_object(await get(path, {"accept": "application/json"})).get("resources") or ()
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
