"""The virtual workspace `admin`: the shards and the PermissionClaimPolicies of the installation, for members of its two groups.

Which cluster the rest of the URL names makes no difference. Before: `virtual.framework`. After: `backend`.
Source: kcp pkg/virtual/admin/{builder/build,authorizer/authorizer}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ROOT, ClusterName
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend
from kcp.registry.resource import Resource
from kcp.tenancy.kinds import KCP_ADMIN, MASTERS, SHARDS
from kcp.virtual.admin.backend import AdminBackend
from kcp.virtual.framework import View

_ADMINISTRATORS = (KCP_ADMIN, MASTERS)
_OF_SHARDS = ("get", "list", "patch", "update", "watch")
_OWNING = ("create", "delete", "deletecollection")


class AdminCatalog:
    """Implements `registry.resource.Catalog`: policies, and Shards as soon as `root` has them."""

    def __init__(self, policies: Resource, find_shards: Callable[[], Resource | None]) -> None:
        self._policies = policies
        self._find_shards = find_shards
        self._shards: tuple[Resource, Resource] | None = None
        """As `root` has them, and as they are shown."""

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return next((resource for resource in self.resources(cluster) if resource.gvr == gvr), None)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        found = self._find_shards()
        if found is None:
            return (self._policies,)
        if self._shards is None or self._shards[0] is not found:
            self._shards = found, replace(found, verbs=_OF_SHARDS, has_status=False)
        return self._shards[1], self._policies

    def version(self, cluster: ClusterName) -> str:
        return ".".join(resource.schema_id for resource in self.resources(cluster))


@dataclass(frozen=True, slots=True)
class AdminWorkspace:
    """Implements VirtualWorkspace."""

    catalog: AdminCatalog
    backend: Backend
    name: str = "admin"
    parameters: int = 0
    _views: list[View] = field(default_factory=list)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        """Raises Forbidden."""
        info = request.info
        if info.is_resource and info.verb in _OWNING and info.resource == SHARDS.resource:
            raise Forbidden("verb not supported by the admin workspace for this resource")
        if not set(_ADMINISTRATORS).intersection(request.user.groups):
            raise Forbidden(f"access to the admin workspace requires membership in the {' or '.join(_ADMINISTRATORS)} group")
        info.cluster = ROOT
        if not self._views:
            self._views.append(View(self.catalog, AdminBackend(self.backend)))
        return self._views[0]
