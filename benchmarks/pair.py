"""How quick a Deployment reaches its clusters and its status the user: one control plane, two simulated clusters, two syncers.

    .venv/bin/python benchmarks/pair.py [--deployments 100] [--pace 10]

Five processes over TLS on loopback, besides this one. A round applies Deployments of two replicas, spread over both clusters, at a steady
pace, scales them to four, and deletes them; then the same number is applied at once. Takes about a minute and a half.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure.plain import Plain, watching
from measure.processes import ControlPlane, Program
from measure.report import Report, percentile, spread_ms

from kcp.client import kubeconfig
from kcp.client.tls import make_context

CLUSTERS = ("east", "west")
WORKSPACE = "/clusters/root:bench"
DEPLOYMENTS = f"{WORKSPACE}/apis/apps/v1/namespaces/default/deployments"
AT_ONCE = 8
_PATIENCE_S = 60.0


@dataclass
class Seen:
    """What the watches of all sides have shown so far, with the time of each first sight."""

    running: dict[str, dict[str, float]] = field(default_factory=dict)
    """Deployment → pod (with its cluster) → when it was Running."""
    ready: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Deployment → readyReplicas on the user's object, and since when."""
    gone: dict[str, float] = field(default_factory=dict)
    """Deployment → when the user's object was gone."""
    pods_gone: dict[str, float] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, what: str, is_done: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not is_done():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise SystemExit(f"after {_PATIENCE_S:.0f} s, not all {what}") from None


@dataclass
class Fleet:
    """The five processes and the watches on them."""

    server: ControlPlane
    token: str
    clusters: dict[str, Program]
    syncers: dict[str, Program]
    seen: Seen

    @property
    def programs(self) -> dict[str, Program]:
        clusters = {f"cluster {n}": p for n, p in self.clusters.items()}
        return {"kcp": self.server.program, **clusters, **{f"syncer {n}": p for n, p in self.syncers.items()}}

    def cpu(self) -> dict[str, float]:
        return {name: program.cpu_s() for name, program in self.programs.items()}


def deployment(name: str, replicas: int = 2) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": "nginx:1.27", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def apply(client: Plain, name: str, replicas: int = 2) -> None:
    path = f"{DEPLOYMENTS}/{name}?fieldManager=bench&force=true"
    client.json("PATCH", path, deployment(name, replicas), "application/apply-patch+yaml")


async def watch_pods(seen: Seen, cluster: str, lines: AsyncIterator[bytes]) -> None:
    async for line in lines:
        event = json.loads(line)
        pod = event["object"]
        name = pod["metadata"].get("labels", {}).get("app", "")
        if event["type"] == "DELETED":
            pods = seen.running.get(name, {})
            pods.pop(f"{cluster}/{pod['metadata']['name']}", None)
            if not pods:
                seen.pods_gone[name] = time.perf_counter()
        elif pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
            seen.running.setdefault(name, {}).setdefault(f"{cluster}/{pod['metadata']['name']}", time.perf_counter())
        seen.changed.set()


async def watch_deployments(seen: Seen, lines: AsyncIterator[bytes]) -> None:
    async for line in lines:
        event = json.loads(line)
        name = event["object"]["metadata"]["name"]
        if event["type"] == "DELETED":
            seen.gone[name] = time.perf_counter()
        else:
            ready = event["object"].get("status", {}).get("readyReplicas", 0)
            if seen.ready.get(name, (0, 0.0))[0] != ready:
                seen.ready[name] = ready, time.perf_counter()
        seen.changed.set()


async def at_pace(fleet: Fleet, per_s: float, names: list[str], send: Callable[[Plain, str], object]) -> dict[str, float]:
    """When each was begun to be sent. Args: per_s: 0 for all at once, over `AT_ONCE` connections."""
    begun: dict[str, float] = {}
    started = time.perf_counter()

    def send_all(part: list[str]) -> None:
        client = fleet.server.client(fleet.token)
        for number, name in enumerate(part):
            if per_s:
                time.sleep(max(0.0, started + number / per_s - time.perf_counter()))
            begun[name] = time.perf_counter()
            send(client, name)
        client.close()

    parts = [names] if per_s else [names[i::AT_ONCE] for i in range(AT_ONCE)]
    with ThreadPoolExecutor(len(parts)) as threads:
        await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(threads, send_all, part) for part in parts))
    return begun


