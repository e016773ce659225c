"""A whole fleet on one machine: how soon a change is applied and its status back, what is lost with a cluster, how soon all is well again.

    .venv/bin/python benchmarks/fleet.py [--clusters 100 --workloads 10000] [--only changes,lost,restart,syncer] [--write]

One control plane and a few processes of simulated clusters with their syncers, besides this one, on the same cores. Every cluster has a
namespace of Deployments; a change sets the replicas of one to 2 or back to 1. `--only large`: 1,000 clusters with 50,000 Deployments.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import onesyncer
from measure.board import Board
from measure.plain import Plain
from measure.processes import ControlPlane
from measure.report import Report, percentile, replace_section, spread_ms
from measure.site import STAMP
from measure.sites import Sites

from kcp.cli.running import raise_file_limit

WORKSPACE = "root:bench"
BASE = f"/clusters/{WORKSPACE}"
APPS = f"{BASE}/apis/apps/v1"
TARGETS = f"{BASE}/apis/workload.kcp.io/v1alpha1/synctargets"
PLACEMENTS = f"{BASE}/apis/scheduling.kcp.io/v1alpha1/placements"
EVICTION_S = 10
AT_ONCE = 4
SECTIONS = ("changes", "lost", "restart", "syncer", "large")
CHANGES_S = 20.0
LARGE = (1000, 50_000)
_PATIENCE_S = 60.0


@dataclass
class Fleet:
    """What runs, and how it was laid out. The namespace of a cluster bears its name."""

    server: ControlPlane
    token: str
    sites: Sites
    clusters: int
    workloads: int
    directory: Path
    stamps: itertools.count[int] = field(default_factory=itertools.count)
    replicas: dict[tuple[str, str], int] = field(default_factory=dict)
    """(namespace, Deployment) → what was asked for last."""

    def client(self) -> Plain:
        return self.server.client(self.token)

    @property
    def names(self) -> list[str]:
        return [f"c-{number:04}" for number in range(self.clusters)]

    @property
    def deployments(self) -> list[tuple[str, str]]:
        return [(f"c-{number % self.clusters:04}", f"w-{number:05}") for number in range(self.workloads)]

    def board(self) -> Board:
        return Board(self.server, self.token, f"{APPS}/deployments")

    def cpu(self) -> tuple[float, float]:
        return self.server.program.cpu_s(), self.sites.cpu_s()

    def check(self) -> None:
        for program in (self.server.program, *(site.program for site in self.sites.sites)):
            program.check()


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def until(fleet: Fleet, what: str, reached: Callable[[], int], wanted: int) -> None:
    """Wait until `reached` gives `wanted`, and show how far it is. Raises SystemExit when nothing moves any more."""
    moved_s, told_s, before = time.perf_counter(), 0.0, -1
    while (count := reached()) < wanted:
        fleet.check()
        if count != before:
            moved_s, before = time.perf_counter(), count
        if time.perf_counter() > moved_s + _PATIENCE_S:
            raise SystemExit(f"for {_PATIENCE_S:.0f} s, no more than {count} of {wanted} {what}; {'; '.join(unsynced(fleet)[:5])}")
        if time.perf_counter() - told_s > 2:
            told_s = time.perf_counter()
            progress(f"{count} of {wanted} {what}")
        time.sleep(0.05)


def deployment(namespace: str, name: str, replicas: int, stamp: str) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": "nginx:1.27", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    metadata = {"name": name, "namespace": namespace, "annotations": {STAMP: stamp}}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }  # fmt: skip


def placement(name: str) -> dict[str, Any]:
    """The namespace of that name prefers the cluster of that name, and goes elsewhere if that is lost."""
    rule = {"type": "Label", "field": "region", "operator": "In", "values": [name], "required": False, "weight": 100}
    spec = {
        "numberOfClusters": 1, "namespaceSelector": {"matchNames": [name]}, "strategy": "RoundRobin", "constraints": {"rules": [rule]},
        "movement": {"evictionSeconds": EVICTION_S},
    }  # fmt: skip
    return {"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": name}, "spec": spec}


def ready_targets(client: Plain, *, since: str = "") -> int:
    """How many SyncTargets are Ready. Args: since: by a heartbeat after this time."""
    found = client.json("GET", TARGETS)["items"]
    ready = [t for t in found if any(c["type"] == "Ready" and c["status"] == "True" for c in t.get("status", {}).get("conditions", ()))]
    return sum(t["status"].get("lastSyncerHeartbeatTime", "") >= since for t in ready)


def in_parallel(fleet: Fleet, items: Sequence[Any], send: Callable[[Plain, Any], object], per_s: float = 0.0) -> None:
    """Send all, over a few connections; with a rate, each at its time."""
    started_s = time.perf_counter()

    def send_part(part: Sequence[tuple[int, Any]]) -> None:
        client = fleet.client()
        for number, item in part:
            if per_s:
                time.sleep(max(0.0, started_s + number / per_s - time.perf_counter()))
            send(client, item)
        client.close()

    numbered = list(enumerate(items))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(send_part, [numbered[i::AT_ONCE] for i in range(AT_ONCE)]))


def start(stack: ExitStack, report: Report, directory: Path, clusters: int, workloads: int, processes: int) -> Fleet:
    report.step(f"starting the control plane and {clusters} clusters in {processes} processes")
    server = ControlPlane.start(directory)
    stack.callback(server.stop)
    client = server.client(server.admin_token())
    workspaces = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces"
    client.json("POST", workspaces, {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "bench"}})
    sites = Sites.start(stack, server, directory, WORKSPACE, clusters, processes)
    fleet = Fleet(server, server.admin_token(), sites, clusters, workloads, directory)
    until(fleet, "workspace", lambda: client.json("GET", f"{workspaces}/bench").get("status", {}).get("phase") == "Ready", 1)
    for name in fleet.names:
        target = {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": {"name": name, "labels": {"region": name}}}
        client.json("POST", TARGETS, {**target, "spec": {}})
    sites.wait()
    report.step("starting the syncers")
    sites.sync()
    until(fleet, "SyncTargets Ready", lambda: ready_targets(client), clusters)
    for name in fleet.names:
        client.json("POST", f"{BASE}/api/v1/namespaces", {"metadata": {"name": name}})
        client.json("POST", PLACEMENTS, placement(name))
    return fleet


def filled(fleet: Fleet, report: Report) -> None:
    """All Deployments made at once."""
    report.step(f"applying {fleet.workloads} Deployments")
    before, started_s = fleet.cpu(), time.perf_counter()

    def create(client: Plain, item: tuple[str, str]) -> None:
        namespace, name = item
        fleet.replicas[item] = 1
        client.json("POST", f"{APPS}/namespaces/{namespace}/deployments", deployment(namespace, name, 1, stamp(fleet)))

    with fleet.board() as board:
        in_parallel(fleet, fleet.deployments, create)
        sent_s = time.perf_counter() - started_s
        until(fleet, "Deployments told complete", board.complete, fleet.workloads)
    took_s, after = time.perf_counter() - started_s, fleet.cpu()
    copies = fleet.sites.copies()
    measured = f"{took_s:.0f} s (sent in {sent_s:.0f} s); {fleet.workloads / took_s:.0f}/s; {cpu_each(before, after, fleet.workloads)}"
    report.row("all Deployments made at once: until all run and say so", measured)
    report.row("most and fewest on a cluster", f"{max(copies.values())}, {min(copies.values())}")
    fleet.sites.report()


def stamp(fleet: Fleet) -> str:
    return f"{next(fleet.stamps)} {time.perf_counter():.6f}"


def cpu_each(before: tuple[float, float], after: tuple[float, float], count: int) -> str:
    kcp, sites = ((b - a) / count * 1e3 for a, b in zip(before, after, strict=True))
    return f"CPU each: control plane {kcp:.1f} ms, cluster with syncer {sites:.1f} ms"


def change(fleet: Fleet, client: Plain, item: tuple[str, str], sent: dict[str, tuple[str, str]]) -> None:
    namespace, name = item
    replicas = fleet.replicas[item] = 3 - fleet.replicas.get(item, 1)
    mark = stamp(fleet)
    sent[mark] = item
    patch = {"metadata": {"annotations": {STAMP: mark}}, "spec": {"replicas": replicas}}
    client.json("PATCH", f"{APPS}/namespaces/{namespace}/deployments/{name}", patch, "application/merge-patch+json")


def changes(fleet: Fleet, report: Report, per_s: float) -> None:
    report.step(f"{per_s:g} changes/s for {CHANGES_S:g} s")
    chosen = random.Random(5).sample(fleet.deployments, min(int(per_s * CHANGES_S), fleet.workloads))
    sent: dict[str, tuple[str, str]] = {}
    before = fleet.cpu()
    with fleet.board() as board:
        in_parallel(fleet, chosen, lambda client, item: change(fleet, client, item, sent), per_s)
        until(fleet, "changes told", lambda: sum(mark in board.told for mark in sent), len(sent))
        told = dict(board.told)
    after = fleet.cpu()
    applied, ready = fleet.sites.report()
    down = [applied[mark] - float(mark.split()[1]) for mark in sent]
    up = [told[mark] - ready[mark] for mark in sent]
    report.row(
        "change→applied", spread_ms(down), setting=f"{per_s:g}/s", target="p50 ≤ 250 ms, p99 ≤ 1 s",
        reached=percentile(down, 0.5) <= 0.25 and percentile(down, 0.99) <= 1,
    )  # fmt: skip
    report.row("replicas ready→status back", spread_ms(up), setting=f"{per_s:g}/s", target="p99 ≤ 1 s", reached=percentile(up, 0.99) <= 1)
    report.row("each change", cpu_each(before, after, len(sent)), setting=f"{per_s:g}/s")
    errors = unsynced(fleet) + fleet.sites.faults()
    report.row("errors", f"{len(errors)}", target="0", reached=not errors)
    for line in errors[:5]:
        report.step(line[:200])


def unsynced(fleet: Fleet) -> list[str]:
    """Deployments that say that something is wrong."""
    found = []
    for name in fleet.names:
        for obj in fleet.client().json("GET", f"{APPS}/namespaces/{name}/deployments")["items"]:
            synced = next((c for c in obj.get("status", {}).get("conditions", ()) if c["type"] == "Synced"), {})
            where, ready, wanted = (
                f"{name}/{obj['metadata']['name']}",
                obj.get("status", {}).get("readyReplicas", 0),
                obj["spec"]["replicas"],
            )
            if synced.get("status") != "True":
                found.append(f"{where}: {synced.get('message', 'not synced')}")
            elif ready != wanted:
                found.append(f"{where}: {ready} of {wanted} replicas ready")
    return found


def resting(fleet: Fleet, report: Report, seconds: float = 10.0) -> None:
    before = fleet.cpu()
    time.sleep(seconds)  # what is measured is doing nothing
    kcp, sites = ((b - a) / seconds for a, b in zip(before, fleet.cpu(), strict=True))
    report.row("at rest: CPU", f"control plane {kcp:.1%} of a core, clusters with syncers {sites:.1%}")
    rss_mib = fleet.server.program.rss_kib() / 1024
    report.row("memory of the control plane", f"{rss_mib:.0f} MiB", target="≤ 1.5 GiB", reached=rss_mib <= 1536)
    report.row("memory of a cluster with its syncer", f"{fleet.sites.rss_kib() / 1024 / fleet.clusters:.1f} MiB")


def lost(fleet: Fleet, report: Report) -> None:
    name = fleet.names[0]
    report.step(f"killing cluster {name}")
    client, copies = fleet.client(), fleet.sites.copies()
    wanted = copies[name]
    fleet.sites.of(name).ask("kill", cluster=name)
    started_s = time.perf_counter()

    def is_noticed() -> bool:
        found = client.json("GET", f"{TARGETS}/{name}")["status"]["conditions"]
        return next(c["status"] for c in found if c["type"] == "Ready") != "True"

    until(fleet, "loss noticed", is_noticed, 1)
    noticed_s = time.perf_counter() - started_s
    elsewhere = sum(copies.values()) - wanted
    until(fleet, "replicas elsewhere", lambda: sum(fleet.sites.copies().values()) - fleet.sites.copies()[name] - elsewhere, wanted)
    with fleet.board() as board:
        until(fleet, "Deployments told complete", lambda: sum(is_whole(board, name)), wanted)
    moved_s = time.perf_counter() - started_s
    report.row("cluster lost→noticed", f"{noticed_s:.1f} s", target="≤ 10 s", reached=noticed_s <= 10)
    setting = f"{wanted} Deployments, evicted after {EVICTION_S} s"
    report.row("cluster lost→replicas run elsewhere", f"{moved_s:.1f} s", setting=setting, target="≤ 30 s", reached=moved_s <= 30)
    fleet.sites.of(name).ask("restore", cluster=name)
    until(fleet, "copies taken away from the cluster that is back", lambda: wanted - fleet.sites.copies()[name], wanted)


def is_whole(board: Board, namespace: str) -> list[bool]:
    return [complete for key, complete in list(board.is_complete.items()) if key.startswith(f"{namespace}/")]


def restarted(stack: ExitStack, fleet: Fleet, report: Report) -> Fleet:
    """Everything killed at once, with a change under way in each namespace."""
    report.step("killing everything, and starting it again")
    for site in fleet.sites.sites:
        site.kill()
    sent: dict[str, tuple[str, str]] = {}
    seen: dict[str, tuple[str, str]] = {name: (name, other) for name, other in reversed(fleet.deployments)}
    in_parallel(fleet, list(seen.values()), lambda client, item: change(fleet, client, item, sent))
    fleet.server.program.popen.kill()
    fleet.server.program.popen.wait(10)
    since, started_s = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1)), time.perf_counter()
    server = ControlPlane.start(fleet.directory, port=fleet.server.port)
    stack.callback(server.stop)
    up_s = time.perf_counter() - started_s
    sites = Sites.start(stack, server, fleet.directory, WORKSPACE, fleet.clusters, len(fleet.sites.sites))
    again = Fleet(server, fleet.token, sites, fleet.clusters, fleet.workloads, fleet.directory, fleet.stamps, fleet.replicas)
    sites.wait()
    clusters_s = time.perf_counter() - started_s
    with again.board() as board:
        sites.sync()
        client = again.client()
        until(again, "SyncTargets Ready again", lambda: ready_targets(client, since=since), fleet.clusters)
        until(again, "Deployments told complete", board.complete, fleet.workloads)
    took_s = time.perf_counter() - started_s
    copies = sum(sites.copies().values())
    report.row(
        "everything restarted→all as it should be", f"{took_s:.1f} s (control plane {up_s:.1f} s, clusters {clusters_s:.1f} s)",
        setting=f"{len(sent)} changes under way", target="≤ 30 s", reached=took_s <= 30 and copies == fleet.workloads,
    )  # fmt: skip
    return again


def run(report: Report, wanted: Sequence[str], clusters: int, workloads: int, processes: int, per_s: float) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kcp-bench-")))
        fleet = start(stack, report, directory, clusters, workloads, processes)
        filled(fleet, report)
        if "changes" in wanted:
            changes(fleet, report, per_s)
        resting(fleet, report)
        if "lost" in wanted:
            lost(fleet, report)
        if "restart" in wanted:
            fleet = restarted(stack, fleet, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2, help="that hold the clusters and their syncers")
    parser.add_argument("--pace", type=float, default=50.0, help="changes per second")
    parser.add_argument("--objects", type=int, default=10_000, help="of the one syncer that is measured by itself")
    parser.add_argument("--only", default=",".join(SECTIONS[:-1]), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        raise SystemExit(f"--only: {', '.join(unknown)} is none of {','.join(SECTIONS)}")
    raise_file_limit()
    report = Report(f"A fleet: {options.clusters} clusters × {options.workloads:,} Deployments, clusters and syncers on the same cores")
    if set(wanted) & {"changes", "lost", "restart"}:
        run(report, wanted, options.clusters, options.workloads, options.processes, options.pace)
    if "syncer" in wanted:
        onesyncer.measure(report, options.objects)
    if "large" in wanted:
        run(report, ("changes",), *LARGE, options.processes, options.pace)
    text = report.end()
    if options.write:
        section = "fleet.py, large" if "large" in wanted else "fleet.py"
        replace_section(Path(__file__).parents[1] / "docs/benchmarks.md", section, text)


if __name__ == "__main__":
    main()
