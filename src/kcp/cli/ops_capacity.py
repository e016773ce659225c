"""Monthly checks of room: what there is beside what was measured, how it grows, and whether programs and documents are of one version.

Before: `ops`. After: `ops_figures`. The figures below are those of docs/benchmarks.md; a test compares them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from kcp import __version__
from kcp.apimachinery import meta
from kcp.cli.ops_figures import Run
from kcp.cli.ops_health import SYNC_TARGETS
from kcp.cli.ops_inspection import Inspection
from kcp.cli.ops_report import Check, judged

_NEAR = 0.8
_DAY_S = 86_400.0
_LEAST_DAYS = 1.0
"""Of history, before growth is told."""
_SOON_DAYS = 90.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Up to how many of one kind a server was measured with."""

    gauge: str
    most: int


MEASURED = (Measured("objects", 1_000_000), Measured("workspaces", 10_000), Measured("clusters", 100), Measured("Deployments", 10_000))
IDLE_MIB = 69.0
WORKSPACE_KIB = 56.0
OBJECT_KIB = 1.8
"""A small one, in the memory of the server."""


async def capacity(inspection: Inspection) -> Check:
    """How much of what was measured is in use."""
    gauges = inspection.run.gauges
    shares = [(gauges[m.gauge] / m.most, f"{gauges[m.gauge]:,.0f} of {m.most:,} {m.gauge}") for m in MEASURED]
    near = any(share > _NEAR for share, _ in shares)
    remedy = "further on nothing was measured: benchmarks/ on your machines; fewer objects (docs/production-deployment.md, capacity)"
    return judged("Capacity", ", ".join(text for _, text in shares), fault=near, remedy=remedy)


async def memory(inspection: Inspection) -> Check:
    """Beside what so many workspaces and objects took when it was measured."""
    gauges = inspection.run.gauges
    expected = IDLE_MIB + (gauges["workspaces"] * WORKSPACE_KIB + gauges["objects"] * OBJECT_KIB) / 1024
    spent = (gauges["memory MiB"] - IDLE_MIB) * 1024 / max(gauges["workspaces"], 1.0)
    result = f"{gauges['memory MiB']:.0f} MiB; measured for so many workspaces and objects: {expected:.0f} MiB"
    if gauges["workspaces"] >= 100:
        result += f"; {max(spent, 0.0):.0f} KiB per workspace (measured empty: {WORKSPACE_KIB:.0f} KiB)"
    fault = gauges["memory MiB"] > 3 * expected
    return judged("Memory", result, fault=fault, remedy="large objects, many watches, or a leak: docs/production-deployment.md, symptoms")


async def growth(inspection: Inspection) -> Check:
    """From the oldest run that is remembered: when what was measured is reached."""
    now, oldest = inspection.run, inspection.runs[0] if inspection.runs else None
    days = (now.instant - oldest.instant).total_seconds() / _DAY_S if oldest else 0.0
    if oldest is None or days < _LEAST_DAYS:
        return judged("Growth", "too little history: --figures=FILE, daily, keeps it", fault=False, remedy="")
    told = [_grown(measured, now, oldest, days) for measured in MEASURED]
    soon = [text for text, left in told if left < _SOON_DAYS]
    result = f"over {days:.0f} days, {', '.join(text for text, _ in told)}"
    return judged("Growth", result, fault=bool(soon), remedy=f"measured limits are reached in less than {_SOON_DAYS:.0f} days")


def _grown(measured: Measured, now: Run, oldest: Run, days: float) -> tuple[str, float]:
    """And the days left."""
    a_day = (now.gauges[measured.gauge] - oldest.gauges[measured.gauge]) / days
    if a_day <= 0:
        return f"{measured.gauge} do not grow", float("inf")
    left = (measured.most - now.gauges[measured.gauge]) / a_day
    return f"{measured.gauge} +{a_day:.1f} a day ({left:,.0f} days left)", left


async def versions(inspection: Inspection) -> Check:
    """Documents, programs and the server are of one version, and clusters of one that syncers were tested with."""
    response = await inspection.client.raw("GET", "/version")
    server = json.loads(response.body)["gitVersion"]
    clusters = {
        version
        for target in await inspection.everywhere(SYNC_TARGETS)
        if (version := meta.nested(target, "status", "clusterInfo", "version"))
    }
    result = f"server {server}, this program {__version__}; clusters {', '.join(sorted(clusters)) or 'none'}"
    remedy = "the documents of the server's version are those that hold; read changelog.d, and upgrade one or the other"
    return judged("Documents", result, fault=__version__.split("+")[0] not in server, remedy=remedy)