async def applied(fleet: Fleet, report: Report, names: list[str], per_s: float, how: str) -> None:
    seen = fleet.seen
    report.step(f"applying {len(names)} Deployments {how}")
    before, started = fleet.cpu(), time.perf_counter()
    begun = await at_pace(fleet, per_s, names, apply)
    sent_s = time.perf_counter() - started
    await seen.until("run", lambda: all(len(seen.running.get(n, ())) == 2 for n in names))
    await seen.until("reported back", lambda: all(seen.ready.get(n, (0,))[0] == 2 for n in names))
    elapsed_s, after = time.perf_counter() - started, fleet.cpu()
    running = {n: max(seen.running[n].values()) for n in names}
    down = [running[n] - begun[n] for n in names]
    up = [seen.ready[n][1] - running[n] for n in names]
    total = [seen.ready[n][1] - begun[n] for n in names]
    is_goal = bool(per_s)
    for what, values in (("apply→running downstream", down), ("running→status back", up)):
        report.row(
            f"{how}: {what}", spread_ms(values), target="p99 ≤ 1 s" if is_goal else "",
            reached=percentile(values, 0.99) <= 1 if is_goal else None,
        )  # fmt: skip
    report.row(f"{how}: apply→status complete", f"{spread_ms(total)}; all after {elapsed_s:.1f} s (sent in {sent_s:.1f} s)")
    report.row(f"{how}: CPU per Deployment", cpu_each(before, after, len(names)))
    duplicates = sum(len(seen.running[n]) != 2 for n in names)
    if duplicates:
        report.row(f"{how}: Deployments with other than two pods", str(duplicates))


async def scaled(fleet: Fleet, report: Report, names: list[str], per_s: float, replicas: int) -> None:
    seen = fleet.seen
    report.step(f"scaling to {replicas} replicas")
    before = fleet.cpu()
    patch = {"spec": {"replicas": replicas}}
    begun = await at_pace(
        fleet, per_s, names, lambda client, n: client.json("PATCH", f"{DEPLOYMENTS}/{n}/scale", patch, "application/merge-patch+json")
    )
    await seen.until("scaled", lambda: all(seen.ready.get(n, (0,))[0] == replicas for n in names))
    took = [seen.ready[n][1] - begun[n] for n in names]
    report.row(f"scale 2→{replicas}: request→status complete", f"{spread_ms(took)}; CPU {cpu_each(before, fleet.cpu(), len(names))}")


async def deleted(fleet: Fleet, report: Report, names: list[str], per_s: float, how: str) -> None:
    seen = fleet.seen
    report.step(f"deleting {how}")
    before = fleet.cpu()
    begun = await at_pace(fleet, per_s, names, lambda client, n: client.json("DELETE", f"{DEPLOYMENTS}/{n}"))
    await seen.until("gone", lambda: all(n in seen.gone and n in seen.pods_gone and not seen.running.get(n) for n in names))
    took = [max(seen.gone[n], seen.pods_gone[n]) - begun[n] for n in names]
    upstream = [seen.gone[n] - begun[n] for n in names]
    report.row(f"{how}: delete→gone for the user", f"{spread_ms(upstream)}; CPU {cpu_each(before, fleet.cpu(), len(names))}")
    report.row(f"{how}: delete→last pod gone", spread_ms(took))


def cpu_each(before: dict[str, float], after: dict[str, float], count: int) -> str:
    used = {name: (after[name] - before[name]) / count * 1e3 for name in after}
    halves = {side: sum(ms for name, ms in used.items() if name.startswith(side)) for side in ("kcp", "cluster", "syncer")}
    return ", ".join(f"{side} {ms:.0f} ms" for side, ms in halves.items())


def start_clusters(stack: AsyncExitStack, directory: Path) -> dict[str, Program]:
    programs = {}
    for name in CLUSTERS:
        command = ["kcp", "sim", "cluster", name, "--nodes", "3", "--labels", f"region={name}", "--cpu-per-node", "64"]
        command += ["--kubeconfig-out", f"{name}.kubeconfig", "--state-dir", "sim"]
        programs[name] = Program.start(name, command, cwd=directory)
        stack.callback(programs[name].stop)
    for name, program in programs.items():
        while not (directory / f"{name}.kubeconfig").exists():
            program.check()
            time.sleep(0.02)
    return programs


