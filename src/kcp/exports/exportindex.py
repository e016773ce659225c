"""What is known of every APIExport without decoding it again: by place, by identity. Fed by the watch cache with each change.

Before: the virtual workspace `apiexport`, the maximal permission policy, admission of claims. After: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.exports.claims import ClaimKey
from kcp.exports.names import ExportedResource, VirtualStorage, exported_resources


@dataclass(frozen=True, slots=True)
class AskedClaim:
    """One entry of `spec.permissionClaims`."""

    key: ClaimKey
    verbs: frozenset[str]

    def allows(self, verb: str) -> bool:
        return verb in self.verbs or "*" in self.verbs


@dataclass(frozen=True, slots=True)
class ExportRecord:
    key: ObjectKey
    revision: str
    identity: str
    """"" until it has one."""
    resources: tuple[ExportedResource, ...]
    claims: tuple[AskedClaim, ...]
    has_local_policy: bool
    """`spec.maximalPermissionPolicy.local`."""

    @classmethod
    def of(cls, key: ObjectKey, export: JSONObject) -> ExportRecord:
        claims = meta.nested(export, "spec", "permissionClaims", default=())
        return cls(
            key,
            meta.resource_version(export),
            meta.nested(export, "status", "identityHash", default=""),
            tuple(exported_resources(export)),
            tuple(AskedClaim(ClaimKey.of(claim), frozenset(claim.get("verbs") or ())) for claim in claims),
            meta.nested(export, "spec", "maximalPermissionPolicy", "local", default=None) is not None,
        )


def _storages(export: ExportRecord) -> Iterator[VirtualStorage | None]:
    return (own.virtual for own in export.resources)


class ExportIndex:
    """Exports by place and by identity."""

    def __init__(self) -> None:
        self.virtual_exports: dict[ObjectKey, ExportRecord] = {}
        """Those that have virtual resources."""
        self._by_key: dict[ObjectKey, ExportRecord] = {}
        self._by_identity: dict[str, dict[ObjectKey, ExportRecord]] = {}

    def changed(self, key: ObjectKey, export: JSONObject | None) -> None:
        """Take note of one export as it is now stored; None: it is gone."""
        held = self._by_key.pop(key, None)
        if held is not None:
            sharing = self._by_identity[held.identity]
            del sharing[key]
            if not sharing:
                del self._by_identity[held.identity]
            self.virtual_exports.pop(key, None)
        if export is not None:
            record = self._by_key[key] = ExportRecord.of(key, export)
            self._by_identity.setdefault(record.identity, {})[key] = record
            if any(own.virtual for own in record.resources):
                self.virtual_exports[key] = record

    def get(self, key: ObjectKey) -> ExportRecord | None:
        return self._by_key.get(key)

    def virtual(self, cluster: ClusterName, resource: GroupResource, identity: str) -> VirtualStorage | None:
        """How a cluster publishes a resource under an identity, where consumers have no objects of their own."""
        own = (o for export in self.of_identity(identity) if export.key.cluster == cluster for o in export.resources)
        return next((offered.virtual for offered in own if offered.group_resource == resource), None)

    def stored_in(self, cluster: ClusterName, virtual: VirtualStorage) -> list[str]:
        """Names of a cluster's exports that have something in this storage."""
        found = (key.name for key, export in self.virtual_exports.items() if key.cluster == cluster and virtual in _storages(export))
        return list(found)

    def provides(self, claimed: ClaimKey) -> bool:
        """Whether an export of the claimed identity offers the resource."""
        offered = (own for export in self.of_identity(claimed.identity) for own in export.resources)
        return any(own.group_resource == claimed.group_resource for own in offered)

    def is_replicated(self, claimed: ClaimKey) -> bool:
        """Whether what is claimed is one copy for all consumers, which none of them can label."""
        offered = (own for export in self.of_identity(claimed.identity) for own in export.resources)
        return any(own.group_resource == claimed.group_resource and own.virtual is not None for own in offered)

    def of_identity(self, identity: str) -> Sequence[ExportRecord]:
        """All exports that share an identity, in a stable order: one owner may have several."""
        found = self._by_identity.get(identity, {}) if identity else {}
        return sorted(found.values(), key=lambda record: (record.key.name, record.key.cluster))
