"""The virtual workspace `replication`: a cached resource as the consumers of its export have it, one consumer at a time, to be read only.

Who has the verb on `apiexports/content` of the export may look into workspaces that bind it.
Before: `virtual.framework`. After: `exports.cached.index`, `registry.projection`.
Source: kcp pkg/virtual/replication/{builder/build,authorizer/content}.go, of main and of 0.31.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import WILDCARD, ClusterName, ObjectKey
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, forbidden
from kcp.apiserver.request import Request
from kcp.exports.cached.index import CachedIndex
from kcp.exports.cached.names import CACHED_SLICES, CachedKinds
from kcp.exports.claimindex import ClaimIndex
from kcp.exports.claims import claim_label
from kcp.exports.exportindex import ExportIndex, ExportRecord
from kcp.exports.names import APIS_GROUP, EXPORTS, ExportedResource
from kcp.registry.backend import Backend
from kcp.registry.resource import Resource
from kcp.virtual.framework import View

_READS = ("get", "list", "watch")

ReadOffered = Callable[[ExportRecord, ExportedResource], Sequence[Resource]]
"""What an export offers: one resource for each served version."""


@dataclass(frozen=True, slots=True)
class _Versions:
    """Implements `registry.resource.Catalog`: one resource in all its versions."""

    found: Sequence[Resource]

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return next((resource for resource in self.found if resource.gvr == gvr), None)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return self.found

    def version(self, cluster: ClusterName) -> str:
        return ".".join(resource.schema_id for resource in self.found)


def _offers(exports: Iterable[ExportRecord], kinds: CachedKinds, name: str) -> Iterator[tuple[ExportRecord, ExportedResource]]:
    """What exports have stored in a slice of this name."""
    for export in exports:
        for own in export.resources:
            if own.virtual is not None and (own.virtual.kind, own.virtual.name) == (kinds.slice_kind, name):
                yield export, own


@dataclass(frozen=True, slots=True)
class ReplicationWorkspace:
    """Implements VirtualWorkspace."""

    backend: Backend
    indexes: Sequence[CachedIndex]
    """One of each pair of kinds: current names before former ones."""
    exports: ExportIndex
    claims: ClaimIndex
    offered: ReadOffered
    authorizer: Authorizer
    name: str = "replication"
    parameters: int = 2
    _held: dict[ObjectKey, tuple[Sequence[Resource], View]] = field(default_factory=dict)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        """Raises Forbidden, and NotFound to those who may look."""
        path, name = parameters
        key = ObjectKey(self.indexes[0].resolve(path) or ClusterName(path), "", name)
        info = request.info
        if info.is_resource and info.verb not in _READS:
            raise Forbidden("write access to Replication virtual workspace is not allowed")
        published = list(self._published(key))
        if not published:
            asked = AuthzAttributes(request.user, "get", key.cluster, CACHED_SLICES.group, CACHED_SLICES.resource, name=name)
            await self._check(request, asked)
            raise NotFound.of(CACHED_SLICES.group_resource, name)
        bound = [(export, own) for export, own in published if info.cluster == WILDCARD or self._is_bound(info.cluster, export)]
        verb = info.verb if info.is_resource else "get"
        for export, _ in bound or published:
            asked = AuthzAttributes(request.user, verb, export.key.cluster, APIS_GROUP, EXPORTS.resource, "content", name=export.key.name)
            await self._check(request, asked)
        if not bound:
            raise forbidden(asked, "could not find suitable APIBinding in target logical cluster")
        return self._hold(key, self.offered(*bound[0]))

    def _is_bound(self, cluster: ClusterName, export: ExportRecord) -> bool:
        return self.claims.is_bound(cluster, claim_label(export.key.cluster, export.key.name))

    def _published(self, key: ObjectKey) -> Iterator[tuple[ExportRecord, ExportedResource]]:
        """Exports behind a slice, or behind a CachedResource of kcp 0.31, and what of each of them it is the storage of."""
        for index in self.indexes:
            held, cached = index.slice(key), index.resource(key)
            if index.kinds.names_export:
                at = index.at(key.cluster, held.export) if held is not None else None
                export = self.exports.get(at) if at is not None and at.cluster == key.cluster else None
                yield from _offers([export] if export is not None else (), index.kinds, key.name)
            elif cached is not None:
                found = _offers(self.exports.virtual_exports.values(), index.kinds, key.name)
                yield from (pair for pair in found if pair[1].virtual and pair[1].virtual.identity == cached.identity)

    async def _check(self, request: Request, asked: AuthzAttributes) -> None:
        decision = await self.authorizer.authorize(asked)
        if not decision.is_allowed:
            raise forbidden(asked, decision.reason)

    def _hold(self, key: ObjectKey, found: Sequence[Resource]) -> View:
        held = self._held.get(key)
        if held is None or held[0] is not found:
            held = self._held[key] = found, View(_Versions(found), self.backend)
        return held[1]
