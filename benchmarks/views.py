"""What TMC costs at the size of a fleet: views over all clusters.

    .venv/bin/python benchmarks/views.py [--clusters 100 --workloads 10000 --copies 3] [--only list,change,…] [--write]

One control plane over TLS; clusters are SyncTargets whose reports this program writes, through the virtual workspace of syncers.
Each workload is a Deployment on `copies` clusters. Sections are functions, see `SECTIONS`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from measure import recoveries
from measure.members import BASE, Members
from measure.plain import watching
from measure.processes import ControlPlane
from measure.projected import projected
from measure.report import Report, percentile, replace_section, spread_ms

CHANGES, PER_S = 500, 25
LISTS = 15
HEALTH_INTERVAL_S, HEALTH_ROUNDS = 5.0, 6
"""The default of `--tmc-health-check-interval`, and how many rounds are measured."""
VIEWS = f"{BASE}/apis/tmc.kcp.io/v1alpha1/aggregatedviews"
AGGREGATE = "tmc.kcp.io/aggregate"


def view_of(members: Members) -> str:
    """Path of the view, made if it is not there."""
    client = members.client()
    if client.call("GET", f"{VIEWS}/all")[0] == 404:
        view = {"apiVersion": "tmc.kcp.io/v1alpha1", "kind": "AggregatedView", "metadata": {"name": "all"}, "spec": {}}
        client.json("POST", VIEWS, view)
    return "/services/tmc/root:bench/all/clusters/*/apis/apps/v1/deployments"


def changes(report: Report, members: Members) -> None:
    """Member changes, each of another workload, at a steady rate: from before the syncer's request to the event of the view."""
    path, client = view_of(members), members.client()
    revision = client.json("GET", path)["metadata"]["resourceVersion"]
    chosen = random.Random(1).sample(range(members.workloads), min(CHANGES, members.workloads))
    begun: dict[str, float] = {}
    took: list[float] = []

    async def follow() -> None:
        async with watching(members.server.url, members.token, f"{path}?watch=1&resourceVersion={revision}") as lines:
            sending = asyncio.create_task(asyncio.to_thread(send))
            async for line in lines:
                metadata = json.loads(line)["object"]["metadata"]
                told = json.loads(metadata["annotations"][AGGREGATE])
                if told["replicas"]["unready"] and metadata["name"] in begun:
                    took.append(time.perf_counter() - begun.pop(metadata["name"]))
                    if len(took) == len(chosen):
                        break
            await sending

    def send() -> None:
        started = time.perf_counter()
        for turn, number in enumerate(chosen):
            time.sleep(max(0.0, started + turn / PER_S - time.perf_counter()))
            begun[f"w-{number:05}"] = time.perf_counter()
            members.report(client, number, 0)

    used_s = members.server.program.cpu_s()
    asyncio.run(follow())
    used_s = members.server.program.cpu_s() - used_s
    p99 = percentile(took, 0.99)
    report.row(
        f"member change → visible in the view, {PER_S}/s", f"{spread_ms(took)}; {used_s / len(chosen) * 1e3:.1f} ms CPU each",
        target="p99 ≤ 500 ms", reached=p99 <= 0.5,
    )  # fmt: skip


def lists(report: Report, members: Members) -> None:
    path, client = view_of(members), members.client()
    started = time.perf_counter()
    first = client.json("GET", path)["items"]
    report.row(f"first LIST of {len(first)}, or later", f"{time.perf_counter() - started:.2f} s")
    took, size = [], 0
    used_s = members.server.program.cpu_s()
    for _ in range(LISTS):
        started = time.perf_counter()
        status, body = client.call("GET", path)
        took.append(time.perf_counter() - started)
        size = len(body)
        assert status == 200, body[:300]
    used_s = members.server.program.cpu_s() - used_s
    report.row(
        f"LIST of {len(first)} aggregated ({size / 2**20:.0f} MiB)",
        f"{spread_ms(took)}; {used_s / LISTS * 1e3:.0f} ms CPU each",
        target="≤ 300 ms",
        reached=percentile(took, 0.9) <= 0.3,
    )
    report.row("RSS of the server", f"{members.server.program.rss_kib() / 1024:.0f} MiB")


