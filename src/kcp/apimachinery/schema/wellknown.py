"""Kubernetes definitions whose published schema says less than, or something other than, what an API server does with them.

Before: `compile`. `ObjectMeta` is written out here because every object has one, also those of a CRD that says nothing about metadata.
Source: k8s.io/apimachinery/pkg/apis/meta/v1/types.go, pkg/util/intstr, pkg/api/resource, pkg/runtime (each type's OpenAPISchemaType).
"""

from __future__ import annotations

from typing import Any

QUANTITY = "x-kubernetes-quantity"
"""Marker used in this file only: a resource.Quantity, a string or a number."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META = _META + "ObjectMeta"

_STRING = {"type": ["string", "null"]}
_INT64 = {"type": ["integer", "null"], "format": "int64"}
_TIME = {"type": ["string", "null"], "format": "date-time"}
_FREE_OBJECT = {"type": ["object", "null"], "x-kubernetes-preserve-unknown-fields": True}
_ANYTHING: dict[str, Any] = {}
_STRINGS = {"type": ["object", "null"], "additionalProperties": _STRING}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{_META}{name}"}


WELL_KNOWN: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {QUANTITY: True},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {**_FREE_OBJECT, "x-kubernetes-map-type": "atomic"},
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": _ANYTHING,
    _META + "Time": _TIME,
    _META + "MicroTime": _TIME,
    _META + "FieldsV1": _FREE_OBJECT,
    _META + "Patch": _ANYTHING,
    _META + "OwnerReference": {
        "type": ["object", "null"],
        "required": ["apiVersion", "kind", "name", "uid"],
        "properties": {
            "apiVersion": _STRING, "kind": _STRING, "name": _STRING, "uid": _STRING,
            "controller": {"type": ["boolean", "null"]}, "blockOwnerDeletion": {"type": ["boolean", "null"]},
        },
        "x-kubernetes-map-type": "atomic",
    },
    _META + "ManagedFieldsEntry": {
        "type": ["object", "null"],
        "properties": {
            "manager": _STRING, "operation": _STRING, "apiVersion": _STRING, "time": _TIME, "fieldsType": _STRING,
            "fieldsV1": _FREE_OBJECT, "subresource": _STRING,
        },
    },
    OBJECT_META: {
        "type": ["object", "null"],
        "properties": {
            "name": _STRING, "generateName": _STRING, "namespace": _STRING, "selfLink": _STRING, "uid": _STRING, "resourceVersion": _STRING,
            "generation": _INT64, "creationTimestamp": _ref("Time"), "deletionTimestamp": _ref("Time"),
            "deletionGracePeriodSeconds": _INT64, "labels": _STRINGS, "annotations": _STRINGS,
            "ownerReferences": {
                "type": ["array", "null"], "items": _ref("OwnerReference"), "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["uid"], "x-kubernetes-patch-merge-key": "uid", "x-kubernetes-patch-strategy": "merge",
            },
            "finalizers": {
                "type": ["array", "null"], "items": _STRING, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge",
            },
            "managedFields": {"type": ["array", "null"], "items": _ref("ManagedFieldsEntry"), "x-kubernetes-list-type": "atomic"},
        },
    },
}  # fmt: skip

DEFAULTS: dict[str, dict[str, Any]] = {
    "io.k8s.api.core.v1.ContainerPort": {"protocol": "TCP"},
    "io.k8s.api.core.v1.ServicePort": {"protocol": "TCP"},
}
"""Defaults of list keys: without them, two spellings of one port would be two items. Source: k8s.io/api/core/v1/types.go (+default)."""
