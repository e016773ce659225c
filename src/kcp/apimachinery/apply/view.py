"""The part of an object that has owners, and the object again around a changed part.

Before: `manager`, `versions`. Source: apimachinery/pkg/util/managedfields/internal/stripmeta.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcp.apimachinery.keys import CLUSTER_ANNOTATION
from kcp.apimachinery.meta import JSONObject, metadata

_UNTRACKED_METADATA = frozenset(
    ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion")
)


def tracked(obj: Mapping[str, Any]) -> JSONObject:
    """The object without what is not tracked: its identity, and what only the server sets. Shares its parts with `obj`."""
    view = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}
    held = {key: value for key, value in metadata(obj).items() if key not in _UNTRACKED_METADATA}
    annotations = held.get("annotations")
    if annotations and CLUSTER_ANNOTATION in annotations:
        held["annotations"] = {key: value for key, value in annotations.items() if key != CLUSTER_ANNOTATION}
        if not held["annotations"]:
            del held["annotations"]
    view["metadata"] = held
    return view


def merge_untracked(live: JSONObject | None, config: JSONObject, view: JSONObject) -> JSONObject:
    """Put the identity and the server's own fields back around a merged view: the live ones, and what the configuration says of them."""
    own = {key: value for key, value in metadata(live or {}).items() if key in _UNTRACKED_METADATA}
    said = {key: value for key, value in metadata(config).items() if key in _UNTRACKED_METADATA and value is not None}
    meta: JSONObject = {**own, **said, **(view.get("metadata") or {})}
    live_annotations = metadata(live or {}).get("annotations") or {}
    if CLUSTER_ANNOTATION in live_annotations:
        cluster = {CLUSTER_ANNOTATION: live_annotations[CLUSTER_ANNOTATION]}
        meta["annotations"] = _in_order_of(live_annotations, {**cluster, **(meta.get("annotations") or {})})
    head: JSONObject = {key: config[key] for key in ("apiVersion", "kind") if key in config}
    merged = {**head, **view, "metadata": _in_order_of(metadata(live or {}), meta)}
    return _in_order_of(live or dict.fromkeys(("apiVersion", "kind", "metadata")), merged)


def _in_order_of(model: Mapping[str, Any], obj: JSONObject) -> JSONObject:
    """`obj` with its keys as they stand in `model`, then the others: an apply that changes nothing encodes to the same bytes."""
    return {**{key: obj[key] for key in model if key in obj}, **obj}
