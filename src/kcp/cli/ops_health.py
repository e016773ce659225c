"""Daily checks: is everything well, what failed, and what is in use. Limits are the success criteria of docs/production-deployment.md.

Before: `ops`. After: `ops_inspection`.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from math import ceil

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.ops_figures import Figures, quantile_s
from kcp.cli.ops_inspection import Inspection, cluster_of, some
from kcp.cli.ops_report import Check, State, judged

SYNC_TARGETS = GVR("workload.kcp.io", "v1alpha1", "synctargets")
PLACEMENTS = GVR("scheduling.kcp.io", "v1alpha1", "placements")
ERROR_BUDGET = 0.001
"""Share of syncs, and of requests, that may fail: 0.1 %."""
SYNC_LATENCY_S = 5.0
_FEW = 10
"""Failures that say nothing yet, whatever their share."""
_FULL = 0.8
_STARTED_S = 600.0
"""A server that was just started has been busy."""
_DAY_S = 86_400
_SYNCER_TIMEOUT_S = 10.0
_LONGEST = 80
"""Characters of what a component says of itself."""


async def server(inspection: Inspection) -> Check:
    """It is ready, with each of its checks."""
    client = inspection.client
    response = await client.transport.request(client.request("GET", "/readyz", query={"verbose": "true"}))
    lines = response.body.decode().splitlines()
    failed = [line.removeprefix("[-]") for line in lines if line.startswith("[-]")]
    started = datetime.fromtimestamp(inspection.run.started_s, UTC)
    up_h = (inspection.now - started).total_seconds() / 3600
    result = some(failed) if failed else f"ready (HTTP {response.status}), up for {up_h:.1f} h"
    return judged("Server", result, fault=response.status != 200, remedy="the server's log, and docs/health.md")


async def components(inspection: Inspection) -> Check:
    client = inspection.client
    response = await client.transport.request(client.request("GET", "/healthz/tmc", query={"verbose": "true"}))
    if response.status == 404:
        return Check("Components", State.LEFT_OUT, "the server runs without TMC, or with --tmc-health-monitoring=false")
    report = json.loads(response.body)
    if "components" not in report:
        raise client.error_of(response)
    unwell = [c for c in report["components"] if c["status"] != "Healthy"]
    named = [f"{c['componentType']} {c['componentID']} is {c['status']}{_because(c['message'])}" for c in unwell]
    result = some(named, 3) if unwell else f"{len(report['components'])}, all Healthy"
    return judged("Components", result, fault=bool(unwell), remedy="kubectl tmc status")


async def clusters(inspection: Inspection) -> Check:
    """Every SyncTarget of every workspace."""
    targets, paths = await inspection.everywhere(SYNC_TARGETS), await inspection.paths()
    lost = [f"{_named(t, paths)} ({_why(t, 'Ready')})" for t in targets if not conditions.is_true(t, "Ready")]
    if lost:
        remedy = "kubectl kcp diagnose synctargets, in the workspace; the syncer's pod and log"
        return Check("Clusters", State.LOOK, f"{len(lost)} of {len(targets)} not Ready: {some(lost, 3)}", remedy)
    closed = [_named(t, paths) for t in targets if meta.nested(t, "spec", "unschedulable")]
    result = f"{len(targets)}, all Ready" if targets else "there are none"
    return Check("Clusters", State.OK, result + (f"; cordoned: {some(closed)}" if closed else ""))


async def held(inspection: Inspection) -> Check:
    """Deletions that wait for somebody since the control plane was restored."""
    paths = await inspection.paths()
    waiting = [_named(t, paths) for t in await inspection.everywhere(SYNC_TARGETS) if meta.nested(t, "status", "heldDeletions")]
    result = f"deletions wait at {some(waiting)}" if waiting else "none wait"
    return judged("Deletions held", result, fault=bool(waiting), remedy="kubectl tmc restored, in the workspace (docs/storage.md)")


async def placements(inspection: Inspection) -> Check:
    """Each has as many clusters as it asks for."""
    found, paths = await inspection.everywhere(PLACEMENTS), await inspection.paths()
    wanting = [f"{_named(p, paths)} ({_why(p, 'Ready')})" for p in found if not conditions.is_true(p, "Ready")]
    result = f"{len(found)}, each has its clusters" if found else "there are none"
    if wanting:
        result = f"{len(wanting)} of {len(found)} lack clusters: {some(wanting, 3)}"
    return judged("Placements", result, fault=bool(wanting), remedy="kubectl kcp diagnose placements, in the workspace")


async def requests(inspection: Inspection) -> Check:
    counted = inspection.lately.counters
    return _errors(
        "Request errors", counted["failed requests"], counted["requests"], "requests answered 5xx", inspection.period,
        "apiserver_request_total by code and resource; the server's log",
    )  # fmt: skip


async def objects(inspection: Inspection) -> Check:
    """What the control plane knows of every object for a cluster."""
    found = inspection.figures.of("tmc_sync_resources")
    failed = [s for s in found if s.labels["status"] == "Failed"]
    where = some([f"{s.labels['gvk']} in {s.labels['cluster']}" for s in failed])
    return _errors(
        "Failing objects", sum(s.value for s in failed), sum(s.value for s in found), f"copies fail{': ' if where else ''}{where}", "now",
        "kubectl kcp diagnose deployment NAME; kubectl describe says what to do (docs/errors.md)",
    )  # fmt: skip


async def syncs(inspection: Inspection) -> Check:
    """Syncers count them: those that --syncer-metrics names, and those of push mode, which are in the server."""
    parts = [inspection.figures, *[Figures(await asyncio.to_thread(_fetch, url)) for url in inspection.wanted.syncers]]
    errors, done = (sum(part.total(name) for part in parts) for name in ("tmc_sync_errors_total", "tmc_sync_operations_total"))
    if not done and not inspection.wanted.syncers:
        return Check("Sync errors", State.LEFT_OUT, "not looked at: --syncer-metrics=URL says where a syncer shows its metrics")
    slowest_s = max(
        (quantile_s(found, 0.99) for part in parts for found in part.buckets("tmc_sync_duration_seconds_bucket", "cluster").values()),
        default=0.0,
    )
    remedy = "tmc_sync_errors_total of the syncer names kind and type; `workload-syncer --workers` if it is slow"
    told = _errors("Sync errors", errors, done, f"syncs failed, 99 % took ≤ {slowest_s:g} s", "since the syncers' start", remedy)
    return judged(told.name, told.result, fault=told.state is State.LOOK or slowest_s > SYNC_LATENCY_S, remedy=remedy)


async def decisions(inspection: Inspection) -> Check:
    counted = inspection.lately.counters
    errors, done = counted["placement errors"], counted["placement decisions"]
    remedy = "tmc_placement_errors_total names the reason; kubectl kcp diagnose placements"
    fault = errors > _FEW and errors > 0.1 * done
    return judged("Placement errors", f"{errors:.0f} of {done:.0f} decisions left clusters wanting, {inspection.period}",
                  fault=fault, remedy=remedy)  # fmt: skip


async def resources(inspection: Inspection) -> Check:
    """Of the server's process."""
    run, lately = inspection.run, inspection.lately
    before = inspection.before if inspection.period != "since the server's start" else None
    seconds = inspection.now.timestamp() - (before.instant.timestamp() if before else run.started_s)
    cores = lately.counters["processor seconds"] / max(seconds, 1.0)
    busy = cores > _FULL and seconds > _STARTED_S
    files = inspection.figures.total("process_open_fds") / max(inspection.figures.total("process_max_fds"), 1.0)
    result = f"memory {run.gauges['memory MiB']:.0f} MiB, processor {100 * cores:.1f} % of a core, files {100 * files:.0f} % of their limit"
    remedy = "docs/production-deployment.md, capacity: a server uses one core at most"
    return judged("Resources", result, fault=busy or files > _FULL, remedy=remedy)


