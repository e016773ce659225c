"""Default classes: a claim or an Ingress that names no class gets the cluster's default one; and which claims may grow.

Before: `server`, as admission plugins. After: the watch caches of StorageClasses and IngressClasses, of which there are few.
Source: plugin/pkg/admission/storage/storageclass/setdefault/admission.go, plugin/pkg/admission/network/defaultingressclass/admission.go,
plugin/pkg/admission/storage/persistentvolume/resize/admission.go, pkg/volume/util/storageclass.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes
from kcp.storage.keyspace import resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache

DEFAULT_MARK = "storageclass.kubernetes.io/is-default-class"
_BETA_MARK = "storageclass.beta.kubernetes.io/is-default-class"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_INGRESS_MARK = "ingressclass.kubernetes.io/is-default-class"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_CLAIMS = GroupResource("", "persistentvolumeclaims")
_STORAGE_CLASSES = GroupResource("storage.k8s.io", "storageclasses")
_INGRESSES = GroupResource("networking.k8s.io", "ingresses")
_INGRESS_CLASSES = GroupResource("networking.k8s.io", "ingressclasses")
_NO_RESIZE = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"


class DefaultClasses:
    def __init__(self, storage: PrefixCache, ingress: PrefixCache) -> None:
        self._storage = storage
        self._ingress = ingress

    @classmethod
    async def open(cls, cache: WatchCache) -> DefaultClasses:
        return cls(await cache.prefix(resource_prefix(_STORAGE_CLASSES)), await cache.prefix(resource_prefix(_INGRESS_CLASSES)))

    def plugins(self) -> tuple[Plugin, ...]:
        claims, ingresses = frozenset((_CLAIMS,)), frozenset((_INGRESSES,))
        return (
            Plugin(name="DefaultStorageClass", mutate=self.set_storage_class, verbs=("CREATE",), resources=claims),
            Plugin(name="DefaultIngressClass", mutate=self.set_ingress_class, verbs=("CREATE",), resources=ingresses),
            Plugin(name="PersistentVolumeClaimResize", validate=self.check_resize, verbs=("UPDATE",), resources=claims),
        )

    async def set_storage_class(self, attributes: Attributes) -> JSONObject | None:
        claim = attributes.new
        if claim is None or meta.annotations(claim).get(_BETA_CLASS) or meta.nested(claim, "spec", "storageClassName") is not None:
            return claim
        if default := default_storage_class(_objects(self._storage)):
            meta.ensure(claim, "spec")["storageClassName"] = default
        return claim

    async def set_ingress_class(self, attributes: Attributes) -> JSONObject | None:
        ingress = attributes.new
        named = ingress is None or meta.nested(ingress, "spec", "ingressClassName") is not None
        if ingress is None or named or _INGRESS_CLASS in meta.annotations(ingress):
            return ingress
        if default := _default(_objects(self._ingress), (_INGRESS_MARK,)):
            meta.ensure(ingress, "spec")["ingressClassName"] = default
        return ingress

    async def check_resize(self, attributes: Attributes) -> None:
        """Raises: Forbidden for a bound claim that shall grow though its class does not allow it."""
        new, old = attributes.new or {}, attributes.old or {}
        wanted, held = (meta.nested(each, "spec", "resources", "requests", "storage") for each in (new, old))
        if wanted is None or held is None or quantity.fault(wanted) or quantity.compare(wanted, held) <= 0:
            return
        if meta.nested(old, "status", "phase") != "Bound":
            return  # validation refuses that
        name = meta.nested(new, "spec", "storageClassName", default="")
        if not any(meta.name(each) == name and each.get("allowVolumeExpansion") for each in _objects(self._storage)):
            raise forbidden(attributes, _NO_RESIZE)


def _objects(classes: PrefixCache) -> list[JSONObject]:
    return [item.decode() for item in classes.scan(classes.prefix)]


def default_storage_class(classes: Sequence[JSONObject]) -> str:
    """Its name; "" for none."""
    return _default(classes, (DEFAULT_MARK, _BETA_MARK))


def _default(classes: Sequence[JSONObject], marks: Sequence[str]) -> str:
    """Of several defaults the youngest, ties by name; "" for none."""
    marked = [each for each in classes if "true" in (meta.annotations(each).get(mark) for mark in marks)]
    marked.sort(key=meta.name)
    return meta.name(max(marked, key=meta.creation_timestamp)) if marked else ""