def dead(report: Report, members: Members) -> None:
    """Three of ten clusters fail at once: from the first report of it until the view shows all they ran as unknown."""
    path, lost = view_of(members), set(range(members.clusters * 3 // 10))
    revision = members.client().json("GET", path)["metadata"]["resourceVersion"]
    wanted = sum(bool(lost.intersection(members.clusters_of(number % members.clusters))) for number in range(members.workloads))
    seen: set[str] = set()

    async def follow() -> float:
        async with watching(members.server.url, members.token, f"{path}?watch=1&resourceVersion={revision}") as lines:
            started = time.perf_counter()
            failing = asyncio.create_task(asyncio.to_thread(members.in_parallel, sorted(lost), members.fail))
            async for line in lines:
                metadata = json.loads(line)["object"]["metadata"]
                if json.loads(metadata["annotations"][AGGREGATE])["clusters"]["unknown"]:
                    seen.add(metadata["name"])
                if len(seen) == wanted:
                    break
            await failing
            return time.perf_counter() - started

    used_s = members.server.program.cpu_s()
    took_s = asyncio.run(follow())
    used_s = members.server.program.cpu_s() - used_s
    report.row(f"{len(lost)} of {members.clusters} clusters fail → {wanted} objects unknown", f"{took_s:.2f} s; {used_s:.1f} s CPU")


def scrape(report: Report, members: Members) -> None:
    """/metrics as Prometheus asks for it, once a second."""
    client, program = members.client(), members.server.program
    took, used, size, series = [], [], 0, 0
    for _ in range(LISTS):
        started, before_s = time.perf_counter(), program.cpu_s()
        status, body = client.call("GET", "/metrics")
        took.append(time.perf_counter() - started)
        used.append(program.cpu_s() - before_s)
        assert status == 200, body[:300]
        size, series = len(body), sum(not line.startswith(b"#") for line in body.splitlines())
        time.sleep(1.0)
    report.row(
        f"scrape of /metrics: {series} series, {size / 2**10:.0f} KiB", f"{spread_ms(took)}; {sum(used) / LISTS * 1e3:.0f} ms CPU each",
        target="≤ 100 ms", reached=percentile(took, 0.9) <= 0.1,
    )  # fmt: skip


def health(report: Report, members: Members) -> None:
    """Rounds of the health monitor while nothing else happens: how long all their looks take, and what the server needs meanwhile."""
    client, program = members.client(), members.server.program

    def looking_s() -> float:
        status, body = client.call("GET", "/metrics")
        assert status == 200, body[:300]
        return float(body.partition(b"\ntmc_health_check_duration_seconds_sum ")[2].split(maxsplit=1)[0])

    time.sleep(HEALTH_INTERVAL_S)  # what was measured before comes to rest
    before_s, used_s = looking_s(), program.cpu_s()
    time.sleep(HEALTH_ROUNDS * HEALTH_INTERVAL_S)
    used_s = program.cpu_s() - used_s
    round_s, share = (looking_s() - before_s) / HEALTH_ROUNDS, used_s / (HEALTH_ROUNDS * HEALTH_INTERVAL_S)
    report.row(
        f"a health round over {members.clusters} clusters",
        f"{round_s * 1e3:.1f} ms, one look after the other; {share:.1%} of a core at rest, all that the server does",
        target="≤ 1 s; ≤ 2 % of a core", reached=round_s <= 1 and share <= 0.02,
    )  # fmt: skip


def recovery(report: Report, members: Members) -> None:  # noqa: ARG001 - the shape of a section; it has a fleet of its own
    """Faults of a cluster under virtual time."""
    for fault in recoveries.FAULTS:
        found_s, mended_s = recoveries.measure(fault)
        report.row(
            f"a cluster fails for 30 s: {fault.value}", f"recovery begins after {found_s:.1f} s; well {mended_s:.1f} s after its end",
            target="≤ 10 s; ≤ 30 s", reached=found_s <= 10 and mended_s <= 30,
        )  # fmt: skip


SECTIONS: Mapping[str, Callable[[Report, Members], None]] = {
    "list": lists, "change": changes, "health": health, "dead": dead, "scrape": scrape, "recovery": recovery,
}  # fmt: skip

PROJECTION = "projection"
"""A section with clusters and syncers of its own."""


def over_members(report: Report, sections: Sequence[str], options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        flags = ["--tmc-placement-controller=false", "--sync-target-heartbeat-threshold=24h"]
        server = ControlPlane.start(Path(name), flags=flags)
        try:
            members = Members(server, server.shard_admin_token(), options.clusters, options.workloads, options.copies)
            report.step(f"{options.clusters} SyncTargets and {options.workloads} Deployments")
            members.set_up()
            for section in sections:
                report.step(section)
                SECTIONS[section](report, members)
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--copies", type=int, default=3, help="clusters that run a workload")
    parser.add_argument("--only", default=",".join((*SECTIONS, PROJECTION)), help="sections, separated by commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    report = Report(f"TMC over {options.clusters} clusters with {options.workloads} workloads on {options.copies} clusters each")
    wanted = options.only.split(",")
    if PROJECTION in wanted:
        report.step(PROJECTION)
        projected(report, options.clusters)
    if members := [section for section in wanted if section != PROJECTION]:
        over_members(report, members, options)
    text = report.end()
    if options.write:
        replace_section(Path(__file__).parent.parent / "docs/benchmarks.md", "views", text)


if __name__ == "__main__":
    main()