async def storage(inspection: Inspection) -> Check:
    gauges = inspection.run.gauges
    size = f"{gauges['store MiB']:.1f} MiB" if gauges["store MiB"] else "size: ask etcd (etcdctl endpoint status)"
    failed = inspection.figures.total("etcd_request_errors_total")
    result = f"{size}, {gauges['objects']:,.0f} objects held in memory, {failed:.0f} calls failed"
    return judged("Storage", result, fault=failed > _FEW, remedy="the disk, or the members of etcd; the server's log")


async def saturation(inspection: Inspection) -> Check:
    """What clusters have left, as their syncers report it."""
    full = [
        f"{s.labels['cluster']} {s.labels['resource_type']} {100 * s.value:.0f} %"
        for s in inspection.figures.of("tmc_cluster_capacity_utilization")
        if s.value > _FULL
    ]
    result = some(full) if full else f"none above {100 * _FULL:.0f} % of what is allocatable"
    return judged("Room in clusters", result, fault=bool(full), remedy="add nodes, or a cluster; kubectl tmc preview shows what would move")


async def certificates(inspection: Inspection) -> Check:
    """Of what the server shows and trusts."""
    left = {
        s.labels["certificate"]: ceil((s.value - inspection.now.timestamp()) / _DAY_S)
        for s in inspection.figures.of("kcp_certificate_expiration_timestamp_seconds")
    }
    if not left:
        return Check("Certificates", State.UNKNOWN, "the server tells of none", "kcp certs check --directory=…")
    soonest = min(left, key=left.__getitem__)
    fault = left[soonest] <= inspection.wanted.certificate_days
    remedy = "kcp certs renew, or cert-manager's Certificate; the server takes it up by itself (docs/certificates.md)"
    return judged("Certificates", f"{len(left)}; {soonest} is the first to expire, in {left[soonest]} days", fault=fault, remedy=remedy)


DAILY = {
    "Server": server, "Components": components, "Clusters": clusters, "Deletions held": held, "Placements": placements,
    "Request errors": requests, "Failing objects": objects, "Sync errors": syncs, "Placement errors": decisions,
    "Resources": resources, "Storage": storage, "Room in clusters": saturation, "Certificates": certificates,
}  # fmt: skip


def _errors(name: str, errors: float, done: float, what: str, period: str, remedy: str) -> Check:
    share = errors / done if done else 0.0
    fault = errors > _FEW and share > ERROR_BUDGET
    return judged(name, f"{errors:.0f} of {done:,.0f} {what} ({100 * share:.2f} %; budget 0.1 %), {period}", fault=fault, remedy=remedy)


def _named(obj: JSONObject, paths: dict[str, str]) -> str:
    return f"{meta.name(obj)} in {paths.get(cluster_of(obj), cluster_of(obj))}"


def _short(text: str) -> str:
    """The whole stands where the remedy leads to."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _because(message: str) -> str:
    return f": {_short(message)}" if message else ""


def _why(obj: JSONObject, kind: str) -> str:
    """What a condition says."""
    for condition in meta.nested(obj, "status", "conditions", default=()):
        if condition.get("type") == kind:
            return _short(str(condition.get("message") or condition.get("reason") or condition.get("status")))
    return "nobody has looked at it yet"


def _fetch(url: str) -> str:
    """Raises OSError."""
    from urllib.request import urlopen

    if not url.startswith(("http://", "https://")):
        raise OSError(f"--syncer-metrics {url}: no http URL")
    with urlopen(url, timeout=_SYNCER_TIMEOUT_S) as answer:
        text: str = answer.read().decode()
    return text
