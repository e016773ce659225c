"""What one cluster runs of a workspace's objects, by its own account: its share of the spec and its own status. Pure.

Before: `workspace`. After: `instances`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import MethodNotAllowed
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Scope
from kcp.tmc.model.names import OBSERVED_ANNOTATION, STATE_LABEL, STATUS_ANNOTATION, SYNCER_FINALIZER, is_foreign, upsyncing_key
from kcp.tmc.overview.aggregate import ORIGIN_ANNOTATION
from kcp.tmc.overview.instances import copy_for, json_of


@dataclass(frozen=True, slots=True)
class OneCluster:
    """Implements `virtual.transform.Transformation` for target K."""

    key: str
    name: str

    def outward(self, scope: Scope, obj: JSONObject) -> JSONObject | None:
        if upsyncing_key(obj):
            copy = obj
        else:
            copy = {**copy_for(obj, self.key)}
            copy.pop("status", None)
            if status := json_of(meta.annotations(obj).get(STATUS_ANNOTATION + self.key)):
                copy["status"] = status
        marks = meta.annotations(obj)
        kept = {name: value for name, value in marks.items() if not is_foreign(name, "") or name == OBSERVED_ANNOTATION + self.key}
        metadata = {name: value for name, value in copy["metadata"].items() if name not in ("finalizers", "managedFields")}
        metadata["annotations"] = {**kept, ORIGIN_ANNOTATION: self.name}
        metadata["labels"] = {name: value for name, value in meta.labels(copy).items() if not name.startswith(STATE_LABEL)}
        if finalizers := [f for f in meta.finalizers(obj) if not f.startswith(SYNCER_FINALIZER)]:
            metadata["finalizers"] = finalizers
        return {**copy, "metadata": metadata}

    def inward(self, scope: Scope, live: JSONObject, view: JSONObject) -> JSONObject:
        raise MethodNotAllowed("a view can only be read: change the object in its workspace", resource=scope.resource.group_resource)
