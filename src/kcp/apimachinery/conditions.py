"""Status conditions, in the form kcp and Kubernetes share.

Time is an argument (RFC 3339 text): this package reads no clock.
Source: k8s.io/apimachinery/pkg/api/meta/conditions.go; kcp sdk/apis/third_party/conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kcp.apimachinery.meta import JSONObject, ensure, nested

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


def get(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The condition of this type in `status.conditions`, or None."""
    for condition in nested(obj, "status", "conditions", default=()):
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            return condition
    return None


def is_true(obj: Mapping[str, Any], kind: str) -> bool:
    condition = get(obj, kind)
    return condition is not None and condition.get("status") == TRUE


def is_false(obj: Mapping[str, Any], kind: str) -> bool:
    condition = get(obj, kind)
    return condition is not None and condition.get("status") == FALSE


def build(kind: str, status: str, *, reason: str = "", message: str = "", severity: str = "", now: str) -> JSONObject:
    """One condition; `severity` (Error, Warning, Info) is kcp's and belongs to status False only."""
    condition: JSONObject = {"type": kind, "status": status}
    if severity and status == FALSE:
        condition["severity"] = severity
    condition["lastTransitionTime"] = now
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def set_condition(obj: JSONObject, condition: JSONObject) -> bool:
    """Put `condition` into `obj`, keeping lastTransitionTime while the status stays. Returns whether anything changed."""
    held: list[JSONObject] = ensure(obj, "status").setdefault("conditions", [])
    for index, old in enumerate(held):
        if old.get("type") != condition["type"]:
            continue
        if old.get("status") == condition["status"] and "lastTransitionTime" in old:
            condition = {**condition, "lastTransitionTime": old["lastTransitionTime"]}
        if old == condition:
            return False
        held[index] = condition
        return True
    held.append(condition)
    return True


def remove(obj: JSONObject, kind: str) -> bool:
    held = nested(obj, "status", "conditions", default=[])
    kept = [c for c in held if c.get("type") != kind]
    if len(kept) == len(held):
        return False
    obj["status"]["conditions"] = kept
    return True


def summarize(obj: JSONObject, kinds: Iterable[str], *, now: str, into: str = "Ready") -> bool:
    """Set condition `into` from others: the first that is False, then Unknown or absent ones, decides; all True makes True."""
    found: list[tuple[str, Mapping[str, Any] | None]] = [(kind, get(obj, kind)) for kind in kinds]
    worst = next(((k, c) for k, c in found if c is not None and c.get("status") == FALSE), None) or next(
        ((k, c) for k, c in found if c is None or c.get("status") != TRUE), None
    )
    if worst is None:
        return set_condition(obj, build(into, TRUE, now=now))
    kind, cause = worst
    if cause is None:
        return set_condition(obj, build(into, UNKNOWN, reason=f"{kind}Unknown", message=f"{kind} is not reported yet", now=now))
    summary = build(
        into, str(cause.get("status")), reason=str(cause.get("reason") or kind), message=str(cause.get("message") or ""),
        severity=str(cause.get("severity") or ""), now=now,
    )  # fmt: skip
    return set_condition(obj, summary)
