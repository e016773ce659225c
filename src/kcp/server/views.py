"""The virtual workspaces of kcp itself, put together.

Before: `server.compose`. After: `virtual`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ROOT, WILDCARD, ClusterName
from kcp.exports.boundresources import bound_exports
from kcp.exports.names import BINDINGS, SCHEMAS
from kcp.registry.backend import Backend
from kcp.registry.resource import Origin, Resource
from kcp.server.foundation import Foundation
from kcp.server.security import Security
from kcp.storage.keyspace import resource_prefix, scope_prefix
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, SHARDS
from kcp.tenancy.workspacetype.lister import TypeLister
from kcp.virtual.admin.workspace import AdminCatalog, AdminWorkspace
from kcp.virtual.apiexport.catalog import Origins
from kcp.virtual.apiexport.workspace import ExportWorkspace
from kcp.virtual.apiresourceschema.workspace import SchemaWorkspace
from kcp.virtual.cache.workspace import CacheCatalog, CacheWorkspace
from kcp.virtual.lifecycle.stage import INITIALIZING, TERMINATING
from kcp.virtual.lifecycle.workspace import LifecycleWorkspace
from kcp.virtual.replication.workspace import ReplicationWorkspace

_READS = ("get", "list", "watch")
_REVIEWS = ("authentication.k8s.io", "authorization.k8s.io")


def admin_workspace(foundation: Foundation, backend: Backend) -> AdminWorkspace:
    """`/services/admin/…`"""
    return AdminWorkspace(AdminCatalog(foundation.claim_policies, lambda: foundation.catalog.resolve(ROOT, SHARDS)), backend)


def cache_workspace(foundation: Foundation, backend: Backend) -> CacheWorkspace:
    """`/services/cache/…`"""
    return CacheWorkspace(CacheCatalog(foundation.catalog), backend, ROOT)


def export_workspace(foundation: Foundation, backend: Backend, security: Security) -> ExportWorkspace:
    """`/services/apiexport/…`"""
    native = _native(foundation)
    own_bindings = [replace(resource, verbs=_READS, has_status=False) for resource in native[BINDINGS.group_resource]]
    origins = Origins(foundation.exports, foundation.schemas.read_offered, foundation.bound.versions_of, native, own_bindings)
    reviews = {key: handler for key, handler in security.connectors.items() if key[0] in _REVIEWS and not key[2]}
    return ExportWorkspace(
        backend, origins, foundation.claims, security.authorizer, security.policy, foundation.index.resolve,
        foundation.bound.identity_of, reviews, security.connectors["", "serviceaccounts", "token"]
    )  # fmt: skip


def replication_workspace(foundation: Foundation, backend: Backend, security: Security) -> ReplicationWorkspace:
    """`/services/replication/…`"""
    return ReplicationWorkspace(
        backend, foundation.cached, foundation.exports, foundation.claims, foundation.schemas.read_offered, security.authorizer
    )


async def schema_workspace(foundation: Foundation, backend: Backend, security: Security) -> SchemaWorkspace:
    """`/services/apiresourceschema/…`"""
    bindings = await foundation.cache.prefix(resource_prefix(BINDINGS.group_resource))
    schemas = foundation.catalog.resolve(WILDCARD, SCHEMAS)
    assert schemas is not None, "every workspace has it"

    def bound(consumer: ClusterName) -> frozenset[tuple[ClusterName, str]]:
        found: set[tuple[ClusterName, str]] = set()
        for item in bindings.scan(scope_prefix(bindings.prefix, consumer)):
            for key in bound_exports(item.decode()):
                export = foundation.exports.get(key)
                found.update((key.cluster, own.schema) for own in (export.resources if export is not None else ()))
        return frozenset(found)

    return SchemaWorkspace(backend, schemas, bound, security.authorizer, foundation.index.resolve)


def lifecycle_workspaces(foundation: Foundation, backend: Backend, security: Security, types: TypeLister) -> Sequence[LifecycleWorkspace]:
    """`/services/initializingworkspaces/…` and `/services/terminatingworkspaces/…`"""
    logical_clusters = foundation.catalog.resolve(WILDCARD, LOGICAL_CLUSTERS)
    assert logical_clusters is not None, "every workspace has it"
    index = foundation.index
    return [
        LifecycleWorkspace(stage, backend, logical_clusters, security.authorizer, index.resolve, index.record, types.at)
        for stage in (INITIALIZING, TERMINATING)
    ]


def _native(foundation: Foundation) -> Mapping[GroupResource, Sequence[Resource]]:
    """Every version of what every workspace has without binding it."""
    found: dict[GroupResource, list[Resource]] = {}
    for resource in foundation.catalog.resources(WILDCARD):
        if resource.origin in (Origin.BUILTIN, Origin.SYSTEM):
            found.setdefault(resource.group_resource, []).append(resource)
    return found
