"""StorageObjectInUseProtection: claims and volumes are born with a finalizer, so that none goes while something uses it.

Before: `server`, as an admission plugin. After: `workloads.protection`, which takes the finalizers away.
Source: plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject, finalizers, set_finalizers
from kcp.apiserver.admission.chain import Plugin
from kcp.registry.backend import Attributes

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
_FINALIZERS: Mapping[GroupResource, str] = {
    GroupResource("", "persistentvolumeclaims"): CLAIM_PROTECTION,
    GroupResource("", "persistentvolumes"): VOLUME_PROTECTION,
}


def plugin() -> Plugin:
    return Plugin(name="StorageObjectInUseProtection", mutate=_protect, verbs=("CREATE",), resources=frozenset(_FINALIZERS))


async def _protect(attributes: Attributes) -> JSONObject | None:
    new = attributes.new
    if new is not None:
        finalizer, held = _FINALIZERS[attributes.scope.resource.group_resource], finalizers(new)
        if finalizer not in held:
            set_finalizers(new, [*held, finalizer])
    return new
