"""Names of the API group cache.kcp.io. Source: kcp sdk/apis/cache/v1alpha1."""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject

CACHE_GROUP = "cache.kcp.io"
CACHED_RESOURCES = GVR(CACHE_GROUP, "v1alpha1", "clustercachedresources")
CACHED_SLICES = GVR(CACHE_GROUP, "v1alpha1", "clustercachedresourceendpointslices")
SLICE_KIND = "ClusterCachedResourceEndpointSlice"

RESOURCE_VALID, REPLICATION_STARTED = "ResourceValid", "ReplicationStarted"
KIND_ANNOTATION, SCOPE_ANNOTATION = "cache.kcp.io/resource-kind", "cache.kcp.io/resource-scope"


@dataclass(frozen=True, slots=True)
class Reference:
    """To an object of this or another workspace."""

    path: str
    """"" is the referring object's own workspace."""
    name: str

    @classmethod
    def of(cls, endpoint_slice: JSONObject, field: str) -> Reference:
        """Args: field: `clusterCachedResource` or `export`."""
        held = meta.nested(endpoint_slice, "spec", field, default={})
        return cls(held.get("path") or "", held.get("name") or "")

    def where(self, cluster: ClusterName) -> str:
        """As messages name it. Args: cluster: of the referring object."""
        return f"{self.path or cluster}|{self.name}"


def cached_gvr(cached: JSONObject) -> GVR:
    """What a ClusterCachedResource is about."""
    spec = cached["spec"]
    return GVR(spec.get("group") or "", spec.get("version") or "", spec["resource"])


def replication_url(server: str, cluster: ClusterName, name: str) -> str:
    """Where the objects behind an endpoint slice are read: the virtual workspace `replication`."""
    return f"{server}/services/replication/{cluster}/{name}"
