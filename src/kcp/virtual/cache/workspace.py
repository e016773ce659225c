"""The virtual workspace `cache`: what shards tell one another, where kcp's cache server is: `/services/cache/shards/<shard>/clusters/…`.

There is one shard, so nothing is copied: the objects themselves are shown, with the annotation that says whose they are. What is written
here does not last in kcp, because its replication brings back what the shard has; here it changes nothing from the start.
Before: `virtual.framework`. After: `transform`.
Source: kcp main, pkg/cache/server/{handler,bootstrap/bootstrap}.go, pkg/reconciler/cache/replication (0.11 tells nothing of the original).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ROOT, WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apiserver.authz.effective import effective_groups
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend, Deleted, DeleteOptions, Scope
from kcp.registry.resource import Catalog, Resource
from kcp.tenancy.kinds import MASTERS
from kcp.virtual.framework import View
from kcp.virtual.transform import TransformingBackend

SHARD_ANNOTATION = "kcp.io/shard"
REVISION_ANNOTATION, UID_ANNOTATION = (f"cache.kcp.io/original-resource-{what}" for what in ("version", "UID"))
_VERBS = ("delete", "get", "list", "patch", "update", "watch")
_REPLICATED = frozenset(
    (
        *(("admissionregistration.k8s.io", f"{stage}webhookconfigurations") for stage in ("mutating", "validating")),
        *(("admissionregistration.k8s.io", f"validatingadmissionpol{end}") for end in ("icies", "icybindings")),
        *(("apis.kcp.io", name) for name in ("apiconversions", "apiexportendpointslices", "apiexports", "apiresourceschemas")),
        *(("core.kcp.io", name) for name in ("logicalclusters", "shards")),
        *(("rbac.authorization.k8s.io", f"{scope}{what}") for scope in ("", "cluster") for what in ("roles", "rolebindings")),
        ("tenancy.kcp.io", "workspacetypes"),
    )
)
"""Kcp's list, without what it copies for cached resources; of RBAC kcp copies only what other shards need."""


@dataclass(frozen=True, slots=True)
class CacheCatalog:
    """Implements `registry.resource.Catalog`: what is replicated, in every cluster."""

    inner: Catalog

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        if (gvr.group, gvr.resource) not in _REPLICATED:
            return None
        found = self.inner.resolve(cluster, gvr) or self.inner.resolve(ROOT, gvr)
        return _shown(found) if found is not None else None

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        found = self.inner.resources(ROOT if cluster == WILDCARD else cluster)
        return [_shown(resource) for resource in found if (resource.gvr.group, resource.gvr.resource) in _REPLICATED]

    def version(self, cluster: ClusterName) -> str:
        return self.inner.version(ROOT if cluster == WILDCARD else cluster)


def _shown(resource: Resource) -> Resource:
    return replace(resource, verbs=_VERBS, has_status=False)


@dataclass(frozen=True, slots=True)
class OfShard:
    """Implements Transformation: the object as it is, whose it is, and what it was copied from."""

    shard: str

    def outward(self, scope: Scope, obj: JSONObject) -> JSONObject:
        meta.set_annotation(obj, REVISION_ANNOTATION, meta.resource_version(obj))
        meta.set_annotation(obj, UID_ANNOTATION, meta.uid(obj))
        meta.set_annotation(obj, SHARD_ANNOTATION, self.shard)
        return obj

    def inward(self, scope: Scope, live: JSONObject, view: JSONObject) -> JSONObject:
        return live


class CacheBackend(TransformingBackend):
    """Implements Backend; no write has an effect."""

    __slots__ = ()

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        return Deleted(await self.get(scope), gone=False)


@dataclass(frozen=True, slots=True)
class CacheWorkspace:
    """Implements VirtualWorkspace."""

    catalog: CacheCatalog
    backend: Backend
    shard: str
    """The only one."""
    name: str = "cache"
    parameters: int = 2
    _views: list[View] = field(default_factory=list)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        """Raises Forbidden and NotFound."""
        if MASTERS not in effective_groups(request.user, WILDCARD):
            raise Forbidden(f"access to the cache requires membership in the group {MASTERS}: it is for shards, not for users")
        word, shard = parameters
        if word != "shards" or shard not in (WILDCARD, self.shard):
            raise NotFound(f"/services/cache/{word}/{shard} leads nowhere: write /services/cache/shards/{self.shard}/clusters/<cluster>/…")
        if not self._views:
            self._views.append(View(self.catalog, CacheBackend(self.backend, LabelSelector.EVERYTHING, OfShard(self.shard))))
        return self._views[0]
