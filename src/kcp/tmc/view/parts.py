"""An object that is on many clusters, taken apart once: what every target sees of it, and what each sees besides.

A hundred views show such an object, and a hundred syncers write on it. Each view would else read the whole of it, with all that is kept for
the ninety-nine others, for each of their writes.
Before: `view.syncer`. After: `model.names`, which says what belongs to whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Item, WatchEvent
from kcp.tmc.model.names import STATE_LABEL, SYNCER_FINALIZER, owner_of

_FEW = 3
"""Targets of an object that it does not pay to take apart."""
_MOST_HELD = 128
"""Objects that are kept taken apart: the last versions of what changes just now."""


@dataclass(slots=True)
class Own:
    """What one target sees besides."""

    annotations: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    finalizers: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Parts:
    """Compares by what is seen, so without resourceVersion."""

    version: str
    common: bytes
    own: Mapping[str, Own]
    """By K."""


def is_wide(item: Item) -> bool:
    """Whether an object is on so many clusters that it is worth while."""
    return len(item.labels) > _FEW and sum(name.startswith(STATE_LABEL) for name in item.labels) > _FEW


@lru_cache(maxsize=_MOST_HELD)
def parts_of(item: Item) -> Parts:
    obj = item.decode()
    metadata = obj["metadata"]
    version, metadata["resourceVersion"] = metadata.get("resourceVersion", ""), ""
    metadata.pop("managedFields", None)
    if obj.get("kind") != "Namespace":
        obj.pop("status", None)  # a view shows that of its target
    own: dict[str, Own] = {}
    annotations, labels = {}, {}
    for name, value in meta.annotations(obj).items():
        if key := owner_of(name):
            own.setdefault(key, Own()).annotations[name] = value
        else:
            annotations[name] = value
    for name, value in meta.labels(obj).items():
        if name.startswith(STATE_LABEL):
            own.setdefault(name.removeprefix(STATE_LABEL), Own()).labels[name] = value
        else:
            labels[name] = value
    for finalizer in metadata.pop("finalizers", ()):
        if finalizer.startswith(SYNCER_FINALIZER):
            own.setdefault(finalizer.removeprefix(SYNCER_FINALIZER), Own()).finalizers.append(finalizer)
    metadata["annotations"], metadata["labels"] = annotations, labels
    return Parts(version, orjson.dumps(obj), own)


def opened(item: Item, key: str) -> JSONObject:
    """The object without what is kept for other targets than K; the caller's to change."""
    if not is_wide(item):
        return item.decode()
    parts = parts_of(item)
    obj: JSONObject = orjson.loads(parts.common)
    metadata = obj["metadata"]
    metadata["resourceVersion"] = parts.version
    own = parts.own.get(key, Own())
    metadata["annotations"].update(own.annotations)
    metadata["labels"].update(own.labels)
    if own.finalizers:
        metadata["finalizers"] = list(own.finalizers)
    return obj


def is_news(event: WatchEvent, key: str) -> bool:
    """Whether target K sees more of a change than another resourceVersion."""
    item, before = event.item, event.before
    if event.type != "MODIFIED" or item is None or before is None or not (is_wide(item) and is_wide(before)):
        return True
    now, then = parts_of(item), parts_of(before)
    return now.common != then.common or now.own.get(key) != then.own.get(key)
