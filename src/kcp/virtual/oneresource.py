"""A catalog of a single resource, for virtual workspaces that show no more.

Before: `lifecycle.workspace`, `apiresourceschema.workspace`. After: `registry.resource`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.registry.resource import Resource


@dataclass(frozen=True, slots=True)
class OneResource:
    """Implements `registry.resource.Catalog`."""

    resource: Resource

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return self.resource if gvr == self.resource.gvr else None

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return (self.resource,)

    def version(self, cluster: ClusterName) -> str:
        return self.resource.schema_id
