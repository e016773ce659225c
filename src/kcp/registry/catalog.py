"""Who serves which resource in which logical cluster: sources of resources in order of priority.

A workspace looks names up in the built-in kinds, then in the system's own, then in what its APIBindings bound, then in its CRDs. A server
with one cluster has a fixed list.
Before: `apiserver.resources`, `apiserver.discovery`, `apiserver.openapi`. After: `builtin`, `crd`, `exports.source`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.registry.resource import Resource


class ResourceSource(Protocol):
    """One reason why resources are served. Synchronous and cheap: it is on every request's path."""

    def lookup(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        """The resource of this name; for the wildcard cluster `gvr.resource` may carry `:<identity>`."""

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        """Everything this source serves here, each served version."""

    def version(self, cluster: ClusterName) -> str:
        """Changes when what `resources` gives for this cluster changes."""


class StaticCatalog:
    """The same resources in every cluster, for ever: a source, and the whole catalog of a server with one cluster."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._resources = tuple(resources)
        self._by_gvr = {resource.gvr: resource for resource in self._resources}

    def lookup(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return self._by_gvr.get(gvr)

    resolve = lookup

    def resources(self, cluster: ClusterName) -> Sequence[Resource]:
        return self._resources

    def version(self, cluster: ClusterName) -> str:
        return "0"


class DynamicCatalog:
    """Asks its sources in order; the first one that knows a name has it, and hides that name's group and resource from the later ones."""

    def __init__(self, sources: Sequence[ResourceSource]) -> None:
        self._sources = tuple(sources)

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        for source in self._sources:
            if (resource := source.lookup(cluster, gvr)) is not None:
                return resource
        return None

    def resources(self, cluster: ClusterName) -> Iterator[Resource]:
        owner: dict[GroupResource, ResourceSource] = {}
        for source in self._sources:
            for resource in source.resources(cluster):
                if owner.setdefault(resource.group_resource, source) is source:
                    yield resource

    def version(self, cluster: ClusterName) -> str:
        return ".".join([source.version(cluster) for source in self._sources])
