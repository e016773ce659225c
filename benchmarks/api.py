"""The figures of the Kubernetes API server in one run: start, memory, reads, writes, apply, watches, and what they cost as it grows.

    .venv/bin/python benchmarks/api.py [--only machine,start,requests,watch,crds,growth] [--write]

HTTPS keep-alive HTTP/1.1, JSON, bearer token of a user in no privileged group whom RBAC objects of the workspace let in, SQLite with an
fsync before each answer; load generator wrk on the same machine. Needs `wrk`; uses loopback and a temporary directory only (3 GB of disk
and 5 GB of memory for a million objects). Takes about five minutes, of which growth takes three. The baseline is kube-apiserver 1.36.2.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import crds, wrk
from measure.disk import sync_delays
from measure.fanout import Watchers, fan_out
from measure.filling import fill_store
from measure.plain import Plain
from measure.processes import ControlPlane
from measure.report import Report, percentile, replace_section, spread_ms
from measure.users import USER_TOKEN, admit, tokens_file
from measure.workspace import BENCH, collection, config_map, count, fill, prepare

FEW, SOME = 10_000, 100_000
CROWD = 10_000
ROUNDS = 5
"""Watchers that a create does not concern."""
SELECTORS = (
    "fieldSelector=metadata.name%3Dother-{}",
    "labelSelector=team%3Dt{}",
    "labelSelector=team+in+(a{},b{})",
    "labelSelector=team,team!%3Dt{}",
)
"""Of the four sorts there are: by name, by one label's value, by a set of values, by a label's presence."""
LARGE_CRDS = 86


@dataclass(frozen=True, slots=True)
class Rate:
    """A row of requests per second, held against `factor` times what kube-apiserver does."""

    name: str
    setting: str
    kind: str
    path: str
    connections: int
    baseline: float
    factor: float


RATES = (
    *(Rate("GET", "a ConfigMap", "get", f"{collection('bench1k')}/cm-0500", c, b, 4) for c, b in ((1, 1320), (8, 2820), (32, 3225))),
    *(Rate("LIST", "1,000 ConfigMaps", "get", collection("bench1k"), c, b, 4) for c, b in ((1, 71), (8, 150))),
    *(Rate("CREATE", "a ConfigMap", "create", collection("bench"), c, b, 1.5) for c, b in ((1, 617), (8, 1467), (32, 1757))),
    *(Rate("server-side apply", "100 ConfigMaps", "apply", collection("bench"), c, b, 1) for c, b in ((1, 509), (8, 935))),
)


@dataclass
class Run:
    """What all sections share."""

    report: Report
    directory: Path
    tokens: Path
    seconds: float
    objects: int

    def start(self, name: str) -> ControlPlane:
        return ControlPlane.start(self.directory, tmc=False, tokens=self.tokens, name=name)


def machine(run: Run) -> None:
    growing, over = sync_delays(run.directory)
    run.report.row("the disk alone", f"{spread_ms(growing)}", setting="16 KiB written and synced, growing file")
    run.report.row("the disk alone", f"{spread_ms(over)}", setting="16 KiB written and synced, over old data")


def start(run: Run) -> None:
    run.report.step("three cold starts, then ten seconds of doing nothing")
    took: list[float] = []
    used: list[float] = []
    for turn in range(3):
        server = run.start(f"cold-{turn}")
        took.append(server.ready_after_s)
        used.append(server.program.cpu_s())
        if turn < 2:
            server.stop()
    time.sleep(10)  # what is measured is doing nothing
    mib = server.program.rss_kib() / 1024
    server.stop()
    p50 = percentile(took, 0.5)
    run.report.row(
        "start to ready", f"{p50:.2f} s ({min(took):.2f}-{max(took):.2f}; CPU {percentile(used, 0.5):.2f} s)", setting="empty directory",
        target="≤ 0.80 s", reached=p50 <= 0.8, baseline="2.4 s", ratio=f"÷ {2.4 / p50:.1f}",
    )  # fmt: skip
    memory(run.report, "idle memory", "10 s after ready", mib, 278 + 43, limit_mib=(278 + 43) / 4)


def memory(report: Report, name: str, setting: str, mib: float, baseline_mib: float, *, limit_mib: float = 0.0) -> None:
    """A row of resident memory; the baseline includes etcd where it is a sum."""
    report.row(
        name, f"{mib:.0f} MiB", setting=setting, target=f"≤ {limit_mib:.0f} MiB" if limit_mib else "",
        reached=mib <= limit_mib if limit_mib else None, baseline=f"{baseline_mib:.0f} MiB", ratio=f"÷ {baseline_mib / mib:.1f}",
    )  # fmt: skip


def requests(run: Run) -> None:
    server = run.start("requests")
    try:
        client = prepare(server, "bench", "bench1k")
        fill(client, collection("bench1k"), 1000, "cm")
        fill(client, collection("bench"), 100, "apply")
        admit(client, BENCH, ("bench", "bench1k"))
        run.report.step(f"1,100 ConfigMaps made; each rate for {run.seconds:g} s")
        for rate in RATES:
            load = wrk.Load(rate.kind, rate.path, USER_TOKEN)
            result = wrk.run(server.program, server.url, load, connections=rate.connections, seconds=run.seconds)
            size = f" ({result.answer_bytes / 1000:.0f} kB each)" if rate.name == "LIST" else ""
            target = rate.baseline * rate.factor
            run.report.row(
                rate.name, f"{result}{size}", setting=f"{rate.setting}, {_connections(rate.connections)}", target=f"≥ {target:,.0f}/s",
                reached=result.per_s >= target and not result.errors, baseline=f"{rate.baseline:,.0f}/s",
                ratio=f"× {result.per_s / rate.baseline:.1f}",
            )  # fmt: skip
        held = count(client, collection("bench"))
        while held < 25_000:
            run.report.step(f"{held:,} ConfigMaps, more until 25,000")
            load = wrk.Load("create", collection("bench"), USER_TOKEN)
            wrk.run(server.program, server.url, load, connections=32, seconds=max(1.0, (25_000 - held) / 3000))
            held = count(client, collection("bench"))
        memory(run.report, "memory after the load", f"{held:,} ConfigMaps (baseline: 25,000)", server.program.rss_kib() / 1024, 640 + 73)
    finally:
        server.stop()


def _connections(number: int) -> str:
    return f"{number} connection{'s' if number > 1 else ''}"


def watches(run: Run) -> None:
    server = run.start("watch")
    try:
        client = prepare(server, "one", "many", "crowd", "elsewhere")
        admit(client, BENCH, ("one", "many", "crowd", "elsewhere"))
        found = fan_out(server.url, USER_TOKEN, collection("one"), watchers=1, changes=300)
        p50_ms = percentile(found.delays, 0.5) * 1e3
        run.report.row(
            "create to watch event", spread_ms(found.delays), setting="1 watcher, 300 creates", target="p50 ≤ 2.2 ms",
            reached=p50_ms <= 2.2, baseline="2.2 ms", ratio=f"÷ {2.2 / p50_ms:.1f}",
        )  # fmt: skip
        used_s = server.program.cpu_s()
        found = fan_out(server.url, USER_TOKEN, collection("many"), watchers=200, changes=100)
        used_s = server.program.cpu_s() - used_s
        each_us = used_s / len(found.delays) * 1e6
        run.report.row(
            "events delivered", f"{found.per_s:,.0f}/s; create→event {spread_ms(found.delays)}; {each_us:.0f} µs CPU each, all included",
            setting="200 watchers, 100 creates", target="≥ 99,600/s", reached=found.per_s >= 99_600, baseline="24,900/s",
            ratio=f"× {found.per_s / 24_900:.1f}",
        )  # fmt: skip
        crowd(run, server)
    finally:
        server.stop()


def crowd(run: Run, server: ControlPlane) -> None:
    """One watcher of a namespace, alone and then beside thousands that the same creates do not concern."""
    path, changes = collection("crowd"), 300

    def measure(setting: str) -> tuple[float, float]:
        used_s = server.program.cpu_s()
        found = fan_out(server.url, USER_TOKEN, path, watchers=1, changes=changes)
        each_us = (server.program.cpu_s() - used_s) / changes * 1e6
        for number in range(changes):
            client.json("DELETE", f"{path}/f-{number}")
        run.report.row("event for one watcher", f"{spread_ms(found.delays)}; {each_us:.0f} µs CPU, its create included", setting=setting)
        return percentile(found.delays, 0.5), each_us

    client = server.client(server.admin_token())
    alone_s, alone_us = measure("alone")
    opened: list[Watchers] = []
    before_kib = server.program.rss_kib()
    try:
        for step in range(CROWD // 250):
            query = SELECTORS[step % len(SELECTORS)]
            where = collection("elsewhere") if step % 20 == 0 else path
            opened.append(Watchers(server.url, USER_TOKEN, f"{where}?watch=1&{query.replace('{}', str(step))}", 250))
            if step % 8 == 7:
                run.report.step(f"{250 * (step + 1):,} watchers of something else")
        each_kib = (server.program.rss_kib() - before_kib) / CROWD
        crowded_s, crowded_us = measure(f"beside {CROWD:,} with selectors that do not match")
    finally:
        for watchers in opened:
            watchers.close()
    ratio = max(crowded_s / alone_s, crowded_us / alone_us)
    run.report.row(
        "cost of a crowd", f"time × {crowded_s / alone_s:.2f}, CPU × {crowded_us / alone_us:.2f}; {each_kib:.0f} KiB per open watch",
        setting="the two rows above", target="≤ × 2", reached=ratio <= 2,
    )  # fmt: skip


def large_crds(run: Run) -> None:
    found = crds.published()
    if not found:
        run.report.step(f"no CustomResourceDefinitions in {crds.DIRECTORY}: that row is left out")
        return
    wanted = crds.with_copies(found, LARGE_CRDS)
    server = run.start("crds")
    try:
        client = prepare(server)
        started = time.perf_counter()
        crds.install(client, BENCH, wanted)
        run.report.step(
            f"{len(wanted)} CRDs established after {time.perf_counter() - started:.1f} s ({len(found)} published, the rest copies)"
        )
        time.sleep(10)  # caches that live for seconds are not their price
        memory(run.report, "memory with large CRDs", f"{len(wanted)}, 10 s later", server.program.rss_kib() / 1024, 887, limit_mib=250)
        crds.read_documents(client, BENCH)
        time.sleep(10)
        mib = server.program.rss_kib() / 1024
        memory(run.report, "memory with large CRDs", "discovery, OpenAPI v2 and v3 read as well, 10 s later", mib, 887, limit_mib=250)
    finally:
        server.stop()


def growth(run: Run) -> None:
    """A server with few objects and one with many, side by side, so that both meet the same machine."""
    server = run.start("few")
    client = prepare(server, "small", "large")
    fill(client, collection("small"), 10, "cm")
    client.json("POST", collection("large"), config_map("template"))
    admit(client, BENCH, ("small", "large"))
    server.stop()
    run.report.step(f"filling a store with {FEW:,}, then {SOME:,}")
    fill_store(server.root / "kcp.db", "template", FEW)
    many = server.root.with_name(".many")
    shutil.copytree(server.root, many, ignore=shutil.ignore_patterns("*.lock"))
    fill_store(many / "kcp.db", "template", SOME)
    restart(run)
    run.report.step(f"filling it with {run.objects:,}")
    fill_store(many / "kcp.db", "template", run.objects)
    servers = {"few": run.start("few")}
    try:
        servers["many"] = run.start("many")
        compare(run, servers)
        pauses(run, servers["many"])
    finally:
        for server in servers.values():
            server.stop()


def restart(run: Run) -> None:
    server = run.start("many")
    run.report.row(
        "restart", f"{server.ready_after_s:.2f} s to ready, CPU {server.program.cpu_s():.2f} s", setting=f"{SOME:,} objects",
        target="≤ 5 s", reached=server.ready_after_s <= 5,
    )  # fmt: skip
    started = time.perf_counter()
    server.client(USER_TOKEN).json("GET", f"{collection('large')}/copy-0005000")
    first_s = time.perf_counter() - started
    server.stop()
    run.report.row("first GET after it", f"{first_s:.2f} s", setting=f"{SOME:,} objects")


def compare(run: Run, servers: dict[str, ControlPlane]) -> None:
    held = {"few": FEW, "many": run.objects}
    for name, server in servers.items():
        started = time.perf_counter()
        server.client(USER_TOKEN).json("GET", f"{collection('large')}/copy-0005000")
        run.report.step(
            f"{held[name]:,} objects: ready after {server.ready_after_s:.2f} s, first GET took {time.perf_counter() - started:.2f} s"
        )
        wait_idle(run.report, server)
        run.report.row("memory", f"{server.program.rss_kib() / 1024:.0f} MiB", setting=f"{held[name]:,} ConfigMaps")
    loads = {"GET": ("get", f"{collection('large')}/copy-0005000"), "CREATE": ("create", collection("large"))}
    costs: dict[tuple[str, str], list[wrk.Result]] = {}
    for turn in range(ROUNDS):
        run.report.step(f"round {turn + 1} of {ROUNDS}")
        for verb, (kind, path) in loads.items():
            for name, server in servers.items():
                load = wrk.Load(kind, path, USER_TOKEN)
                costs.setdefault((verb, name), []).append(wrk.run(server.program, server.url, load, connections=8, seconds=2))
    for verb in loads:
        few, many = costs[verb, "few"], costs[verb, "many"]
        cpu = _median(few, many, lambda result: result.cpu_us)
        rates = _median(few, many, lambda result: result.per_s)
        slower = cpu[1] / cpu[0]
        run.report.row(
            f"{verb} as it grows", f"{cpu[0]:.0f} → {cpu[1]:.0f} µs CPU each; {rates[0]:,.0f} → {rates[1]:,.0f}/s",
            setting=f"{FEW:,} → {run.objects:,} objects, 8 connections", target="≤ × 1.2", reached=slower <= 1.2, ratio=f"× {slower:.2f}",
        )  # fmt: skip


def _median(few: list[wrk.Result], many: list[wrk.Result], value: Callable[[wrk.Result], float]) -> tuple[float, float]:
    return percentile([value(result) for result in few], 0.5), percentile([value(result) for result in many], 0.5)


def wait_idle(report: Report, server: ControlPlane) -> None:
    """Until controllers have looked at everything once: less than a tenth of a core for two seconds."""
    started = time.perf_counter()
    while True:
        before_s = server.program.cpu_s()
        time.sleep(2)
        if server.program.cpu_s() - before_s < 0.2:
            return
        report.step(f"waiting until it is idle, {server.program.rss_kib() / 1024:.0f} MiB")
        if time.perf_counter() - started > 180:
            raise SystemExit("the server does not come to rest")


def pauses(run: Run, server: ControlPlane) -> None:
    """Creates one after the other: a server that stops now and then shows it here."""
    client: Plain = server.client(USER_TOKEN)
    took = []
    for number in range(3000):
        started = time.perf_counter()
        client.json("POST", collection("large"), config_map(f"pause-{number}"))
        took.append(time.perf_counter() - started)
    run.report.row("3,000 creates in a row", f"{spread_ms(took)}, longest {max(took) * 1e3:.0f} ms", setting=f"{run.objects:,} objects")


SECTIONS: dict[str, Callable[[Run], None]] = {
    "machine": machine, "start": start, "requests": requests, "watch": watches, "crds": large_crds, "growth": growth,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate")
    parser.add_argument("--objects", type=int, default=1_000_000, help="of the large server of section growth")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    args = parser.parse_args()
    if unknown := set(args.only.split(",")) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if args.write and args.only != ",".join(SECTIONS):
        parser.error("--write needs all sections: the document shows one run")
    report = Report("A Kubernetes API server as a process, over TLS")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        directory = Path(name)
        run = Run(report, directory, tokens_file(directory), args.seconds, args.objects)
        for section in args.only.split(","):
            report.step(section)
            SECTIONS[section](run)
    text = report.end()
    if args.write:
        replace_section(Path(__file__).parents[1] / "docs/benchmarks.md", "api.py", text)


if __name__ == "__main__":
    main()
