"""What a user asks of the syncers by labels and annotations on an object: where, whether, when and how it is synced. Pure.

Before: placement (which clusters), aggregation (what to report), the syncer (the rest).
Source: tmc reference §5.2 (annotations under syncer.kcp.io/); the values' meaning is ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from kcp.apimachinery import meta

SYNC = "syncer.kcp.io/sync"
"""enabled (default), disabled: on no cluster; pause: copies stay as they are. Label or annotation."""
TARGET_CLUSTERS = "syncer.kcp.io/target-clusters"
"""Comma list of SyncTarget names or patterns: of the clusters that placements choose, only these."""
_OTHER_TARGETS = ("tmc.kcp.io/cluster-placement", "placement.kcp.io/target")
"""Other spellings of it, as the tutorials of the TMC reference have them; the first that is there counts."""
EXCLUDE_CLUSTERS = "syncer.kcp.io/exclude-clusters"
"""Comma list: of the clusters that placements choose, not these."""
SYNC_POLICY = "syncer.kcp.io/sync-policy"
"""immediate (default), batched: changes of a few seconds go down as one; delayed: after half a minute without a change."""
TRANSFORM = "syncer.kcp.io/transform"
"""environment-specific (default): the syncer's transformations apply; none: the copy is as the object."""
TARGET_REPLICAS = "syncer.kcp.io/target-replicas"
"""Replicas of each copy, whatever the object says: a number, or `east=3,west=1`."""
RESOURCE_LIMITS = "syncer.kcp.io/resource-limits"
"""reduced: copies ask for a fifth of the CPU and a quarter of the memory."""
IMMUTABLE_FIELDS = "tmc.kcp.io/immutable-fields"
"""report (default): a change that the cluster cannot make in place is an error on the object; recreate: the copy is made anew."""
PRIMARY_CLUSTER = "syncer.kcp.io/primary-cluster"
"""Name of the SyncTarget whose status is the object's, of several that report one; what is counted is summed all the same."""
ERROR_POLICY = "tmc.kcp.io/error-policy"
"""retry-with-backoff (default); report: what fails is told, and tried again once the object changes."""
MAX_RETRIES = "tmc.kcp.io/max-retries"
"""How often a failed sync is tried again before it waits for the object to change; absent: until it works."""
EXCLUSIVE = "tmc.kcp.io/exclusive"
"""It runs in one cluster at a time. lease: elsewhere it starts once it has left, or its cluster must have stopped it; confirmed: only once
it has left. As a label on copies it is what a syncer stops that has lost touch."""

SUMMARIZING = "experimental.summarizing.workload.kcp.io"
"""JSON list of {fieldPath, promoteToUpstream}; with false for `status` what clusters report is kept for each of them, and the object's
own status left alone. Source: kcp release-0.11 pkg/virtual/syncer/transformations/default_summarizing.go."""

CONFLICT_RESOLUTION = "tmc.kcp.io/conflict-resolution"
"""What becomes of what somebody changes on a copy in its cluster. UseSource (default): it is put right; UseTarget: it stays until the
object changes; Error: it stays, and is an error on the object."""

_DELAYS_S = {"immediate": 0.0, "batched": 5.0, "delayed": 30.0}
_ALLOWED = {
    SYNC: ("enabled", "disabled", "pause"),
    SYNC_POLICY: tuple(_DELAYS_S),
    TRANSFORM: ("environment-specific", "none"),
    RESOURCE_LIMITS: ("reduced",),
    IMMUTABLE_FIELDS: ("report", "recreate"),
    ERROR_POLICY: ("retry-with-backoff", "report"),
    EXCLUSIVE: ("lease", "confirmed"),
    CONFLICT_RESOLUTION: ("UseSource", "UseTarget", "Error"),
}


class Conflict(StrEnum):
    USE_SOURCE = "UseSource"
    USE_TARGET = "UseTarget"
    ERROR = "Error"


