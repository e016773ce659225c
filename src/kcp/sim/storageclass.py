"""DefaultStorageClass: a claim that names no class gets the cluster's default one.

Before: `server`, as an admission plugin. After: the watch cache of StorageClasses, of which there are few.
Source: plugin/pkg/admission/storage/storageclass/setdefault/admission.go, pkg/volume/util/storageclass.go.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes
from kcp.storage.keyspace import resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache

DEFAULT_MARK = "storageclass.kubernetes.io/is-default-class"
_BETA_MARK = "storageclass.beta.kubernetes.io/is-default-class"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_CLAIMS = GroupResource("", "persistentvolumeclaims")
_CLASSES = GroupResource("storage.k8s.io", "storageclasses")


class DefaultStorageClass:
    def __init__(self, classes: PrefixCache) -> None:
        self._classes = classes

    @classmethod
    async def open(cls, cache: WatchCache) -> DefaultStorageClass:
        return cls(await cache.prefix(resource_prefix(_CLASSES)))

    def plugin(self) -> Plugin:
        return Plugin(name="DefaultStorageClass", mutate=self.set_class, verbs=("CREATE",), resources=frozenset((_CLAIMS,)))

    async def set_class(self, attributes: Attributes) -> JSONObject | None:
        claim = attributes.new
        if claim is None or meta.annotations(claim).get(_BETA_CLASS) or meta.nested(claim, "spec", "storageClassName") is not None:
            return claim
        default = self._default()
        if default:
            meta.ensure(claim, "spec")["storageClassName"] = default
        return claim

    def _default(self) -> str:
        """Of several defaults the youngest, ties by name; "" for none."""
        held = [item.decode() for item in self._classes.scan(self._classes.prefix)]
        marked = [c for c in held if "true" in (meta.annotations(c).get(DEFAULT_MARK), meta.annotations(c).get(_BETA_MARK))]
        marked.sort(key=meta.name)
        return meta.name(max(marked, key=meta.creation_timestamp)) if marked else ""
