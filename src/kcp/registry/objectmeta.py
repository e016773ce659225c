"""Rules of object metadata: what the server fills in, what stays, what is legal.

Before: `writes`. Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go, k8s.io/apiserver/pkg/registry/rest/{create,update}.go.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName
from kcp.apimachinery.meta import JSONObject, set_annotation
from kcp.registry.backend import Scope

_ANNOTATIONS_BYTES = 256 * 1024
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_LONGEST_BASE = 63 - _SUFFIX_LENGTH


def generated_name(base: str, source: random.Random) -> str:
    """`base`, cut to 58 characters, and five letters that spell no words. Source: k8s.io/apiserver/pkg/storage/names/generate.go."""
    return base[:_LONGEST_BASE] + "".join(source.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))


def new_uid(source: random.Random) -> str:
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def fill_new(obj: JSONObject, scope: Scope, *, now: str, uid: str) -> None:
    """System metadata of an object to create. Raises BadRequest where metadata is not an object or carries a resourceVersion."""
    metadata = checked_metadata(obj)
    if metadata.get("resourceVersion"):
        raise BadRequest("resourceVersion should not be set on objects to be created")
    for server_made in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(server_made, None)
    if scope.namespace:
        metadata["namespace"] = scope.namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now


def checked_metadata(obj: JSONObject) -> JSONObject:
    """`obj.metadata`, made if absent. Raises BadRequest where it has the wrong type, so that nothing below stumbles over it."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise BadRequest("metadata must be an object")
    for part, kind in _PARTS.items():
        value = metadata.get(part)
        if value is None:
            metadata.pop(part, None)
        elif not isinstance(value, kind):
            raise BadRequest(f"metadata.{part} must be {_KIND_NAMES[kind]}")
    for part in ("labels", "annotations"):
        wrong = next((k for k, v in metadata.get(part, {}).items() if not isinstance(v, str)), None)
        if wrong is not None:
            raise BadRequest(f"metadata.{part}.{wrong} must be a string")
    return metadata


_PARTS: Mapping[str, type] = {
    "name": str, "generateName": str, "namespace": str, "uid": str, "resourceVersion": str, "creationTimestamp": str,
    "deletionTimestamp": str, "generation": int, "deletionGracePeriodSeconds": int, "labels": dict, "annotations": dict,
    "finalizers": list, "ownerReferences": list, "managedFields": list,
}  # fmt: skip
_KIND_NAMES = {str: "a string", int: "an integer", dict: "an object", list: "an array"}

_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace", "name")


def keep_system_fields(new: JSONObject, old: JSONObject) -> None:
    """Put back what an update may not change: identity and times; managedFields that the client left out stay too."""
    kept, metadata = old["metadata"], new["metadata"]
    for part in _KEPT:
        if part in kept:
            metadata[part] = kept[part]
        else:
            metadata.pop(part, None)
    metadata.pop("selfLink", None)
    metadata["resourceVersion"] = kept.get("resourceVersion", "")
    if "managedFields" not in metadata and "managedFields" in kept:
        metadata["managedFields"] = kept["managedFields"]


def immutable_faults(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes to metadata that are refused rather than ignored; both arguments are `metadata` objects.

    A client may send back what it read or leave it out. `uid` is a precondition, not a fault: see `writes`.
    """
    for part in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if part not in old and new.get(part) is not None:
            yield Cause.invalid(f"metadata.{part}", new[part], "field is immutable")
    if "deletionTimestamp" in old:
        added = [f for f in new.get("finalizers", ()) if f not in old.get("finalizers", ())]
        if added:
            shown = "[]string{" + ", ".join(f'"{f}"' for f in added) + "}"
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
            yield Cause.forbidden("metadata.finalizers", detail)


def faults(obj: JSONObject, scope: Scope) -> Iterator[Cause]:
    """Everything that is wrong with the metadata of an object to be stored."""
    metadata = obj["metadata"]
    name = metadata.get("name")
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
    else:
        yield from (Cause.invalid("metadata.name", name, fault) for fault in scope.resource.strategy.name_faults(name))
    if scope.resource.namespaced and not metadata.get("namespace"):
        yield Cause.required("metadata.namespace")
    if held := metadata.get("labels"):
        yield from _label_faults(held)
    if held := metadata.get("annotations"):
        yield from _annotation_faults(held)
    if held := metadata.get("finalizers"):
        for finalizer in held:
            for fault in names.qualified_name(finalizer) if isinstance(finalizer, str) else ["must be a string"]:
                yield Cause.invalid("metadata.finalizers", finalizer, fault)
    if held := metadata.get("ownerReferences"):
        yield from _owner_faults(held)


def _label_faults(held: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in held.items():
        yield from (Cause.invalid("metadata.labels", key, fault) for fault in names.qualified_name(key))
        yield from (Cause.invalid("metadata.labels", value, fault) for fault in names.label_value(value))


def _annotation_faults(held: Mapping[str, str]) -> Iterator[Cause]:
    for key in held:
        yield from (Cause.invalid("metadata.annotations", key, fault) for fault in names.qualified_name(key.lower()))
    if sum(len(k) + len(v) for k, v in held.items()) > _ANNOTATIONS_BYTES:
        yield Cause.too_long("metadata.annotations", _ANNOTATIONS_BYTES)


def _owner_faults(held: list[Any]) -> Iterator[Cause]:
    controllers = []
    for index, owner in enumerate(held):
        path = f"metadata.ownerReferences[{index}]"
        if not isinstance(owner, dict):
            yield Cause.invalid(path, owner, "must be an object")
            continue
        for part in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(part):
                yield Cause.invalid(f"{path}.{part}", owner.get(part, ""), "must not be empty")
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        first, second = (f"{o.get('kind')} {o.get('name')}" for o in controllers[:2])
        detail = f'Only one reference can have Controller set to true. Found "true" in references for {first} and {second}'
        yield Cause.invalid("metadata.ownerReferences", held, detail)


def annotate_cluster(obj: JSONObject, cluster: ClusterName) -> None:
    """Stamp the logical cluster into the object, over whatever a client wrote there."""
    set_annotation(obj, CLUSTER_ANNOTATION, cluster)
