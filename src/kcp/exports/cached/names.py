"""Names of the API group cache.kcp.io. Source: kcp sdk/apis/cache/v1alpha1, of main and of 0.31."""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject

CACHE_GROUP = "cache.kcp.io"

RESOURCE_VALID, REPLICATION_STARTED = "ResourceValid", "ReplicationStarted"
KIND_ANNOTATION, SCOPE_ANNOTATION = "cache.kcp.io/resource-kind", "cache.kcp.io/resource-scope"
SKIP_SLICE_ANNOTATION = "cachedresources.cache.kcp.io/skip-endpointslice"
"""On a CachedResource: no endpoint slice is made for it."""


@dataclass(frozen=True, slots=True)
class CachedKinds:
    """One pair of kinds: what selects objects, and what ties it to exports."""

    kind: str
    field: str
    """Of an endpoint slice's spec: what it is about."""
    names_export: bool
    """Whether a slice says which export it is for. If not, it is for each export of the identity, and made by itself."""

    @property
    def slice_kind(self) -> str:
        return f"{self.kind}EndpointSlice"

    @property
    def resources(self) -> GVR:
        return GVR(CACHE_GROUP, "v1alpha1", f"{self.kind.lower()}s")

    @property
    def slices(self) -> GVR:
        return GVR(CACHE_GROUP, "v1alpha1", f"{self.slice_kind.lower()}s")


CURRENT = CachedKinds("ClusterCachedResource", "clusterCachedResource", names_export=True)
FORMER = CachedKinds("CachedResource", "cachedResource", names_export=False)
"""As kcp 0.28 to 0.31 called them."""
ALL_KINDS = (CURRENT, FORMER)
CACHED_RESOURCES, CACHED_SLICES = CURRENT.resources, CURRENT.slices


@dataclass(frozen=True, slots=True)
class Reference:
    """To an object of this or another workspace."""

    path: str
    """"" is the referring object's own workspace."""
    name: str

    @classmethod
    def of(cls, endpoint_slice: JSONObject, field: str) -> Reference:
        """Args: field: of the spec: a kind's `field`, or `export`."""
        held = meta.nested(endpoint_slice, "spec", field, default={})
        return cls(held.get("path") or "", held.get("name") or "")

    def where(self, cluster: ClusterName) -> str:
        """As messages name it. Args: cluster: of the referring object."""
        return f"{self.path or cluster}|{self.name}"


def cached_gvr(cached: JSONObject) -> GVR:
    """What a cached resource is about."""
    spec = cached["spec"]
    return GVR(spec.get("group") or "", spec.get("version") or "", spec["resource"])


def replication_url(server: str, cluster: ClusterName, name: str) -> str:
    """Where cached objects are read: the virtual workspace `replication`. Args: name: of the endpoint slice, or of a CachedResource."""
    return f"{server}/services/replication/{cluster}/{name}"
