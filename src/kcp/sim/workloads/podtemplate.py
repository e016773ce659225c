"""Pods and ReplicaSets made from templates: their names, hashes and owner references.

Names are a function of the owner and an ordinal, not random: a controller that acts twice on stale knowledge meets AlreadyExists instead of
making a second object. Before: the workload controllers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject

TEMPLATE_HASH_LABEL = "pod-template-hash"

_SAFE_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes. Source: k8s.io/apimachinery/pkg/util/rand/rand.go."""

_MAX_NAME_PREFIX = 58
"""A generated pod name has at most 63 characters, five of them the suffix. Source: apiserver/pkg/storage/names/generate.go."""


def safe_suffix(text: str, length: int) -> str:
    """`length` letters that stand for `text`.

    >>> safe_suffix("web", 5), safe_suffix("web", 5) == safe_suffix("wed", 5)
    ('x6mv8', False)
    """
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=32).digest(), "big")
    letters: list[str] = []
    for _ in range(length):
        number, rest = divmod(number, len(_SAFE_LETTERS))
        letters.append(_SAFE_LETTERS[rest])
    return "".join(letters)


def template_hash(template: Mapping[str, Any], collision_count: int = 0) -> str:
    """The value of the label pod-template-hash: equal for equal templates, whatever the order of their keys.

    Source: pkg/controller/controller_utils.go ComputeHash (which hashes a Go dump; the letters differ, the promise is the same).
    """
    canonical = orjson.dumps(template, option=orjson.OPT_SORT_KEYS).decode()
    return safe_suffix(f"{canonical}/{collision_count}" if collision_count else canonical, 10)


def same_template(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal but for the hash label. Source: pkg/controller/deployment/util/deployment_util.go EqualIgnoreHash."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: Mapping[str, Any]) -> JSONObject:
    held = dict(meta.metadata(template))
    held["labels"] = {k: v for k, v in (held.get("labels") or {}).items() if k != TEMPLATE_HASH_LABEL}
    held.pop("creationTimestamp", None)
    return {"metadata": {k: v for k, v in held.items() if v}, "spec": template.get("spec")}


def owner_reference(owner: Mapping[str, Any], *, api_version: str, kind: str) -> JSONObject:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta.name(owner),
        "uid": meta.uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def ordinal_names(prefix: str, uid: str, taken: Container[str]) -> Iterator[str]:
    """Names `<prefix>-<five letters>` that are not `taken`, always in the same order for one owner.

    Source: the form is that of apiserver/pkg/storage/names/generate.go.
    """
    base = f"{prefix}-"[:_MAX_NAME_PREFIX]
    ordinal = 0
    while True:
        name = base + safe_suffix(f"{uid}/{ordinal}", 5)
        if name not in taken:
            yield name
        ordinal += 1


def pod_from_template(template: Mapping[str, Any], *, name: str, namespace: str, owner: JSONObject) -> JSONObject:
    """A Pod to create. Source: pkg/controller/controller_utils.go GetPodFromTemplate."""
    wanted = meta.metadata(template)
    made: JSONObject = {"name": name, "namespace": namespace, "ownerReferences": [owner]}
    for part in ("labels", "annotations"):
        if wanted.get(part):
            made[part] = dict(wanted[part])
    if wanted.get("finalizers"):
        made["finalizers"] = list(wanted["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": meta.copy_json(template.get("spec") or {})}