def start_syncers(stack: AsyncExitStack, server: ControlPlane, client: Plain, directory: Path) -> dict[str, Program]:
    programs = {}
    targets = f"{WORKSPACE}/apis/workload.kcp.io/v1alpha1/synctargets"
    for name in CLUSTERS:
        target = {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": {"name": name, "labels": {"region": name}}}
        uid = client.json("POST", targets, {**target, "spec": {}})["metadata"]["uid"]
        command = ["workload-syncer", f"--sync-target-name={name}", f"--sync-target-uid={uid}", "--workspace-cluster=root:bench", "--v=1"]
        command += [f"--kcp-kubeconfig={server.root / 'admin.kubeconfig'}", f"--cluster-kubeconfig={name}.kubeconfig"]
        programs[name] = Program.start(f"syncer-{name}", command, cwd=directory)
        stack.callback(programs[name].stop)
    return programs


def until(what: str, is_true: Callable[[], bool]) -> None:
    deadline_s = time.perf_counter() + _PATIENCE_S
    while not is_true():
        if time.perf_counter() > deadline_s:
            raise SystemExit(f"after {_PATIENCE_S:.0f} s, no {what}")
        time.sleep(0.05)


def make_workspace(client: Plain) -> None:
    path = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces"
    client.json("POST", path, {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "bench"}, "spec": {}})
    until("Ready workspace", lambda: client.json("GET", f"{path}/bench").get("status", {}).get("phase") == "Ready")


def place(client: Plain) -> None:
    """Everything on both clusters; waits until the targets are Ready and a first object has made the way there and back."""
    targets = f"{WORKSPACE}/apis/workload.kcp.io/v1alpha1/synctargets"
    placement = {
        "apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "both"},
        "spec": {
            "numberOfClusters": 2, "namespaceSelector": {},
            "locationSelectors": [{"matchLabels": {"region": name}} for name in CLUSTERS],
        },
    }  # fmt: skip

    def are_ready() -> bool:
        found = client.json("GET", targets)["items"]
        ready = [any(c["type"] == "Ready" and c["status"] == "True" for c in t.get("status", {}).get("conditions", ())) for t in found]
        return len(ready) == len(CLUSTERS) and all(ready)

    until("Ready SyncTargets", are_ready)
    client.json("POST", f"{WORKSPACE}/apis/scheduling.kcp.io/v1alpha1/placements", placement)
    apply(client, "first")
    until("first Deployment there and back", lambda: client.json("GET", f"{DEPLOYMENTS}/first").get("status", {}).get("readyReplicas") == 2)


async def measure(fleet: Fleet, report: Report, directory: Path, count: int, pace: float) -> None:
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        watchers = []
        for name in CLUSTERS:
            endpoint = kubeconfig.load(directory / f"{name}.kubeconfig").endpoint
            lines = await stack.enter_async_context(watching(endpoint.server, "", "/api/v1/pods?watch=1", make_context(endpoint)))
            watchers.append(group.create_task(watch_pods(fleet.seen, name, lines)))
        lines = await stack.enter_async_context(watching(fleet.server.url, fleet.token, f"{DEPLOYMENTS}?watch=1"))
        watchers.append(group.create_task(watch_deployments(fleet.seen, lines)))
        steady, burst = [f"steady-{i:03}" for i in range(count)], [f"burst-{i:03}" for i in range(count)]
        await applied(fleet, report, steady, pace, f"{pace:g}/s")
        await scaled(fleet, report, steady, pace, 4)
        await deleted(fleet, report, steady, pace, f"{pace:g}/s")
        await applied(fleet, report, burst, 0, "burst")
        for name, program in fleet.programs.items():
            report.row(f"RSS of {name}", f"{program.rss_kib() / 1024:.0f} MiB")
        await deleted(fleet, report, burst, 0, "burst")
        before, started = fleet.cpu(), time.perf_counter()
        await asyncio.sleep(5)  # what is measured is doing nothing
        elapsed_s = time.perf_counter() - started
        idle = {name: (used - before[name]) / elapsed_s for name, used in fleet.cpu().items()}
        report.row("idle afterwards, CPU", ", ".join(f"{name} {share:.1%}" for name, share in idle.items()))
        for watcher in watchers:
            watcher.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deployments", type=int, default=100)
    parser.add_argument("--pace", type=float, default=10.0, help="Deployments per second of the steady round")
    args = parser.parse_args()
    report = Report("Two clusters: one control plane, two simulated clusters, two syncers, each a process, over TLS")

    async def run(directory: Path) -> None:
        async with AsyncExitStack() as stack:
            report.step("starting five processes")
            clusters = start_clusters(stack, directory)
            server = ControlPlane.start(directory)
            stack.callback(server.stop)
            token = server.admin_token()
            client = server.client(token)
            make_workspace(client)
            syncers = start_syncers(stack, server, client, directory)
            place(client)
            fleet = Fleet(server, token, clusters, syncers, Seen())
            await measure(fleet, report, directory, args.deployments, args.pace)

    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        asyncio.run(run(Path(name)))
    report.end()


if __name__ == "__main__":
    main()
