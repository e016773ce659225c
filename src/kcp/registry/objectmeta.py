"""Rules of object metadata: what the server fills in, what stays, what is legal.

Before: `writes`. Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go, k8s.io/apiserver/pkg/registry/rest/{create,update}.go.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from kcp.apimachinery import names
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName
from kcp.apimachinery.meta import JSONObject, set_annotation
from kcp.registry.backend import Scope

_ANNOTATIONS_BYTES = 256 * 1024
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_LONGEST_BASE = 63 - _SUFFIX_LENGTH
_VERSION_4 = 0x4 << 76 | 0x2 << 62
"""Version and variant of a random UUID. Source: RFC 9562, section 5.4."""
_RANDOM_BITS = (1 << 128) - 1 ^ (0xF << 76 | 0x3 << 62)


def generated_name(base: str, source: random.Random) -> str:
    """`base`, cut to 58 characters, and five letters that spell no words. Source: k8s.io/apiserver/pkg/storage/names/generate.go."""
    return base[:_LONGEST_BASE] + "".join(source.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))


def new_uid(source: random.Random) -> str:
    """A version 4 UUID. Written out here: `uuid.UUID` costs several times as much, and every new object has one."""
    bits = source.getrandbits(128) & _RANDOM_BITS | _VERSION_4
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def claims_version(obj: JSONObject) -> bool:
    """Whether a new object carries a resourceVersion, which only stored ones have. Raises BadRequest where metadata is not an object.

    What is no number is none. Source: k8s.io/apiserver/pkg/storage/etcd3/store.go (Create), api_object_versioner.go.
    """
    sent = checked_metadata(obj).get("resourceVersion", "")
    return bool(sent.isdecimal() and sent != "0")


def fill_new(obj: JSONObject, scope: Scope, *, now: str, uid: str) -> None:
    """System metadata of an object to create. Raises BadRequest where metadata is not an object."""
    metadata = checked_metadata(obj)
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
    if fault := mismatch(metadata, "ObjectMeta.metadata"):
        raise unhandled(obj, f"json: cannot unmarshal {fault}")
    for part in [part for part, value in metadata.items() if value is None and part in _PARTS]:
        del metadata[part]
    for part in ("creationTimestamp", "deletionTimestamp"):
        if part in metadata and not _TIME.match(metadata[part]):
            text = metadata[part]
            why = f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
            raise unhandled(obj, why)
    return metadata


def mismatch(metadata: object, struct: str) -> str:
    """What Go says of the first JSON value in `metadata` that does not fit; "" where all do. Args: struct: the Go field's path."""
    if not isinstance(metadata, dict):
        return _no_fit(metadata, "value of type v1.ObjectMeta")
    for part, value in metadata.items():
        kind = _PARTS.get(part)
        if kind is not None and value is not None and not isinstance(value, kind):
            return _no_fit(value, f"struct field {struct}.{part} of type {_GO_TYPES.get(part) or _GO_NAMES[kind]}")
    for part in ("labels", "annotations"):
        for value in (metadata.get(part) or {}).values():
            if not isinstance(value, str):
                return _no_fit(value, f"struct field {struct}.{part} of type string")
    return ""


def _no_fit(value: object, what: str) -> str:
    return f"{_JSON_NAMES.get(type(value), 'number')} into Go {what}"


def unhandled(obj: JSONObject, why: str) -> BadRequest:
    """Source: k8s.io/apiserver/pkg/endpoints/handlers/rest.go, transformDecodeError."""
    kind, version = obj.get("kind", "object"), str(obj.get("apiVersion", "")).rpartition("/")[2]
    return BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


_PARTS: Mapping[str, type] = {
    "name": str, "generateName": str, "namespace": str, "uid": str, "resourceVersion": str, "creationTimestamp": str,
    "deletionTimestamp": str, "generation": int, "deletionGracePeriodSeconds": int, "labels": dict, "annotations": dict,
    "finalizers": list, "ownerReferences": list, "managedFields": list,
}  # fmt: skip
_GO_NAMES = {str: "string", int: "int64", dict: "map[string]string", list: "[]string"}
_GO_TYPES = {"ownerReferences": "[]v1.OwnerReference", "managedFields": "[]v1.ManagedFieldsEntry"}
_JSON_NAMES = {str: "string", dict: "object", list: "array", bool: "bool"}

_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace", "name")


def keep_system_fields(new: JSONObject, old: JSONObject, *, is_typed: bool = False) -> None:
    """Put back what an update may not change: identity and times; managedFields that the client left out stay too.

    Args: is_typed: of a kind with a Go type, which tells an empty list of managedFields, that resets them, from none.
    Source: apimachinery/pkg/util/managedfields/internal/fieldmanager.go, isResetManagedFields.
    """
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
    elif is_typed and metadata.get("managedFields") == []:
        metadata["managedFields"] = [{}]


