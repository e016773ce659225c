"""What `kubectl get` shows in a view: which clusters run an object, how it is, and how much is unknown, beside its ordinary columns.

Before: `views`. After: what `aggregate` wrote on the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.table import AGE, NAME, Column, human_duration
from kcp.registry.resource import Resource
from kcp.tmc.overview.aggregate import AGGREGATE_ANNOTATION

_MOST_NAMES = 4
"""Clusters that are named in a row."""
_ADDED = frozenset({"Cluster", "Health", "Unknown", "Observed", "Why"})
_REPLACED = frozenset({"Clusters", "Unknown", "Observed", "Synced", "Reason"})
"""Columns of Deployments that read what a view does not show."""


def columns_of(resource: Resource) -> tuple[Column, ...]:
    """Name, clusters and health first; Unknown and Observed before the age."""
    held = [c for c in (resource.columns or (NAME, AGE)) if c.name not in _REPLACED]
    if not any(c.name.lower() == "name" for c in held):
        held.insert(0, NAME)
    at = next((i for i, c in enumerate(held) if c.name == "Age"), len(held))
    names = Column("Cluster", description="Which clusters run it; ? behind one whose word is not to be had", getter=_names)
    health = Column("Health", description="Healthy, Degraded, Unhealthy or Unknown", getter=lambda obj, _now: told(obj).get("health", ""))
    unknown = Column("Unknown", description="Replicas, else clusters, of which nothing is known", getter=_unknown)
    observed = Column("Observed", description="When the cluster was heard of that was not heard of for longest", getter=_observed)
    why = Column("Why", description="What is wrong, cluster by cluster", priority=1, getter=_why)
    return (held[0], names, health, *held[1:at], unknown, observed, *held[at:], why)


def plain_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Without those that `columns_of` added."""
    return tuple(column for column in columns if column.name not in _ADDED)


def told(obj: JSONObject) -> dict[str, Any]:
    """What a view says of an object; {} for one that is not from a view."""
    try:
        found = orjson.loads(meta.annotations(obj).get(AGGREGATE_ANNOTATION, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _members(obj: JSONObject) -> Sequence[dict[str, Any]]:
    return told(obj).get("members") or ()


def _names(obj: JSONObject, _now: datetime) -> str:
    names = [m["name"] + ("?" if m["health"] == "Unknown" else "") for m in _members(obj)]
    more = f",+{len(names) - _MOST_NAMES}" if len(names) > _MOST_NAMES else ""
    return ",".join(names[:_MOST_NAMES]) + more


def _unknown(obj: JSONObject, _now: datetime) -> str:
    found = told(obj)
    counted = found.get("replicas") or found.get("clusters") or {}
    return str(counted.get("unknown", 0))


def _observed(obj: JSONObject, now: datetime) -> str:
    times = [m.get("lastObserved") or "" for m in _members(obj)]
    if not times or not all(times):
        return "never"
    try:
        oldest = min(parse_rfc3339(text) for text in times)
    except ValueError:
        return "never"
    return human_duration(timedelta(seconds=max((now - oldest).total_seconds(), 0.0)))


def _why(obj: JSONObject, _now: datetime) -> str:
    return "; ".join(f"{m['name']}: {m['message']}" for m in _members(obj) if m.get("message")) or "<none>"
