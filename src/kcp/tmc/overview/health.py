"""How the AggregatedViews are, for `/healthz/tmc`.

Before: `server.overviews`. After: `health.monitor`.
Source for name and thresholds: the TMC reference §4 (VWM config): any view in Error is Degraded, more than half Unhealthy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.health.monitor import Provider
from kcp.tmc.health.states import Check, Component, Status
from kcp.tmc.overview.controller import RULES_APPLIED

_MOST = 3


def aggregated_views(informer: Callable[[], Informer]) -> Provider:
    component = Component("VirtualWorkspaceManager", "views")

    async def look() -> Sequence[Check]:
        held = informer()
        await held.wait_synced()
        every = held.list()
        wrong = [f"{meta.cluster(obj)}/{meta.name(obj)}: {why}" for obj in every if (why := _trouble(obj))]
        details = {"views": str(len(every)), "wrong": str(len(wrong))}
        if not wrong:
            return [Check(component, Status.HEALTHY, details=details)]
        status = Status.UNHEALTHY if len(wrong) * 2 > len(every) else Status.DEGRADED
        return [Check(component, status, f"{len(wrong)} of {len(every)} AggregatedViews err: {'; '.join(wrong[:_MOST])}", details)]

    return Provider(component, look)


def _trouble(obj: JSONObject) -> str:
    if meta.nested(obj, "status", "phase") == "Error":
        return str((conditions.get(obj, "Ready") or {}).get("message") or "phase Error")
    return str((conditions.get(obj, RULES_APPLIED) or {}).get("message") or "") if conditions.is_false(obj, RULES_APPLIED) else ""