class Sync(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    PAUSE = "pause"


class Exclusive(StrEnum):
    LEASE = "lease"
    CONFIRMED = "confirmed"


def _told(obj: Mapping[str, Any], name: str) -> str:
    return str(meta.annotations(obj).get(name) or "").strip()


def sync_of(obj: Mapping[str, Any]) -> Sync:
    """A word that means nothing pauses: nothing is removed by a typing mistake."""
    text = _told(obj, SYNC) or str(meta.labels(obj).get(SYNC) or "").strip()
    if not text:
        return Sync.ENABLED
    return Sync(text) if text in _ALLOWED[SYNC] else Sync.PAUSE


def exclusive_of(obj: Mapping[str, Any]) -> Exclusive | None:
    """None: it may run in several clusters at once. A word that means nothing is the stricter one: nothing runs twice by a typing mistake.

    >>> exclusive_of({"metadata": {"annotations": {EXCLUSIVE: "lease"}}})
    <Exclusive.LEASE: 'lease'>
    """
    text = _told(obj, EXCLUSIVE)
    if not text:
        return None
    return Exclusive(text) if text in _ALLOWED[EXCLUSIVE] else Exclusive.CONFIRMED


def left_out(obj: Mapping[str, Any], cluster: str) -> bool:
    """Whether the user wants no copy of this object on the SyncTarget of this name.

    >>> left_out({"metadata": {"annotations": {TARGET_CLUSTERS: "eu-*"}}}, "us-1")
    True
    """
    if sync_of(obj) is Sync.DISABLED:
        return True
    targets = next((text for name in (TARGET_CLUSTERS, *_OTHER_TARGETS) if (text := _told(obj, name))), "")
    wanted, unwanted = _patterns(targets), _patterns(_told(obj, EXCLUDE_CLUSTERS))
    return (bool(wanted) and not _matches(cluster, wanted)) or _matches(cluster, unwanted)


def _patterns(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _matches(cluster: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(cluster, pattern) for pattern in patterns)


def delay_s(obj: Mapping[str, Any]) -> float:
    """Seconds for which changes are gathered before they go down."""
    return _DELAYS_S.get(_told(obj, SYNC_POLICY), 0.0)


def starts_anew(obj: Mapping[str, Any]) -> bool:
    """Whether each further change makes the wait begin again."""
    return _told(obj, SYNC_POLICY) == "delayed"


def is_transformed(obj: Mapping[str, Any]) -> bool:
    return _told(obj, TRANSFORM) != "none"


def is_reduced(obj: Mapping[str, Any]) -> bool:
    return _told(obj, RESOURCE_LIMITS) == "reduced"


def may_recreate(obj: Mapping[str, Any]) -> bool:
    return _told(obj, IMMUTABLE_FIELDS) == "recreate"


def is_summarized(obj: Mapping[str, Any]) -> bool:
    """Whether the object's status is made of what its clusters report; what does not say so clearly leaves it at that.

    >>> is_summarized({"metadata": {"annotations": {SUMMARIZING: '[{"fieldPath": "status", "promoteToUpstream": false}]'}}})
    False
    >>> is_summarized({"metadata": {"annotations": {SUMMARIZING: "what?"}}}), is_summarized({"metadata": {}})
    (True, True)
    """
    text = meta.annotations(obj).get(SUMMARIZING)
    if text is None:
        return True
    try:
        rules = json.loads(text)
    except ValueError:
        return True
    told = [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []
    return not any(rule.get("fieldPath") == "status" and rule.get("promoteToUpstream") is False for rule in told)


def primary_cluster(obj: Mapping[str, Any]) -> str:
    return _told(obj, PRIMARY_CLUSTER)


def max_retries(obj: Mapping[str, Any]) -> int | None:
    """None: no limit.

    >>> max_retries({"metadata": {"annotations": {MAX_RETRIES: "3"}}})
    3
    """
    if _told(obj, ERROR_POLICY) == "report":
        return 0
    text = _told(obj, MAX_RETRIES)
    return int(text) if text.isdigit() else None


def replicas_for(obj: Mapping[str, Any], cluster: str) -> int | None:
    """Replicas that the user wants of the copy on this cluster; None: as the object, or its share of it, says.

    >>> replicas_for({"metadata": {"annotations": {TARGET_REPLICAS: "eu-1=3,*=1"}}}, "us-1")
    1
    """
    for word in _patterns(_told(obj, TARGET_REPLICAS)):
        name, sign, count = word.rpartition("=")
        if count.isdigit() and (not sign or fnmatchcase(cluster, name)):
            return int(count)
    return None


def problems(obj: Mapping[str, Any]) -> list[str]:
    """What is written in an annotation and means nothing, with what could be."""
    found = [
        f'{name}: "{text}" is none of {", ".join(allowed)}'
        for name, allowed in _ALLOWED.items()
        if (text := _told(obj, name) or (str(meta.labels(obj).get(name) or "") if name == SYNC else "")) and text not in allowed
    ]
    if (text := _told(obj, MAX_RETRIES)) and not text.isdigit():
        found.append(f'{MAX_RETRIES}: "{text}" is not a number')
    for word in _patterns(_told(obj, TARGET_REPLICAS)):
        if not word.rpartition("=")[2].isdigit():
            found.append(f'{TARGET_REPLICAS}: "{word}" is neither a number nor cluster=number')
    return found


def conflict_of(obj: Mapping[str, Any]) -> Conflict:
    """UseSource where nothing, or nothing known, is said."""
    told = meta.annotations(obj).get(CONFLICT_RESOLUTION, "")
    return Conflict(told) if told in tuple(Conflict) else Conflict.USE_SOURCE
