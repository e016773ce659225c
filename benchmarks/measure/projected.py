"""A ResourceProjection to many clusters, each with its syncer: how soon a change of the one object is applied on all of them.

Before: `views.py`. After: `sites`, the server.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measure.plain import Plain
from measure.processes import ControlPlane
from measure.report import Report, percentile, spread_ms
from measure.site import STAMP
from measure.sites import Sites

WORKSPACE = "root:bench"
BASE = f"/clusters/{WORKSPACE}"
TARGETS = f"{BASE}/apis/workload.kcp.io/v1alpha1/synctargets"
PROJECTIONS = f"{BASE}/apis/tmc.kcp.io/v1alpha1/resourceprojections"
CONFIG_MAPS = f"{BASE}/api/v1/namespaces/tour/configmaps"
CHANGES, PROCESSES = 10, 2
_PATIENCE_S = 90.0


def until(what: str, is_right: Callable[[], bool]) -> None:
    """Raises: SystemExit after a long wait."""
    started_s = time.perf_counter()
    while not is_right():
        if time.perf_counter() > started_s + _PATIENCE_S:
            raise SystemExit(f"not within {_PATIENCE_S:.0f} s: {what}")
        time.sleep(0.05)


def projected(report: Report, clusters: int) -> None:
    """One ConfigMap on all clusters, changed again and again; each copy bears the change and its cluster's name."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kcp-bench-")))
        server = ControlPlane.start(directory)
        stack.callback(server.stop)
        client = server.client(server.admin_token())
        sites = _start(stack, server, client, directory, clusters)
        client.json("POST", PROJECTIONS, _projection())
        client.json("POST", CONFIG_MAPS, _config_map(f"0 {time.perf_counter():.6f}"))
        first = _applied(sites, clusters, 0)
        report.row(f"an object → {clusters} clusters, made there", spread_ms(first))
        until("told Active", lambda: client.json("GET", f"{PROJECTIONS}/tour")["status"]["phase"] == "Active")
        took: list[float] = []
        used_s = server.program.cpu_s()
        for number in range(1, CHANGES + 1):
            patch = {"metadata": {"annotations": {STAMP: f"{number} {time.perf_counter():.6f}"}}, "data": {"change": str(number)}}
            client.json("PATCH", f"{CONFIG_MAPS}/tour", patch, "application/merge-patch+json")
            took += _applied(sites, clusters, number)
            time.sleep(0.5)  # each change begins at rest
        used_s = server.program.cpu_s() - used_s
        p99 = percentile(took, 0.99)
        report.row(
            f"a change of it → applied on {clusters} clusters",
            f"{spread_ms(took)}; {used_s / CHANGES * 1e3:.0f} ms CPU of the server each",
            target="p99 ≤ 2 s", reached=p99 <= 2.0,
        )  # fmt: skip


def _start(stack: ExitStack, server: ControlPlane, client: Plain, directory: Path, clusters: int) -> Sites:
    workspaces = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces"
    client.json("POST", workspaces, {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "bench"}})
    sites = Sites.start(stack, server, directory, WORKSPACE, clusters, PROCESSES, "configmaps")
    until("workspace", lambda: client.json("GET", f"{workspaces}/bench").get("status", {}).get("phase") == "Ready")
    until("its APIs", lambda: client.call("GET", f"{BASE}/apis/apps/v1/deployments")[0] == 200)
    for number in range(clusters):
        name = f"c-{number:04}"
        target = {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTarget", "metadata": {"name": name}, "spec": {}}
        client.json("POST", TARGETS, target)
    client.json("POST", f"{BASE}/api/v1/namespaces", {"metadata": {"name": "tour"}})
    sites.wait()
    sites.sync()
    until("SyncTargets Ready", lambda: all(map(_is_ready, client.json("GET", TARGETS)["items"])))
    return sites


def _is_ready(target: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in target.get("status", {}).get("conditions", ()))


def _applied(sites: Sites, clusters: int, number: int) -> list[float]:
    """Seconds from the change of this number to each copy."""
    found: dict[str, float] = {}

    def all_are() -> bool:
        found.update({stamp: at for stamp, at in sites.report()[0].items() if stamp.startswith(f"{number} ")})
        return len(found) >= clusters

    until("copies", all_are)
    return [at - float(stamp.split()[1]) for stamp, at in found.items()]


def _projection() -> dict[str, Any]:
    stamp = {"type": "Template", "jsonPath": f"metadata.annotations['{STAMP}']", "value": "{{.Value}} {{.TargetCluster}}"}
    spec = {"resourceSelectors": [{"kind": "ConfigMap", "namePattern": "tour"}], "namespaces": ["tour"], "transformations": [stamp]}
    return {"apiVersion": "tmc.kcp.io/v1alpha1", "kind": "ResourceProjection", "metadata": {"name": "tour"}, "spec": spec}


def _config_map(stamp: str) -> dict[str, Any]:
    metadata = {"name": "tour", "namespace": "tour", "annotations": {STAMP: stamp}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"change": "0"}}
