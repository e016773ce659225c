"""From client-side to server-side apply: what `kubectl apply` wrote down as its last configuration counts when it applies on the server.

Only for the manager `kubectl`: who wants none of this names another one. Before: `manager`.
Source: k8s.io/apimachinery/pkg/util/managedfields/internal/{lastapplied.go,lastappliedmanager.go,lastappliedupdater.go}.
"""

from __future__ import annotations

from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.apply.walk import compare, field_set
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.structural import Schema

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"
_MOST_BYTES = 256 * 1024
"""Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go, TotalAnnotationSizeLimitB."""


def taken_over(live: JSONObject, schema: Schema | None, api_version: str) -> FieldSet:
    """The fields that client-side apply set and nobody has changed since: they may be applied over without a conflict."""
    try:
        last: Any = orjson.loads(meta.annotations(live).get(ANNOTATION) or b"null")
    except orjson.JSONDecodeError:
        return FieldSet()
    if not isinstance(last, dict) or last.get("apiVersion") != api_version:
        return FieldSet()
    change = compare(schema, last, live)
    return field_set(schema, last) - change.modified - change.added - change.removed


def note(merged: JSONObject, config: JSONObject) -> None:
    """Keep the annotation of an object that has one in step, so that client-side apply finds what was applied last."""
    if not meta.annotations(merged).get(ANNOTATION):
        return
    held: JSONObject = copy_json(config)
    said = meta.annotations(held)
    if ANNOTATION in said:
        del held["metadata"]["annotations"][ANNOTATION]
    kept = merged["metadata"]["annotations"]
    kept[ANNOTATION] = orjson.dumps(held, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    if sum(len(name.encode()) + len(str(value).encode()) for name, value in kept.items()) > _MOST_BYTES:
        del kept[ANNOTATION]
