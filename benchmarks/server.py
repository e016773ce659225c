"""How quick and how small the control plane is, as a process over TLS: start, idle, workspaces, reads, writes, watches.

    .venv/bin/python benchmarks/server.py [--only start,workspaces,api,watch] [--seconds 4]

Needs `wrk`. Uses loopback and a temporary directory only, and takes about two and a half minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from measure import wrk
from measure.plain import Plain, watching
from measure.processes import ControlPlane
from measure.report import Report, percentile, spread_ms
from measure.users import ACCOUNT, USER_TOKEN, Caller, admit, tokens_file

WORKSPACES = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
SEQUENTIAL, MANY, AT_ONCE = 100, 1000, 8
FAN_OUT = ((1, 300, "2.2 / 4.5 ms"), (50, 200, "14,484/s, 4.9 / 12.0 ms"), (200, 100, "24,891/s, 15 / 36 ms"))
BASELINES = {
    ("get", 1): "1,319/s",
    ("get", 8): "2,822/s",
    ("get", 32): "3,225/s",
    ("list", 1): "71/s",
    ("list", 8): "150/s",
    ("create", 1): "617/s",
    ("create", 8): "1,467/s",
    ("create", 32): "1,757/s",
    ("apply", 1): "509/s",
    ("apply", 8): "935/s",
}


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


def workspace(name: str) -> dict[str, Any]:
    """As `kubectl ws create --type root:universal` makes it."""
    spec = {"type": {"name": "universal", "path": "root"}}
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


async def until_ready(server: ControlPlane, token: str, parent: str, count: int, create: Callable[[], None]) -> dict[str, float]:
    """When each of `count` workspaces was seen Ready by a watch, while `create` makes them in a thread."""
    path = f"/clusters/{parent}{WORKSPACES}"
    revision = server.client(token).json("GET", path)["metadata"]["resourceVersion"]
    ready: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    async with watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") as lines:
        creating = loop.run_in_executor(None, create)
        async for line in lines:
            event = json.loads(line)
            if event["object"].get("status", {}).get("phase") == "Ready":
                ready.setdefault(event["object"]["metadata"]["name"], time.perf_counter())
            if len(ready) == count:
                break
        await creating
    return ready


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
    made = asyncio.run(until_ready(server, token, "root", 1, lambda: _create(server, token, "root", ["many"])))
    assert made
    names = [f"w-{number:04}" for number in range(MANY)]
    time.sleep(1)
    before_kib, before_s, started = server.program.rss_kib(), server.program.cpu_s(), time.perf_counter()

    def create() -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda part: _create(server, token, parent, part), [names[i::AT_ONCE] for i in range(AT_ONCE)]))

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


def _create(server: ControlPlane, token: str, parent: str, names: list[str]) -> None:
    client = server.client(token)
    for name in names:
        client.json("POST", f"/clusters/{parent}{WORKSPACES}", workspace(name))
    client.close()


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"bench": "yes"}}, "data": {"key": "v" * 100}}


def fill(client: Plain, path: str, count: int, prefix: str = "cm") -> None:
    for number in range(count):
        client.json("POST", path, config_map(f"{prefix}-{number:04}"))


def api(report: Report, server: ControlPlane, callers: list[Caller], seconds: float) -> None:
    """Requests of a user whom a Role in the workspace lets work with ConfigMaps; GET also by others."""
    user = callers[0]
    base = "/clusters/root:bench/api/v1/namespaces"
    one = f"{base}/bench1k/configmaps/cm-0500"

    def measure(name: str, kind: str, path: str, caller: Caller, connections: int, *, key: str = "") -> wrk.Result:
        load = wrk.Load(kind, path, caller.token)
        result = wrk.run(server.program, server.url, load, connections=connections, seconds=seconds)
        is_goal = kind == "get" and connections == 32 and not key
        report.row(
            f"{name}, {connections} connection{'s' if connections > 1 else ''}", str(result), target="≥ 6,000/s" if is_goal else "",
            reached=result.per_s >= 6000 if is_goal else None, baseline=BASELINES.get((key or kind, connections), ""),
        )  # fmt: skip
        return result

    for connections in (1, 8, 32):
        measure(f"GET ConfigMap ({user.name})", "get", one, user, connections)
    for caller in callers[1:]:
        measure(f"GET ConfigMap ({caller.name})", "get", one, caller, 32)
    for connections in (1, 8):
        measure("LIST 1,000", "get", f"{base}/bench1k/configmaps", user, connections, key="list")
    for connections in (1, 8, 32):
        measure("CREATE", "create", f"{base}/bench/configmaps", user, connections)
    for connections in (1, 8):
        measure("server-side apply", "apply", f"{base}/bench/configmaps", user, connections)
    report.row("RSS after the load", f"{server.program.rss_kib() / 1024:.0f} MiB", baseline="625-658 + 73 MiB")


async def fan_out(report: Report, server: ControlPlane, token: str, watchers: int, changes: int, baseline: str) -> None:
    namespace, client = f"fan-{watchers}", server.client(token)
    path = f"/clusters/root:bench/api/v1/namespaces/{namespace}/configmaps"
    client.json("POST", "/clusters/root:bench/api/v1/namespaces", {"metadata": {"name": namespace}})
    revision = client.json("GET", path)["metadata"]["resourceVersion"]
    delays: list[float] = []

    def create() -> None:
        for number in range(changes):
            obj = config_map(f"f-{number}")
            obj["data"]["ts"] = f"{time.perf_counter():.6f}"
            client.json("POST", path, obj)

    async def drain(lines: Any) -> None:
        seen = 0
        async for line in lines:
            at = line.find(b'"ts":"')
            if at > 0:
                delays.append(time.perf_counter() - float(line[at + 6 : line.index(b'"', at + 6)]))
                seen += 1
            if seen == changes:
                return

    async with AsyncExitStack() as stack:
        opened = [watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") for _ in range(watchers)]
        streams = await asyncio.gather(*(stack.enter_async_context(one) for one in opened))
        used_s, started = server.program.cpu_s(), time.perf_counter()
        creating = asyncio.get_running_loop().run_in_executor(None, create)
        await asyncio.gather(*(drain(lines) for lines in streams))
        await creating
        elapsed_s = time.perf_counter() - started
        used_s = server.program.cpu_s() - used_s
    report.row(
        f"watch, {watchers} watchers × {changes} creates",
        f"{len(delays) / elapsed_s:,.0f} events/s; create→event {spread_ms(delays)};"
        f" {used_s / len(delays) * 1e6:.0f} µs CPU per event, creates included",
        baseline=baseline,
    )


def prepare(server: ControlPlane, report: Report) -> list[Caller]:
    admin = server.admin_token()
    client = server.client(admin)
    asyncio.run(until_ready(server, admin, "root", 1, lambda: _create(server, admin, "root", ["bench"])))
    for namespace in ("bench", "bench1k"):
        client.json("POST", "/clusters/root:bench/api/v1/namespaces", {"metadata": {"name": namespace}})
    fill(client, "/clusters/root:bench/api/v1/namespaces/bench1k/configmaps", 1000)
    fill(client, "/clusters/root:bench/api/v1/namespaces/bench/configmaps", 100, "apply")
    account = admit(client, "/clusters/root:bench", ("bench", "bench1k"))
    report.step(f"1,100 ConfigMaps made; a user and service account {ACCOUNT} bound to a Role")
    return [Caller("a user, RBAC", USER_TOKEN), Caller("a service account, RBAC", account), Caller("kcp-admin, RBAC", admin)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="start,workspaces,api,watch", help="sections, separated by commas")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each wrk run")
    args = parser.parse_args()
    wanted = set(args.only.split(","))
    report = Report("The control plane as a process, over TLS")
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        directory = Path(name)
        if "start" in wanted:
            start_and_idle(report, directory)
        if not wanted - {"start"}:
            report.end()
            return
        server = ControlPlane.start(directory, tokens=tokens_file(directory), name="server")
        try:
            if "workspaces" in wanted:
                report.step(f"{SEQUENTIAL} workspaces one by one, then {MANY}")
                sequential_workspaces(report, server, server.admin_token())
                many_workspaces(report, server, server.admin_token())
            if wanted & {"api", "watch"}:
                callers = prepare(server, report)
            if "api" in wanted:
                api(report, server, callers, args.seconds)
            if "watch" in wanted:
                admin = server.admin_token()
                for watchers, changes, rate in (
                    (1, 300, "2.2 / 4.5 ms"),
                    (50, 200, "14,484/s, 4.9 / 12.0 ms"),
                    (200, 100, "24,891/s, 15 / 36 ms"),
                ):
                    asyncio.run(fan_out(report, server, admin, watchers, changes, rate))
        finally:
            server.stop()
    report.end()


if __name__ == "__main__":
    main()
