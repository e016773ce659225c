"""What the same requests cost when the server holds a hundred times as much.

    .venv/bin/python benchmarks/growth.py [--objects 100000] [--seconds 3]

GET, LIST, CREATE and a watch over 1,000 objects and over 100,000; memory per object; the start on a full store. Needs `wrk`. About two
minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from measure import wrk
from measure.processes import ControlPlane
from measure.report import Report, percentile
from measure.users import USER_TOKEN, tokens_file
from server import config_map, fan_out, prepare

BASE = "/clusters/root:bench/api/v1/namespaces"
MANY = f"{BASE}/bench/configmaps"


def requests(report: Report, server: ControlPlane, size: str, seconds: float) -> dict[str, float]:
    """Microseconds of the server's CPU per request."""
    loads = {
        "GET, 8 connections": ("get", f"{BASE}/bench1k/configmaps/cm-0500", 8),
        "LIST limit=100 of the large namespace, 8 connections": ("get", f"{MANY}?limit=100", 8),
        "LIST 1,000 in the small namespace, 8 connections": ("get", f"{BASE}/bench1k/configmaps", 8),
        "CREATE, 8 connections": ("create", MANY, 8),
        "server-side apply, 8 connections": ("apply", MANY, 8),
    }
    costs = {}
    for name, (kind, path, connections) in loads.items():
        result = wrk.run(server.program, server.url, wrk.Load(kind, path, USER_TOKEN), connections=connections, seconds=seconds)
        report.row(f"{size}: {name}", str(result))
        costs[name] = result.cpu_us
    return costs


def pauses(server: ControlPlane) -> list[float]:
    """Seconds of each of 3,000 creates in a row: a server that stops now and then shows it here."""
    client, took = server.client(USER_TOKEN), []
    run = time.time_ns()
    for number in range(3000):
        started = time.perf_counter()
        client.json("POST", MANY, config_map(f"pause-{run}-{number}"))
        took.append(time.perf_counter() - started)
    return took


def count(server: ControlPlane) -> int:
    listed = server.client(USER_TOKEN).json("GET", f"{MANY}?limit=1")
    return 1 + int(listed["metadata"].get("remainingItemCount", 0))


def fill_up(report: Report, server: ControlPlane, objects: int) -> float:
    """KiB of memory per object."""
    before, before_kib = count(server), server.program.rss_kib()
    while (held := count(server)) < objects:
        report.step(f"{held:,} objects")
        load = wrk.Load("create", MANY, USER_TOKEN)
        wrk.run(server.program, server.url, load, connections=32, seconds=max(1.0, min(10.0, (objects - held) / 2500)))
    return (server.program.rss_kib() - before_kib) / (held - before)


def show_pauses(report: Report, size: str, took: list[float]) -> None:
    text = f"p50 {percentile(took, 0.5) * 1e3:.1f} ms, p99 {percentile(took, 0.99) * 1e3:.1f} ms, longest {max(took) * 1e3:.0f} ms"
    report.row(f"{size}: 3,000 creates, one after the other", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each wrk run")
    args = parser.parse_args()
    report = Report("Cost as it grows")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        directory = Path(name)
        tokens = tokens_file(directory)
        server = ControlPlane.start(directory, tokens=tokens)
        try:
            prepare(server, report)
            small = requests(report, server, "few", args.seconds)
            show_pauses(report, "few", pauses(server))
            each_kib = fill_up(report, server, args.objects)
            many = f"{args.objects:,}"
            report.row("memory per ConfigMap of 430 bytes stored", f"{each_kib:.1f} KiB")
            large = requests(report, server, many, args.seconds)
            show_pauses(report, many, pauses(server))
            for what, cost_us in large.items():
                report.row(f"CPU, {many} against few: {what}", f"× {cost_us / small[what]:.2f}")
            asyncio.run(fan_out(report, server, server.admin_token(), 50, 100, ""))
            report.row(f"RSS with {many}", f"{server.program.rss_kib() / 1024:.0f} MiB")
            used_s = server.program.cpu_s()
            time.sleep(3)  # what is measured is doing nothing
            report.row(f"idle CPU with {many}", f"{(server.program.cpu_s() - used_s) / 3:.1%} of a core")
            server.stop()
            server = ControlPlane.start(directory, tokens=tokens)
            report.row(f"start to /readyz with {many} on disk", f"{server.ready_after_s:.2f} s")
            started = time.perf_counter()
            count(server)
            report.row("first LIST after it", f"{time.perf_counter() - started:.2f} s")
            time.sleep(10)  # until the controllers have listed it too
            report.row(f"RSS 10 s after the start with {many}", f"{server.program.rss_kib() / 1024:.0f} MiB")
        finally:
            server.stop()
    report.end()


if __name__ == "__main__":
    main()
