"""One syncer by itself, as a process of its own between a control plane and a cluster: how many objects it takes down, in how much memory.

Before: `fleet.py`. After: `workload-syncer`, unchanged.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kcp.client import kubeconfig
from kcp.client.tls import make_context
from measure.plain import Plain
from measure.processes import ControlPlane, Program
from measure.report import Report

BASE = "/clusters/root:one"
TARGETS = f"{BASE}/apis/workload.kcp.io/v1alpha1/synctargets"
MAPS = f"{BASE}/api/v1/namespaces/default/configmaps"
AT_ONCE = 4
_PATIENCE_S = 600.0


def measure(report: Report, count: int) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="kcp-bench-")))
        report.step(f"one syncer: a control plane, a cluster, {count} ConfigMaps")
        cluster = Program.start(
            "east", ["kcp", "sim", "cluster", "east", "--kubeconfig-out", "east.kubeconfig", "--state-dir", "sim"], cwd=directory
        )
        stack.callback(cluster.stop)
        server = ControlPlane.start(directory)
        stack.callback(server.stop)
        token = server.admin_token()
        client = server.client(token)
        command = _syncer_command(client, server)
        syncer = Program.start("syncer", command, cwd=directory)
        stack.callback(syncer.stop)
        _place(client)
        syncer.stop()
        _fill(server, token, count)
        syncer = Program.start("syncer-again", command, cwd=directory)
        stack.callback(syncer.stop)
        _take_down(report, syncer, cluster, server, directory, count)


def _syncer_command(client: Plain, server: ControlPlane) -> list[str]:
    path = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces"
    client.json("POST", path, {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "one"}})
    _until("Ready workspace", lambda: client.json("GET", f"{path}/one").get("status", {}).get("phase") == "Ready")
    target = {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": {"name": "east"}, "spec": {}}
    uid = client.json("POST", TARGETS, target)["metadata"]["uid"]
    config = server.root / "admin.kubeconfig"
    return [
        "workload-syncer", "--sync-target-name=east", f"--sync-target-uid={uid}", "--workspace-cluster=root:one", "--v=1",
        f"--kcp-kubeconfig={config}", "--cluster-kubeconfig=east.kubeconfig", "--qps=0",
    ]  # fmt: skip


def _place(client: Plain) -> None:
    spec = {"namespaceSelector": {}, "numberOfClusters": 1}
    placement = {"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "all"}, "spec": spec}
    client.json("POST", f"{BASE}/apis/scheduling.kcp.io/v1alpha1/placements", placement)
    namespace = f"{BASE}/api/v1/namespaces/default"
    _until("placed namespace", lambda: any("state.workload" in k for k in client.json("GET", namespace)["metadata"].get("labels", {})))


def _fill(server: ControlPlane, token: str, count: int) -> None:
    def make(numbers: range) -> None:
        client = server.client(token)
        for number in numbers:
            client.json("POST", MAPS, {"metadata": {"name": f"m-{number:05}"}, "data": {"key": "v" * 100}})

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(make, [range(i, count, AT_ONCE) for i in range(AT_ONCE)]))
    client = server.client(token)
    last: dict[str, Any] = {}

    def are_placed() -> bool:
        last.update(client.json("GET", f"{MAPS}/m-{count - 1:05}"))
        return any("state.workload" in label for label in last["metadata"].get("labels", {}))

    _until("placed ConfigMaps", are_placed)


def _take_down(report: Report, syncer: Program, cluster: Program, server: ControlPlane, directory: Path, count: int) -> None:
    endpoint = kubeconfig.load(directory / "east.kubeconfig").endpoint
    below = Plain(endpoint.server, "", make_context(endpoint))
    others = (cluster.cpu_s(), server.program.cpu_s())
    started_s = first_s = 0.0
    first = 0

    def held() -> int:
        return _count(below)

    beginning = held()
    _until("first copies", lambda: held() > beginning)
    first, first_s = held(), time.perf_counter()
    started_s = syncer.cpu_s()
    _until("all copies", lambda: held() >= count + beginning)
    elapsed_s, used_s = time.perf_counter() - first_s, syncer.cpu_s() - started_s
    done = count + beginning - first
    spent = [(b - a) / count * 1e3 for a, b in zip(others, (cluster.cpu_s(), server.program.cpu_s()), strict=True)]
    rate, own = done / elapsed_s, done / used_s
    report.row(
        "one syncer: objects taken down", f"{rate:.0f}/s; {own:.0f} per second of its CPU", setting=f"{count:,} ConfigMaps",
        target="≥ 1,000/s", reached=rate >= 1000,
    )  # fmt: skip
    report.row("one syncer: CPU of the others for each", f"cluster {spent[0]:.1f} ms, control plane {spent[1]:.1f} ms")
    rss_mib = syncer.rss_kib() / 1024
    report.row("one syncer: memory", f"{rss_mib:.0f} MiB", setting=f"{count:,} objects", target="≤ 120 MiB", reached=rss_mib <= 120)


def _count(below: Plain) -> int:
    """ConfigMaps in the cluster, the few of its own included: a list by label would not say how many are left."""
    listed = below.json("GET", "/api/v1/configmaps?limit=1")
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))


def _until(what: str, is_true: Any) -> None:
    deadline_s = time.perf_counter() + _PATIENCE_S
    while not is_true():
        if time.perf_counter() > deadline_s:
            raise SystemExit(f"after {_PATIENCE_S:.0f} s, no {what}")
        time.sleep(0.2)
