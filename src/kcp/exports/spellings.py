"""Kinds of TMC that are served in two groups: the same objects, kept once, under the group that a client asks for.

kcp 0.11 has Placements and Locations in `scheduling.kcp.io`, the TMC reference has them in `workload.kcp.io` too, and manifests of either
kind are around. What is bound in the one group is served in the other without a further binding; a watch in one shows
writes through the other.
The second spelling has no short names and no categories, so that `kubectl get pl` and `kubectl get kcp` show everything once.
Before: `server.foundation`. After: `source` (what is bound), `registry.resource` (Conversion).
Source: the TMC reference §2.1, §2.2; k8s.io/kubernetes pkg/kubeapiserver/default_storage_factory_builder.go (cohabitating resources).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.exports.source import BoundSource
from kcp.registry.resource import Conversion, Resource

SPELLINGS: Mapping[GroupResource, GroupResource] = {
    GroupResource("workload.kcp.io", "placements"): GroupResource("scheduling.kcp.io", "placements"),
    GroupResource("workload.kcp.io", "locations"): GroupResource("scheduling.kcp.io", "locations"),
    GroupResource("workload.kcp.io", "resourceprojections"): GroupResource("tmc.kcp.io", "resourceprojections"),
}
"""The other spelling → the one that objects are kept in."""
_OTHERS = {kept: other for other, kept in SPELLINGS.items()}


def both(resources: Sequence[Resource]) -> tuple[Resource, ...]:
    """The same resources, each of which knows its other spelling, if it has one, as an alternative."""
    return tuple(_with_other(r) if r.group_resource in _OTHERS else r for r in resources)


def _with_other(resource: Resource) -> Resource:
    other = _OTHERS[resource.group_resource]
    gvr = GVR(other.group, resource.gvr.version, other.resource)
    kept_as, shown_as = resource.gvr.api_version, gvr.api_version
    views: dict[str, Resource] = {}
    kept = replace(resource, alternatives=lambda: {shown_as: views[shown_as]})
    views[kept_as] = kept
    views[shown_as] = replace(
        resource,
        gvr=gvr,
        short_names=(),
        categories=(),
        storage_version="",
        conversion=Conversion(kept_as, _under(kept_as), _under(shown_as)),
        alternatives=lambda: {kept_as: views[kept_as]},
    )
    return kept


def _under(api_version: str) -> Callable[[JSONObject], JSONObject]:
    return lambda obj: {**obj, "apiVersion": api_version}


class SpellingSource:
    """Implements the catalog's ResourceSource: what a workspace binds, in its other spelling."""

    def __init__(self, bound: BoundSource) -> None:
        self._bound = bound

    def lookup(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        name, colon, identity = gvr.resource.partition(":")
        kept = SPELLINGS.get(GroupResource(gvr.group, name))
        if kept is None:
            return None
        found = self._bound.lookup(cluster, GVR(kept.group, gvr.version, f"{kept.resource}{colon}{identity}"))
        other = found.alternatives().get(gvr.api_version) if found is not None else None
        if found is None or other is None or other.verbs == found.verbs:
            return other
        return replace(other, verbs=found.verbs)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return () if cluster == WILDCARD else self._served(cluster)

    def _served(self, cluster: ClusterName) -> Iterator[Resource]:
        for other in SPELLINGS:
            if (found := self.lookup(cluster, GVR(other.group, "v1alpha1", other.resource))) is not None:
                yield found

    def version(self, cluster: ClusterName) -> str:  # noqa: ARG002 - the interface of a source
        """Nothing changes here that does not change what is bound, whose version the catalog asks for as well."""
        return ""
