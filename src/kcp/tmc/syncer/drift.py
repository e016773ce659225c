"""Drift: what somebody changed in the cluster on a copy, and the account of it on the user's object.

Before: `spec`. After: nothing; pure, but for looking up who it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.model.names import DRIFT_ANNOTATION, SYNCER_FIELD_MANAGER
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION, covers

DELETED = "(deleted)"
"""In place of fields: the whole copy was."""
CONTESTED = 5
"""Corrections within `CONTEST_S` after which it is a fight: going on at full speed would help nobody."""
CONTEST_S = 60.0
_MOST_FIELDS = 5
_LONGEST_VALUE = 200


def drifted_fields(actual: JSONObject, desired: JSONObject) -> list[str]:
    """Fields of a copy that no longer are as this syncer applied them; [] if it was made from something else, or is as it should be.

    >>> drifted_fields({"spec": {"replicas": 5}, "metadata": {}}, {"spec": {"replicas": 2}, "metadata": {}})
    ['spec.replicas']
    """
    if meta.annotations(actual).get(APPLIED_ANNOTATION) != meta.annotations(desired).get(APPLIED_ANNOTATION):
        return []
    found = _differing(actual, {k: v for k, v in desired.items() if k != "stringData"}, "")
    return sorted(path for _, path in zip(range(_MOST_FIELDS), found, strict=False))


def _differing(actual: Any, desired: Any, path: str) -> Iterator[str]:
    if isinstance(desired, Mapping) and isinstance(actual, Mapping):
        for name, value in desired.items():
            yield from _differing(actual.get(name), value, f"{path}.{name}" if path else name)
    elif isinstance(desired, list) and isinstance(actual, list) and len(actual) == len(desired):
        for index, (held, value) in enumerate(zip(actual, desired, strict=True)):
            yield from _differing(held, value, f"{path}[{index}]")
    elif not covers(actual, desired):
        yield path


def changes(live: JSONObject, desired: JSONObject, fields: list[str]) -> list[JSONObject]:
    """What a recovery needs to take a change over: path, the value applied and the value found. Only of single values, not in lists.

    >>> changes({"spec": {"paused": True}}, {"spec": {"paused": False}}, ["spec.paused"])
    [{'path': ['spec', 'paused'], 'ours': False, 'theirs': True}]
    """
    found = []
    for name in fields:
        path = name.split(".")
        ours, theirs = _value(desired, path), _value(live, path)
        if all(isinstance(value, (str, int, float, bool)) and len(str(value)) <= _LONGEST_VALUE for value in (ours, theirs)):
            found.append({"path": path, "ours": ours, "theirs": theirs})
    return found


def _value(obj: Any, path: list[str]) -> Any:
    for name in path:
        obj = obj.get(name) if isinstance(obj, Mapping) else None
    return obj


def last_writer(live: JSONObject) -> str:
    """The manager other than this syncer that wrote last, by managedFields; status does not count."""
    entries = [
        entry for entry in live.get("metadata", {}).get("managedFields") or ()
        if entry.get("manager") != SYNCER_FIELD_MANAGER and entry.get("subresource") != "status"
    ]  # fmt: skip
    return str(max(entries, key=lambda entry: entry.get("time") or "").get("manager") or "") if entries else ""


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found changed."""

    fields: list[str]
    by: str = ""
    """Who did it; "" if nobody knows."""
    changes: list[JSONObject] = field(default_factory=list)


def account(view: JSONObject, key: str, cluster: str, drift: Drift, now: datetime) -> str:
    """The annotation's value. Corrections within a minute count together. Args: key: K of the SyncTarget."""
    held = _held(view, key)
    is_again = held is not None and (now - parse_rfc3339(held["at"])).total_seconds() < CONTEST_S
    count = int(held["count"]) + 1 if held is not None and is_again else 1
    told = {
        "cluster": cluster, "fields": drift.fields, "by": drift.by, "at": rfc3339(now), "count": count, "changes": drift.changes,
    }  # fmt: skip
    return json.dumps({name: value for name, value in told.items() if value}, separators=(",", ":"))


def contest(view: JSONObject, key: str, cluster: str, now: datetime) -> TMCError | None:
    """The error of a copy that somebody keeps changing back; None while there is no such fight."""
    held = _held(view, key)
    if not held or int(held["count"]) < CONTESTED or (now - parse_rfc3339(held["at"])).total_seconds() >= CONTEST_S / 2:
        return None
    who = held.get("by") or "somebody"
    return TMCError(
        ErrorType.SYNC_CONFLICT, f"{who} keeps changing {', '.join(held['fields'])} of the copy", cluster, "apply",
        advice="stop what changes it in the cluster, or leave the field out in the workspace",
    )  # fmt: skip


def _held(view: JSONObject, key: str) -> JSONObject | None:
    try:
        value = json.loads(meta.annotations(view).get(DRIFT_ANNOTATION + key, "null"))
        parse_rfc3339(value["at"])
        return {"count": 1, "fields": [], **value}
    except (ValueError, KeyError, TypeError):
        return None  # none yet, or not ours
