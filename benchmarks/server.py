"""How quick and how small the control plane is, as a process over TLS: start with and without TMC, and workspaces by the thousand.

    .venv/bin/python benchmarks/server.py [--only start,workspaces]

Uses loopback and a temporary directory only, and takes about one and a half minutes. Reads, writes and watches: `api.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure.plain import watching
from measure.processes import ControlPlane
from measure.report import Report, percentile, spread_ms
from measure.workspace import WORKSPACES, create_workspaces, until_ready, workspace

SEQUENTIAL, MANY, AT_ONCE = 100, 1000, 8


def start_and_idle(report: Report, directory: Path) -> None:
    report.step("starting, cold: empty root directory, certificates made")
    cold: list[float] = []
    used: list[float] = []
    for turn in range(3):
        server = ControlPlane.start(directory, name=f"cold-{turn}")
        cold.append(server.ready_after_s)
        used.append(server.program.cpu_s())
        server.stop()
    spread = f"{percentile(cold, 0.5):.2f} s ({min(cold):.2f}-{max(cold):.2f}; CPU {percentile(used, 0.5):.2f} s)"
    report.row(
        "start to /readyz, cold, with TMC", spread, target="≤ 1.5 s", reached=max(cold) <= 1.5, baseline="2.42 s",
    )  # fmt: skip
    report.step("starting again on the same root directory, and without TMC; 10 s of idling")
    again = ControlPlane.start(directory, name="cold-0")
    plain = ControlPlane.start(directory, tmc=False, name="plain")
    try:
        report.row("start to /readyz, second start", f"{again.ready_after_s:.2f} s")
        report.row("start to /readyz, cold, without TMC", f"{plain.ready_after_s:.2f} s")
        time.sleep(10)  # what is measured is doing nothing
        for name, server, baseline in (("with TMC", again, "278 + 43 MiB"), ("without TMC", plain, "")):
            mib = server.program.rss_kib() / 1024
            report.row(f"idle RSS, {name}", f"{mib:.1f} MiB", target="≤ 120 MiB", reached=mib <= 120, baseline=baseline)
        before = again.program.cpu_s()
        time.sleep(5)
        report.row("idle CPU, with TMC", f"{(again.program.cpu_s() - before) / 5:.2%} of a core")
    finally:
        again.stop()
        plain.stop()


def sequential_workspaces(report: Report, server: ControlPlane, token: str) -> None:
    """Each is created when the one before is Ready, and is Ready when a watch says so: what `kubectl ws create` waits for."""
    client, took, begun = server.client(token), [], {}
    path = f"/clusters/root{WORKSPACES}"

    async def one_by_one() -> None:
        revision = client.json("GET", path)["metadata"]["resourceVersion"]
        async with watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") as lines:
            for number in range(SEQUENTIAL):
                name = f"seq-{number}"
                begun[name] = time.perf_counter()
                client.json("POST", path, workspace(name))
                async for line in lines:
                    found = json.loads(line)["object"]
                    if found["metadata"]["name"] == name and found.get("status", {}).get("phase") == "Ready":
                        took.append(time.perf_counter() - begun[name])
                        break

    used_s = server.program.cpu_s()
    asyncio.run(one_by_one())
    used_s = server.program.cpu_s() - used_s
    p50 = percentile(took, 0.5)
    report.row(
        f"workspace create→Ready ({SEQUENTIAL}, one by one)", f"{spread_ms(took)}; {used_s / SEQUENTIAL * 1e3:.1f} ms CPU each",
        target="p50 ≤ 50 ms", reached=p50 <= 0.05, baseline="kcp: 1.6 s",
    )  # fmt: skip


def many_workspaces(report: Report, server: ControlPlane, token: str) -> None:
    parent = "root:many"
    made = asyncio.run(until_ready(server, token, "root", 1, lambda: create_workspaces(server, token, "root", ["many"])))
    assert made
    names = [f"w-{number:04}" for number in range(MANY)]
    time.sleep(1)
    before_kib, before_s, started = server.program.rss_kib(), server.program.cpu_s(), time.perf_counter()

    def create() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda part: create_workspaces(server, token, parent, part), [names[i::AT_ONCE] for i in range(AT_ONCE)]))

    ready = asyncio.run(until_ready(server, token, parent, MANY, create))
    elapsed_s, used_s = max(ready.values()) - started, server.program.cpu_s() - before_s
    report.row(f"{MANY} workspaces, {AT_ONCE} at a time", f"{MANY / elapsed_s:.0f}/s, {used_s / MANY * 1e3:.1f} ms CPU each")
    time.sleep(10)  # caches that live for seconds are not the price of a workspace
    each = (server.program.rss_kib() - before_kib) / MANY
    report.row(
        "memory of a workspace (RSS, of 1,000)", f"{each:.0f} KiB", target="≤ 200 KiB", reached=each <= 200, baseline="kcp: 7-10 MiB"
    )
    before_s = server.program.cpu_s()
    time.sleep(5)
    report.row("idle CPU with 1,100 workspaces", f"{(server.program.cpu_s() - before_s) / 5:.2%} of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="start,workspaces", help="sections, separated by commas")
    wanted = set(parser.parse_args().only.split(","))
    report = Report("The control plane as a process, over TLS")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        directory = Path(name)
        if "start" in wanted:
            start_and_idle(report, directory)
        if "workspaces" in wanted:
            server = ControlPlane.start(directory, name="server")
            try:
                report.step(f"{SEQUENTIAL} workspaces one by one, then {MANY}")
                sequential_workspaces(report, server, server.admin_token())
                many_workspaces(report, server, server.admin_token())
            finally:
                server.stop()
    report.end()


if __name__ == "__main__":
    main()
