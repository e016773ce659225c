"""What a binding's status says is bound.

Before: the binding controller, its deletion, `source`. After: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject


@dataclass(frozen=True, slots=True)
class BoundResource:
    """One entry of `status.boundResources`."""

    group_resource: GroupResource
    version: str
    """Objects are stored in; "" for what is virtual."""
    schema_name: str
    schema_uid: str
    identity: str

    @property
    def is_virtual(self) -> bool:
        """Whether the workspace has no objects of its own, and shows the provider's."""
        return not self.version


def bound_resources(binding: JSONObject) -> Iterable[BoundResource]:
    for entry in meta.nested(binding, "status", "boundResources", default=()):
        schema = entry["schema"]
        version = (entry.get("storageVersions") or [""])[-1]
        yield _bound_resource(entry.get("group", ""), entry["resource"], version, schema["name"], schema["UID"], schema["identityHash"])


def bound_exports(binding: JSONObject) -> Iterable[ObjectKey]:
    """The export that a binding is bound to; nothing before that."""
    cluster = meta.nested(binding, "status", "apiExportClusterName", default="")
    name = meta.nested(binding, "spec", "reference", "export", "name", default="")
    if cluster and name and meta.nested(binding, "status", "phase") == "Bound":
        yield ObjectKey(ClusterName(cluster), "", name)


@lru_cache(maxsize=4096)
def _bound_resource(group: str, resource: str, version: str, schema_name: str, schema_uid: str, identity: str) -> BoundResource:
    """One value for all workspaces that bind the same: thousands of them hold it."""
    return BoundResource(GroupResource(group, resource), version, schema_name, schema_uid, identity)
