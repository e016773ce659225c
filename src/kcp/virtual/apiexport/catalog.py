"""What one export's view serves: its own resources, what it claims, and always its bindings.

Before: `workspace`. After: `exports.exportindex`, `registry.crd`.
Source: kcp pkg/virtual/apiexport/controllers/apireconciler/apiexport_apireconciler_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.exports.exportindex import AskedClaim, ExportIndex, ExportRecord
from kcp.exports.names import BINDINGS, ExportedResource
from kcp.registry.resource import Resource

ReadOffered = Callable[[ExportRecord, ExportedResource], Sequence[Resource]]
"""What an export offers → one resource for each served version; none if there is no such schema."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Where resources of a view come from."""

    exports: ExportIndex
    offered: ReadOffered
    bound: Callable[[ClusterName, GroupResource], Sequence[Resource]]
    """Every version of what a workspace binds under a name; of all of them together for the wildcard."""
    native: Mapping[GroupResource, Sequence[Resource]]
    """Every version of the kinds that every workspace has."""
    own_bindings: Sequence[Resource]
    """Every version of APIBindings, to be read only: what an export sees without a claim."""


class ExportCatalog:
    """Implements `registry.resource.Catalog` for one state of one export; schemas that come later are served when they are there."""

    def __init__(self, export: ExportRecord, origins: Origins) -> None:
        self._export = export
        self._origins = origins
        self.claims: Mapping[GroupResource, AskedClaim] = {
            claim.key.group_resource: claim
            for claim in reversed(export.claims)
            if claim.key.group_resource not in {own.group_resource for own in export.resources}
        }

    def owns(self, group_resource: GroupResource) -> bool:
        return any(own.group_resource == group_resource for own in self._export.resources)

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return next((found for found in self._versions(cluster, gvr.group_resource) if found.gvr.version == gvr.version), None)

    def resources(self, cluster: ClusterName) -> Iterator[Resource]:
        names = dict.fromkeys([*(own.group_resource for own in self._export.resources), *self.claims, BINDINGS.group_resource])
        for name in names:
            yield from self._versions(cluster, name)

    def version(self, cluster: ClusterName) -> str:
        schemas = hash(tuple((resource.gvr, resource.schema_id) for resource in self.resources(cluster)))
        return f"{self._export.revision}/{schemas}"

    def _versions(self, cluster: ClusterName, name: GroupResource) -> Iterable[Resource]:
        for own in self._export.resources:
            if own.group_resource == name:
                return self._origins.offered(self._export, own)
        claim = self.claims.get(name)
        if claim is None:
            return self._origins.own_bindings if name == BINDINGS.group_resource else ()
        if claim.key.identity:
            return self._of_others(claim)
        return self._origins.bound(cluster, name) if claim.key.is_agnostic else self._origins.native.get(name, ())

    def _of_others(self, claim: AskedClaim) -> Iterable[Resource]:
        """Exports that share an identity have one owner, who keeps their schemas compatible: the first one counts."""
        for export in self._origins.exports.of_identity(claim.key.identity):
            for offered in export.resources:
                if offered.group_resource == claim.key.group_resource:
                    return self._origins.offered(export, offered)
        return ()