def drop_repeated_owners(metadata: JSONObject, *, admitted: bool) -> list[str]:
    """Keep one of several equal owner references. Returns a warning where there were any.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/rest.go, dedupOwnerReferencesAndAddWarning.
    """
    owners = metadata.get("ownerReferences")
    if not owners or len(owners) < 2:
        return []
    kept: dict[bytes, Any] = {}
    repeated: list[str] = []
    for owner in owners:
        written = orjson.dumps(owner, option=orjson.OPT_SORT_KEYS)
        if written in kept:
            repeated.append(str(owner.get("uid", "")) if isinstance(owner, dict) else "")
        else:
            kept[written] = owner
    if not repeated:
        return []
    metadata["ownerReferences"] = list(kept.values())
    when = " after mutating admission happens" if admitted else ""
    return [
        f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such "
        f"requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {', '.join(repeated)}"
    ]


def finalizer_warnings(finalizers: Iterable[Any]) -> list[str]:
    """For custom kinds. Source: apiextensions-apiserver/pkg/registry/customresource/validator.go, validateKubeFinalizerName."""
    texts = []
    for name in finalizers:
        if not isinstance(name, str) or "/" in name or name in _STANDARD_FINALIZERS:
            continue
        path = " including a path (/)" if "." in name else ""
        texts.append(
            f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name{path} '
            "to avoid accidental conflicts with other finalizer writers"
        )
    return texts


_STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")


def immutable_faults(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes to metadata that are refused rather than ignored; both arguments are `metadata` objects.

    A client may send back what it read or leave it out. In a PUT, `uid` has been checked as a precondition before: see `writes`.
    """
    if new.get("uid") and new["uid"] != old.get("uid"):
        yield Cause.invalid("metadata.uid", new["uid"], "field is immutable")
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
    if base := metadata.get("generateName"):
        shape = base[:-1] + "a" if base.endswith("-") else base
        yield from (Cause.invalid("metadata.generateName", base, fault) for fault in scope.resource.strategy.name_faults(shape))
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
    else:
        for fault in scope.resource.strategy.name_faults(name):
            yield Cause.invalid("metadata.name", name, fault)
    if scope.resource.namespaced and not metadata.get("namespace"):
        yield Cause.required("metadata.namespace")
    yield from content_faults(metadata)


def content_faults(metadata: Mapping[str, Any]) -> Iterator[Cause]:
    """What is wrong with labels, annotations, finalizers and owners, of an object or of one embedded in it."""
    if held := metadata.get("labels"):
        yield from label_faults(held)
    if held := metadata.get("annotations"):
        yield from annotation_faults(held)
    if held := metadata.get("finalizers"):
        for finalizer in held:
            for fault in names.qualified_name(finalizer) if isinstance(finalizer, str) else ["must be a string"]:
                yield Cause.invalid("metadata.finalizers", finalizer, fault)
        if "orphan" in held and "foregroundDeletion" in held:
            yield Cause.invalid("metadata.finalizers", held, "finalizer orphan and foregroundDeletion cannot be both set")
    if held := metadata.get("ownerReferences"):
        yield from _owner_faults(held)


def label_faults(held: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in held.items():
        for fault in names.qualified_name(key):
            yield Cause.invalid("metadata.labels", key, fault)
        for fault in names.label_value(value):
            yield Cause.invalid("metadata.labels", value, fault)


def annotation_faults(held: Mapping[str, str]) -> Iterator[Cause]:
    for key in held:
        for fault in names.qualified_name(key.lower()):
            yield Cause.invalid("metadata.annotations", key, fault)
    if sum(len(k) + len(v) for k, v in held.items()) > _ANNOTATIONS_BYTES:
        yield Cause.too_long("metadata.annotations", _ANNOTATIONS_BYTES)


def _owner_faults(held: list[Any]) -> Iterator[Cause]:
    """Source: objectmeta.go, ValidateOwnerReferences."""
    at, first = "metadata.ownerReferences", ""
    for owner in held:
        if not isinstance(owner, dict):
            yield Cause.invalid(at, owner, "must be an object")
            continue
        version, kind = owner.get("apiVersion") or "", owner.get("kind") or ""
        if not _version_of(version):
            yield Cause.invalid(f"{at}.apiVersion", version, "version must not be empty")
        for part in ("kind", "name", "uid"):
            if not owner.get(part):
                yield Cause.invalid(f"{at}.{part}", "", "must not be empty")
        if (version, kind) == ("v1", "Event"):
            yield Cause.invalid(at, owner, "/v1, Kind=Event is disallowed from being an owner")
        if owner.get("controller"):
            name = f"{kind}/{owner.get('name')}"
            if first:
                detail = f'Only one reference can have Controller set to true. Found "true" in references for {first} and {name}'
                yield Cause.invalid(at, held, detail)
            first = first or name


def _version_of(api_version: object) -> str:
    """The version part; "" for what is no apiVersion."""
    if not isinstance(api_version, str) or api_version.count("/") > 1:
        return ""
    return api_version.rpartition("/")[2]


def annotate_cluster(obj: JSONObject, cluster: ClusterName) -> None:
    """Stamp the logical cluster into the object, over whatever a client wrote there."""
    set_annotation(obj, CLUSTER_ANNOTATION, cluster)
