"""How soon a fault of a cluster is found, and how soon after its end all is well.

A fleet under virtual time: the machine's load changes nothing.

Before: `views`, section `recovery`. After: the real server, syncers and the simulator, as `replay` runs them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from kcp.aio import virtualloop
from kcp.aio.clock import LoopClock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.replay.fleet import Fleet, run_fleet
from kcp.sim.faults import Fault
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.recovery.model import RECOVERIES

FAULTS = (Fault.KILL, Fault.PAUSE, Fault.PARTITION, Fault.FILL)
_DEPLOYMENTS = GVR("apps", "v1", "deployments")
_LOOK_S, _FAULT_S, _LIMIT_S = 0.1, 30.0, 120.0


def measure(fault: Fault) -> tuple[float, float]:
    """Seconds from the fault to a Recovery in progress; and from its end to a cluster that is ready and has what was deployed meanwhile."""
    logging.disable(logging.ERROR)  # programs complain of the faults they meet
    try:
        with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
            return virtualloop.run(_play(Path(name), fault))
    finally:
        logging.disable(logging.NOTSET)


async def _play(directory: Path, fault: Fault) -> tuple[float, float]:
    async with run_fleet(directory, LoopClock(), ("east",), seed=1, number_of_clusters=1) as fleet:
        await _until(fleet, lambda: _is_ready(fleet))
        await _deploy(fleet, "before")
        await _until(fleet, lambda: _runs(fleet, "before"))
        await fleet.set_fault("east", fault, amount=0.0)
        for number in range(6):  # a full cluster shows only to who writes
            await _deploy(fleet, f"during-{number}")
        found_s = await _until(fleet, lambda: _is_in_progress(fleet))
        await fleet.clock.sleep(_FAULT_S)
        await fleet.set_fault("east", Fault.NONE, amount=0.0)
        ready_s = await _until(fleet, lambda: _is_ready(fleet))
        return found_s, ready_s + await _until(fleet, lambda: _runs(fleet, "during-5"))


async def _until(fleet: Fleet, look: Callable[[], Awaitable[bool]]) -> float:
    started = fleet.clock.monotonic()
    while not await look():
        assert fleet.clock.monotonic() - started < _LIMIT_S, "never"
        await fleet.clock.sleep(_LOOK_S)
    return fleet.clock.monotonic() - started


async def _is_ready(fleet: Fleet) -> bool:
    status = (await fleet.user().resource(SYNC_TARGETS).get("east")).get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    return ready and not status.get("circuitBreakers")


async def _is_in_progress(fleet: Fleet) -> bool:
    listed = (await fleet.user().resource(RECOVERIES).list()).items
    return any(meta.nested(r, "status", "state", default="") == "InProgress" for r in listed)


async def _deploy(fleet: Fleet, name: str) -> None:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    await fleet.user().resource(_DEPLOYMENTS).create(obj, namespace="default")


async def _runs(fleet: Fleet, name: str) -> bool:
    obj = await fleet.user().resource(_DEPLOYMENTS).get(name, namespace="default")
    return bool(meta.nested(obj, "status", "readyReplicas", default=0) == 2)
