"""Weekly checks of speed: what changed since the last run, and which requests are slow.

Before: `ops`. After: `ops_figures`.
"""

from __future__ import annotations

from math import inf

from kcp.cli.ops_figures import Run, quantile_s
from kcp.cli.ops_inspection import Inspection, some
from kcp.cli.ops_report import Check, State, judged

WORSE = 1.5
"""So many times as much as before is worth a look."""
SLOW_S = 1.0
"""Source: the service level of Kubernetes for one object, sig-scalability/slos/api_call_latency.md."""
_SLOW_LISTS_S = 30.0
"""The same, for lists over all namespaces."""
_ENOUGH = 20
"""Requests, before a quantile says something."""
_UNTOLD_S = 0.025
"""Below this no client sees a difference."""
_UNTOLD_MIB = 64.0
_SHOWN = 5


async def trend(inspection: Inspection) -> Check:
    """Figures of now beside those of the last run."""
    before = inspection.before
    if before is None:
        return Check("Trend", State.OK, f"{_figures(inspection.run)}; no earlier run to compare with (--figures=FILE keeps them)")
    worse = [*_slower(inspection.lately, before), *_larger(inspection.run, before)]
    result = f"{_figures(inspection.lately)}; on {before.at}: {_figures(before)}"
    remedy = f"{'; '.join(worse)}: look at the slowest requests, and at docs/benchmarks.md"
    return judged("Trend", result, fault=bool(worse), remedy=remedy)


async def slowest(inspection: Inspection) -> Check:
    """By 99th percentile since the server's start."""
    found = inspection.figures.buckets("apiserver_request_duration_seconds_bucket", "verb", "resource", "scope")
    known = [
        (quantile_s(buckets, 0.99), f"{verb} {resource}", _SLOW_LISTS_S if verb == "LIST" and scope == "cluster" else SLOW_S)
        for (verb, resource, scope), buckets in found.items()
        if verb not in ("WATCH", "CONNECT") and resource and buckets.get("+Inf", 0.0) >= _ENOUGH
    ]
    known.sort(reverse=True)
    result = some([f"{what} ≤ {_seconds(quantile)}" for quantile, what, _ in known[:_SHOWN]], _SHOWN) or "too few requests to tell"
    slow = any(quantile > limit for quantile, _, limit in known)
    return judged("Slowest requests", f"99th percentiles: {result}", fault=slow, remedy="traces (docs/tracing.md); fewer objects in a list")


async def workers(inspection: Inspection) -> Check:
    """Queues of controllers in which work waits."""
    behind = [f"{s.labels['name']} {s.value:.0f}" for s in inspection.figures.of("workqueue_depth") if s.value > 1_000]
    lag_s = max((s.value for s in inspection.figures.of("tmc_sync_lag_seconds")), default=0.0)
    result = f"waiting in queues: {some(behind) or 'nothing to speak of'}; oldest change that is not synced: {lag_s:.0f} s (target 5 s)"
    remedy = "--tmc-workers, `workload-syncer --workers`; kubectl describe of objects whose condition Synced is False"
    return judged("Work that waits", result, fault=bool(behind) or lag_s > 5.0, remedy=remedy)


def _figures(run: Run) -> str:
    speeds = ", ".join(f"{verb} {_seconds(quantile_s(found, 0.99))}" for verb, found in sorted(run.latencies.items()) if _is_told(found))
    size = f"{run.gauges['memory MiB']:.0f} MiB, {run.gauges['objects']:,.0f} objects"
    return f"{size}, {run.counters['requests']:,.0f} requests; p99 {speeds or 'of too few'}"


def _is_told(buckets: dict[str, float]) -> bool:
    return buckets.get("+Inf", 0.0) >= _ENOUGH


def _slower(now: Run, before: Run) -> list[str]:
    worse = []
    for verb, found in sorted(now.latencies.items()):
        known = before.latencies.get(verb, {})
        if not _is_told(found) or not _is_told(known):
            continue
        then_s, now_s = quantile_s(known, 0.99), quantile_s(found, 0.99)
        if now_s > max(WORSE * then_s, _UNTOLD_S):
            worse.append(f"{verb} {_seconds(then_s)} → {_seconds(now_s)}")
    return worse


def _larger(now: Run, before: Run) -> list[str]:
    """Memory that grew although objects did not."""
    then, here = before.gauges["memory MiB"], now.gauges["memory MiB"]
    grown = max(now.gauges["objects"], 1.0) / max(before.gauges["objects"], 1.0)
    if here > max(WORSE * then * max(grown, 1.0), then + _UNTOLD_MIB):
        return [f"memory {then:.0f} → {here:.0f} MiB"]
    return []


def _seconds(value: float) -> str:
    """
    >>> _seconds(0.005), _seconds(2.5)
    ('5 ms', '2.5 s')
    """
    if value == inf:
        return "over the last bucket"
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:g} s"
