"""A controller that runs in one cluster and works on its workspace: it does the tasks of every TaskQueue, and says so in the status.

    python examples/05-cross-cluster-controller/taskqueues.py

In a pod it needs no arguments: like any program with a client library for Kubernetes it finds address, token and certificate where a
cluster puts them, and kcp's syncer has put kcp's there. See README.md here, and docs/controllers.md for the pieces.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcp.aio.clock import Clock, SystemClock, rfc3339
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.client import kubeconfig
from kcp.client.http import HttpTransport
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory, without_managed_fields
from kcp.controller.informer import Informer

TASK_QUEUES = GVR("demo.kcp.io", "v1", "taskqueues")


def processed(queue: dict[str, Any], cluster: str, now: str) -> dict[str, Any]:
    """The queue one task further on. Pure: the decision, and the part to test.

    >>> processed({"spec": {"tasks": [{"name": "a"}]}}, "west", "2024-01-01T00:00:00Z")["status"]["phase"]
    'Completed'
    """
    status, total = queue.get("status") or {}, len(queue["spec"]["tasks"])
    if status.get("phase") == "Completed" and status.get("totalTasks") == total:
        return queue
    done = min(status.get("completedTasks", 0) + queue["spec"].get("parallelism", 1), total)
    phase = "Completed" if done == total else "Running"
    told = {"phase": phase, "completedTasks": done, "totalTasks": total, "processingCluster": cluster, "lastProcessed": now}
    return {**queue, "status": {**status, **told}}


@dataclass(frozen=True)
class TaskQueueReconciler:
    """observe → decide → commit, for one queue. What it commits comes back as an event, and brings the next task."""

    queues: Informer
    workspace: Client
    cluster: str
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        queue = self.queues.get(key)
        if queue is not None:
            await commit(self.workspace.resource(TASK_QUEUES), queue, processed(queue, self.cluster, rfc3339(self.clock.now())))
        return Result()


async def work(workspace: Client, cluster: str, clock: Clock) -> None:
    """Until cancelled. Args: cluster: where this runs."""
    informers = InformerFactory(workspace, clock=clock, transform=without_managed_fields)
    queues = informers.informer(TASK_QUEUES)
    controller: Controller[ObjectKey] = Controller(
        "taskqueues", TaskQueueReconciler(queues, workspace, cluster, clock).reconcile, clock=clock
    )
    controller.watch(queues)
    async with Supervisor("taskqueues") as supervisor:
        informers.run_all(supervisor)
        supervisor.spawn(controller.run(), name="taskqueues")
        raise await supervisor.wait_failed()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--credentials", type=Path, default=kubeconfig.IN_CLUSTER, help="directory with token and ca.crt; default: a pod's")
    parser.add_argument("--cluster", default="west", help="name of the cluster that this runs in, for the status")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    address = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    endpoint = kubeconfig.in_cluster(*address, directory=options.credentials)
    clock = SystemClock()
    workspace = Client(HttpTransport(endpoint), clock=clock, user_agent="taskqueues", origin=endpoint.origin)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await work(workspace, options.cluster, clock)
    finally:
        await workspace.close()


if __name__ == "__main__":
    asyncio.run(main())
