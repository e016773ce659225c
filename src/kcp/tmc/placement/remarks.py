"""What is told, as Events, of placement: on Placements which clusters were chosen or left; on SyncTargets how they fare. Pure.

Before: `server.tmc`. After: `aggregation.remarks`, which writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.controller.events import NORMAL, WARNING
from kcp.tmc.aggregation.remarks import Remark, remark
from kcp.tmc.model.kinds import HEARTBEAT_HEALTHY, READY, SCHEDULED, SYNCER_READY
from kcp.tmc.model.names import chosen_keys

_SIGNS = (
    (HEARTBEAT_HEALTHY, "HeartbeatFailed", "HeartbeatReceived"),
    (SYNCER_READY, "ControllerError", "ControllerStarted"),
    (READY, "ClusterNotReady", "ClusterReady"),
)
"""Condition of a SyncTarget, reason of the Event when it turns False, and when it is True again."""


def of_placement(old: JSONObject | None, new: JSONObject, name_of: Callable[[str], str]) -> Iterator[Remark]:
    """Args: name_of: K → name of the cluster."""
    before, after = set(chosen_keys(old)) if old is not None else set(), set(chosen_keys(new))
    if gained := sorted(filter(None, map(name_of, after - before))):
        yield remark(new, NORMAL, "Scheduled", f"chosen: {', '.join(gained)}")
    why = {entry.get("syncTarget"): entry for entry in meta.nested(new, "status", "decisions", default=()) or ()}
    for name in sorted(name_of(key) or "a cluster" for key in before - after):
        entry = why.get(name, {})
        yield remark(new, WARNING, "Evicted", f"{name} is left: {entry.get('message') or entry.get('reason') or 'it is gone'}")
    problem = _false(new, SCHEDULED)
    if problem and problem != (_false(old, SCHEDULED) if old is not None else ""):
        yield remark(new, WARNING, "Unschedulable", problem)


def of_target(old: JSONObject | None, new: JSONObject) -> Iterator[Remark]:
    for kind, bad, good in _SIGNS:
        was, found = conditions.get(old or {}, kind) or {}, conditions.get(new, kind) or {}
        if was.get("status") == found.get("status"):
            continue
        if found.get("status") == conditions.FALSE:
            yield remark(new, WARNING, bad, _false(new, kind))
        elif found.get("status") == conditions.TRUE:
            yield remark(new, NORMAL, good, f"condition {kind} is True")


def _false(obj: JSONObject, kind: str) -> str:
    """What a condition that is False says; "" for one that is not."""
    found = conditions.get(obj, kind) or {}
    return str(found.get("message") or found.get("reason") or "no reason is given") if found.get("status") == conditions.FALSE else ""
