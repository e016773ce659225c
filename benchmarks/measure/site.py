"""Many simulated clusters and their syncers in one process: `site.py KUBECONFIG WORKSPACE DIRECTORY FIRST COUNT [RESOURCE]`.

A syncer reaches its cluster in this process and the control plane over HTTPS. Each cluster is watched: a copy bears the time of the change
that made it, so how long that took is known here. Commands come as lines of JSON on standard input, answers go to standard output.
Before: `sites`. After: the simulator and the syncer, unchanged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from kcp.aio.clock import SystemClock
from kcp.aio.collector import Collector
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.cli.running import raise_file_limit
from kcp.client import kubeconfig
from kcp.client.rest import Client
from kcp.sim.cluster import SimCluster
from kcp.sim.faults import Fault
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL
from kcp.tmc.syncer.engine import Syncer, find_target

STAMP = "bench.example.com/stamp"
"""Annotation of what is observed: its change's number, and the time on the monotonic clock, which all processes share."""
OBSERVED = {"deployments": GVR("apps", "v1", "deployments"), "configmaps": GVR("", "v1", "configmaps")}
NODES = 3


class Site:
    def __init__(self, control_plane: Client, workspace: str, directory: Path, observed: GVR, tasks: Supervisor) -> None:
        self._observed = observed
        self._control_plane, self._workspace, self._directory, self._tasks = control_plane, workspace, directory, tasks
        self._clusters: dict[str, SimCluster] = {}
        self._syncers: dict[str, asyncio.Task[None]] = {}
        self._applied: dict[str, float] = {}
        """Stamp → when its copy was first seen."""
        self._ready: dict[str, float] = {}
        """Stamp → when its copy first had all its replicas ready."""
        self._copies: dict[str, int] = {}
        """Cluster → number of copies now."""

    async def start(self, stack: AsyncExitStack, name: str) -> None:
        cluster = SimCluster(name, nodes=NODES, cpu_per_node="64", labels={"region": name}, listen=False, data_dir=self._directory / name)
        self._clusters[name] = await stack.enter_async_context(cluster)
        self._copies[name] = 0
        self._tasks.spawn(self._observe(name), name=f"observer of {name}")

    async def sync(self, name: str) -> None:
        """Begin to sync; the SyncTarget is there."""
        self._syncers[name] = self._tasks.spawn(self._sync(name), name=f"syncer {name}")

    async def _sync(self, name: str) -> None:
        target = await self._control_plane.cluster(self._workspace).resource(GVR("workload.kcp.io", "v1alpha1", "synctargets")).get(name)
        identity = await find_target(self._control_plane, self._workspace, name, meta.uid(target))
        await Syncer(identity, self._control_plane, self._clusters[name].client(), SystemClock(), holder=f"site of {name}").run()

    async def _observe(self, name: str) -> None:
        resource = self._clusters[name].observer().resource(self._observed)
        listed = await resource.list(label_selector=DOWNSTREAM_CLUSTER_LABEL)
        for obj in listed.items:
            self._see(name, "ADDED", obj)
        async for event in resource.watch(resource_version=listed.resource_version, label_selector=DOWNSTREAM_CLUSTER_LABEL):
            self._see(name, event.type, event.object)

    def _see(self, name: str, kind: str, obj: dict[str, Any]) -> None:
        if kind not in ("ADDED", "MODIFIED", "DELETED"):
            return
        self._copies[name] += {"ADDED": 1, "DELETED": -1}.get(kind, 0)
        stamp = meta.annotations(obj).get(STAMP)
        if stamp is None or kind == "DELETED":
            return
        now_s = time.perf_counter()
        self._applied.setdefault(stamp, now_s)
        status = obj.get("status", {})
        if (
            "spec" in obj
            and status.get("observedGeneration") == meta.generation(obj)
            and status.get("readyReplicas", 0) == obj["spec"]["replicas"]
        ):
            self._ready.setdefault(stamp, now_s)

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["do"]:
            case "kill":
                await self._clusters[command["cluster"]].set_fault(Fault.KILL)
            case "restore":
                await self._clusters[command["cluster"]].restore()
            case "count":
                return {"copies": self._copies}
            case "report":
                found = {"applied": self._applied, "ready": self._ready}
                self._applied, self._ready = {}, {}
                return found
        return {}


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def main(config: str, workspace: str, directory: str, first: str, count: str, resource: str = "deployments") -> None:
    names = [f"c-{number:04}" for number in range(int(first), int(first) + int(count))]
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        upstream = kubeconfig.connect(Path(config), "base")
        stack.push_async_callback(upstream.close)
        tasks = await stack.enter_async_context(Supervisor("site"))
        site = Site(upstream.at(""), workspace, Path(directory), OBSERVED[resource], tasks)
        for number, name in enumerate(names, 1):
            await site.start(stack, name)
            if number % 25 == 0:
                say({"clusters": number})
        say({"started": len(names)})
        async with asyncio.TaskGroup() as group:
            failing = group.create_task(_fail(tasks))
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                command = json.loads(line)
                if command["do"] == "sync":
                    for name in names:
                        await site.sync(name)
                say({"done": await site.obey(command)})
            failing.cancel()


async def _fail(tasks: Supervisor) -> None:
    raise await tasks.wait_failed()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    Collector().install()
    raise_file_limit()
    uvloop.run(main(*sys.argv[1:]))
