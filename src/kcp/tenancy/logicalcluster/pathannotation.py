"""Annotation `kcp.io/path` says the truth: exports, bindings and locations carry their workspace's path, and nothing carries another one.

Before: the server's admission chain. After: the workspace index.
Source: kcp pkg/admission/pathannotation; kcp-dev/multicluster-provider path-aware/provider.go (bindings).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes
from kcp.tenancy import kinds

_ANNOTATED = frozenset((
    GroupResource("apis.kcp.io", "apiexports"),
    GroupResource("apis.kcp.io", "apibindings"),  # by which a provider's controllers know the paths of its consumers
    GroupResource("scheduling.kcp.io", "locations"),
    GroupResource("workload.kcp.io", "locations"),  # the same ones
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PathAnnotation:
    path_of: Callable[[ClusterName], str]

    def plugin(self) -> Plugin:
        return Plugin(name="PathAnnotation", mutate=self.annotate)

    async def annotate(self, attributes: Attributes) -> JSONObject | None:
        new, resource = attributes.new, attributes.scope.resource.group_resource
        if new is None or resource == kinds.LOGICAL_CLUSTERS.group_resource:
            return new
        found = meta.annotations(new).get(kinds.PATH)
        if found is None and resource not in _ANNOTATED:
            return new
        path = self.path_of(attributes.scope.cluster)
        if found == path:
            return new
        changed: JSONObject = meta.copy_json(new)
        meta.set_annotation(changed, kinds.PATH, path)
        return changed
