"""The catalog source of bound resources: which APIs the bindings of a workspace make it serve.

Fed synchronously by the watch cache (`changed`), so a binding that was acknowledged as Bound is served. One `Resource` per schema and
identity is shared by every workspace that binds it: a further binding costs a dictionary entry.
Before: `registry.catalog`. After: `registry.crd` (schema → Resource).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ROOT, WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.exports.boundresources import BoundResource, bound_resources
from kcp.registry.crd import ALL, Retired, metadata_of, whosever
from kcp.registry.resource import Resource


@dataclass(frozen=True, slots=True)
class _Served:
    bound: BoundResource
    export_cluster: ClusterName
    binding: str
    deleting: bool


class BoundSource:
    """Implements the catalog's ResourceSource for APIBindings.

    Args: build: (export cluster, what is bound) → one Resource for each served version; called once for each schema uid, and again while
    there is none.
    """

    def __init__(self, build: Callable[[ClusterName, BoundResource], Iterable[Resource]]) -> None:
        self._build = build
        self._by_cluster: dict[ClusterName, dict[GroupResource, _Served]] = {}
        self._by_binding: dict[tuple[ClusterName, str], tuple[GroupResource, ...]] = {}
        self._by_identity: dict[tuple[GroupResource, str], _Served] = {}
        self._system_identity: dict[GroupResource, str] = {}
        self._resources: dict[tuple[str, str], dict[str, Resource]] = {}
        self._versions: dict[ClusterName, int] = {}
        self._retired: list[Retired] = []
        self.generation = 0
        """Changes with every change of any binding."""

    def changed(self, cluster: ClusterName, name: str, binding: JSONObject | None) -> None:
        """Take note of one binding as it is now stored; None: it is gone. Idempotent."""
        served = self._by_cluster.setdefault(cluster, {})
        before = {gr: served.pop(gr) for gr in self._by_binding.pop((cluster, name), ()) if gr in served and served[gr].binding == name}
        if binding is not None:
            self._add(cluster, name, binding, served)
        self._retire(cluster, before, served)
        self.generation += 1
        self._versions[cluster] = self.generation
        if not served:
            del self._by_cluster[cluster], self._versions[cluster]  # as a workspace that never bound anything

    def redefined(self, export_cluster: ClusterName, schema_name: str) -> None:
        """What was made of a schema is made anew on its next use, because how its versions are converted has changed."""
        stale: set[tuple[str, str]] = set()
        for cluster, served in self._by_cluster.items():
            entries = [e for e in served.values() if (e.export_cluster, e.bound.schema_name) == (export_cluster, schema_name)]
            for entry in entries:
                self._tell(cluster, entry.bound)
                stale.add((entry.bound.schema_uid, entry.bound.identity))
            if entries:
                self.generation += 1
                self._versions[cluster] = self.generation
        for key in stale:
            self._resources.pop(key, None)

    def on_retired(self, told: Retired) -> None:
        """Call `told` within each change after which resources are gone or of another schema."""
        self._retired.append(told)

    def _retire(self, cluster: ClusterName, before: Mapping[GroupResource, _Served], served: Mapping[GroupResource, _Served]) -> None:
        for gr, entry in before.items():
            if gr in served and served[gr].bound == entry.bound:
                continue
            self._tell(cluster, entry.bound)

    def _tell(self, cluster: ClusterName, bound: BoundResource) -> None:
        gr, versions = bound.group_resource, self._resources.get((bound.schema_uid, bound.identity), {})
        for told in self._retired:
            told(cluster, [GVR(gr.group, version, gr.resource) for version in versions])

    def _add(self, cluster: ClusterName, name: str, binding: JSONObject, served: dict[GroupResource, _Served]) -> None:
        export_cluster = ClusterName(meta.nested(binding, "status", "apiExportClusterName", default=""))
        names: list[GroupResource] = []
        for bound in bound_resources(binding):
            entry = _Served(bound, export_cluster, name, bool(meta.deletion_timestamp(binding)))
            served.setdefault(bound.group_resource, entry)
            self._by_identity[bound.group_resource, bound.identity] = entry
            if export_cluster == ROOT and bound.group_resource.group.endswith("kcp.io"):
                self._system_identity[bound.group_resource] = bound.identity
            names.append(bound.group_resource)
        self._by_binding[cluster, name] = tuple(names)

    def lookup(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        if cluster == WILDCARD:
            return self._lookup_wildcard(gvr)
        entry = self._by_cluster.get(cluster, {}).get(gvr.group_resource)
        return None if entry is None else self._resource(entry, gvr.version)

    def _lookup_wildcard(self, gvr: GVR) -> Resource | None:
        """By identity; only kcp's own groups may leave it out, because a single export owns each of them."""
        name, _, identity = gvr.resource.partition(":")
        gr = GroupResource(gvr.group, name)
        if identity == ALL:
            entries = [entry for (bound, _), entry in list(self._by_identity.items()) if bound == gr]
            every = (self._resource(entry, gvr.version) for entry in entries)
            found = next((found for found in every if found is not None and found.projection is None), None)
            return metadata_of(found) if found is not None else None
        entry = self._by_identity.get((gr, identity or self._system_identity.get(gr, "")))
        return None if entry is None else self._resource(entry, gvr.version)

    def _resource(self, entry: _Served, version: str) -> Resource | None:
        bound = entry.bound
        cached = self._resources.get((bound.schema_uid, bound.identity))
        if cached is None:
            cached = {r.gvr.version: r for r in self._build(entry.export_cluster, bound)}
            if cached:
                self._resources[bound.schema_uid, bound.identity] = cached
        resource = cached.get(version)
        if resource is not None and entry.deleting:
            return replace(resource, verbs=tuple(v for v in resource.verbs if v != "create"))
        return resource

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        for entry in list(self._by_cluster.get(cluster, {}).values()):
            yield from self._versions_of(entry)

    def versions_of(self, cluster: ClusterName, name: GroupResource) -> Sequence[Resource]:
        """Every version of what a workspace binds under a name; of all clusters, of whatever anybody binds, to be read only."""
        if cluster != WILDCARD:
            entry = self._by_cluster.get(cluster, {}).get(name)
            return self._versions_of(entry) if entry is not None else ()
        found: dict[str, Resource] = {}
        for entry in [entry for (bound, _), entry in self._by_identity.items() if bound == name]:
            for resource in self._versions_of(entry):
                if resource.projection is None:
                    found.setdefault(resource.gvr.version, whosever(resource))
        return list(found.values())

    def _versions_of(self, entry: _Served) -> Sequence[Resource]:
        self._resource(entry, entry.bound.version)  # which makes all versions
        versions = self._resources.get((entry.bound.schema_uid, entry.bound.identity), {})
        return [found for version in versions if (found := self._resource(entry, version)) is not None]

    def everywhere(self) -> Iterable[Resource]:
        """One resource for each identity under which anything is bound, in the version it is stored in; none that only shows others'."""
        for entry in list(self._by_identity.values()):
            resource = self._resource(entry, entry.bound.version)
            if resource is not None and resource.projection is None:
                yield resource

    def scope_of(self, resource: GroupResource, identity: str) -> str:
        """The scope under which a resource was last bound by anybody; "" if nobody has."""
        entry = self._by_identity.get((resource, identity))
        found = self._resource(entry, entry.bound.version) if entry is not None else None
        return "" if found is None else "Namespaced" if found.namespaced else "Cluster"

    def is_bound(self, schema_uid: str) -> bool:
        """Whether any workspace serves a schema. Looks at all bindings."""
        return any(entry.bound.schema_uid == schema_uid for served in self._by_cluster.values() for entry in served.values())

    def version(self, cluster: ClusterName) -> str:
        """Changes whenever a binding of this cluster changed."""
        return str(self._versions.get(cluster, 0))

    def owners(self, cluster: ClusterName) -> Mapping[GroupResource, str]:
        """The name of the binding behind each resource that a workspace binds."""
        return {gr: entry.binding for gr, entry in self._by_cluster.get(cluster, {}).items()}

    def binding_of(self, cluster: ClusterName, resource: GroupResource) -> str:
        """The binding behind a resource of a workspace; "" if it binds none of that name."""
        entry = self._by_cluster.get(cluster, {}).get(resource)
        return entry.binding if entry is not None else ""

    def provider_of(self, cluster: ClusterName, resource: GroupResource) -> ClusterName:
        """Who decides with policies and webhooks about a resource of a workspace: the cluster whose export it is bound from.

        The workspace itself for what it does not bind, and for the kinds of Kubernetes that `root:compute` publishes: a tenant's policy
        for Deployments works as in any cluster, and as it does for the ConfigMaps that are there without a binding.
        """
        entry = self._by_cluster.get(cluster, {}).get(resource)
        if entry is None:
            return cluster
        bound = self._resource(entry, entry.bound.version)
        is_kubernetes = bound is not None and bound.schema is not None and bound.schema.native
        return cluster if is_kubernetes else entry.export_cluster

    def identity_of(self, cluster: ClusterName, resource: GroupResource) -> str:
        """Identity under which a workspace holds a resource; "" if it binds none of that name."""
        entry = self._by_cluster.get(cluster, {}).get(resource)
        return entry.bound.identity if entry is not None else ""
