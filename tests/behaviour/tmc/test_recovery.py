"""Recoveries of a whole fleet under virtual time, for each fault that a cluster can have: how soon one begins, what it does, how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kcp.aio import virtualloop
from kcp.aio.clock import LoopClock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.replay.fleet import Fleet, run_fleet
from kcp.sim.faults import Fault
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS
from kcp.tmc.recovery.model import KEPT, RECOVERIES

DEPLOYMENTS, EVENTS = GVR("apps", "v1", "deployments"), GVR("", "v1", "events")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Programs complain of the faults they meet, and rightly."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def play(directory: Path, scene: Callable[[Fleet], Awaitable[None]], *, clusters: tuple[str, ...] = ("east",)) -> None:
    async def main() -> None:
        async with run_fleet(directory, LoopClock(), clusters, seed=1, number_of_clusters=len(clusters)) as fleet:
            await scene(fleet)

    virtualloop.run(main())


async def until(fleet: Fleet, look: Callable[[], Awaitable[Any]], limit_s: float, what: str) -> tuple[Any, float]:
    """What `look` finds once it finds something, and after how many seconds."""
    started = fleet.clock.monotonic()
    while not (found := await look()):
        assert fleet.clock.monotonic() - started < limit_s, f"{what}: not within {limit_s:g} s"
        await fleet.clock.sleep(0.25)
    return found, fleet.clock.monotonic() - started


async def recoveries(fleet: Fleet, state: str = "") -> list[JSONObject]:
    listed = (await fleet.user().resource(RECOVERIES).list()).items
    return [r for r in listed if state in ("", meta.nested(r, "status", "state", default=""))]


async def is_ready(fleet: Fleet, name: str = "east") -> bool:
    target = await fleet.user().resource(SYNC_TARGETS).get(name)
    status = target.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    return conditions.get("Ready") == "True" and not status.get("circuitBreakers")


async def deploy(fleet: Fleet, name: str, replicas: int = 2) -> None:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    await fleet.user().resource(DEPLOYMENTS).create(obj, namespace="default")


async def runs(fleet: Fleet, name: str, replicas: int = 2) -> bool:
    obj = await fleet.user().resource(DEPLOYMENTS).get(name, namespace="default")
    return bool(meta.nested(obj, "status", "readyReplicas", default=0) == replicas)


async def ask(fleet: Fleet, name: str, **spec: Any) -> None:
    await (
        fleet.user()
        .resource(RECOVERIES)
        .create({"apiVersion": RECOVERIES.api_version, "kind": "Recovery", "metadata": {"name": name}, "spec": spec})
    )


async def ended(fleet: Fleet, name: str) -> JSONObject | None:
    obj = await fleet.user().resource(RECOVERIES).get(name)
    return obj if meta.nested(obj, "status", "completionTime", default="") else None


async def start(fleet: Fleet) -> None:
    await until(fleet, lambda: is_ready(fleet), 30, "ready")
    await deploy(fleet, "first")
    await until(fleet, lambda: runs(fleet, "first"), 30, "runs")


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.PAUSE, Fault.PARTITION, Fault.FILL])
def test_a_fault_is_found_within_ten_seconds_and_mended_within_thirty(tmp_path: Path, fault: Fault) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        await fleet.set_fault("east", fault, amount=0.0)
        for number in range(6):  # a full cluster shows only to who writes
            await deploy(fleet, f"during-{number}")
        found, took_s = await until(fleet, lambda: recoveries(fleet, "InProgress"), 10.5, "detected")
        assert took_s <= 10
        assert (found[0]["spec"]["clusterName"], found[0]["status"]["strategy"]) == ("east", "ClusterConnectivity")
        await fleet.clock.sleep(20)
        await fleet.set_fault("east", Fault.NONE, amount=0.0)
        await until(fleet, lambda: is_ready(fleet), 30, "ready again")
        await until(fleet, lambda: runs(fleet, "during-5"), 30, "all is synced")

        async def helped() -> bool:
            return bool(await recoveries(fleet, "Completed")) and not await recoveries(fleet, "InProgress")

        await until(fleet, helped, 30, "completed")

    play(tmp_path, scene)


def test_a_recovery_that_cannot_help_ends_and_says_what_a_person_must_do(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        await fleet.set_fault("east", Fault.KILL, amount=0.0)
        failed, took_s = await until(fleet, lambda: recoveries(fleet, "Failed"), 200, "given up")
        status = failed[0]["status"]
        assert status["attempts"] == 5
        assert status["error"]["type"] == "ClusterUnreachable"
        assert any("API server" in step for step in status["nextSteps"])
        assert any(entry["action"].startswith("asked the syncer") for entry in status["actions"])
        await fleet.clock.sleep(500)
        assert 2 <= len(await recoveries(fleet)) <= 4, "tried again, ever more rarely"
        events = [
            e for e in (await fleet.user().resource(EVENTS).list(namespace="default")).items if e["involvedObject"]["kind"] == "Recovery"
        ]
        assert {"RecoveryStarted", "RecoveryFailed"} <= {e["reason"] for e in events}

    play(tmp_path, scene)


def test_a_server_that_dies_in_the_middle_goes_on_with_it(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        await fleet.set_fault("east", Fault.PARTITION, amount=0.0)
        await until(fleet, lambda: recoveries(fleet, "InProgress"), 11, "detected")
        await fleet.set_fault("control-plane", Fault.KILL, amount=0.0)
        await fleet.set_fault("east", Fault.NONE, amount=0.0)
        await fleet.set_fault("control-plane", Fault.NONE, amount=0.0)
        await until(fleet, lambda: recoveries(fleet, "Completed"), 60, "completed by the next life")
        assert len(await recoveries(fleet)) == 1

    play(tmp_path, scene)


def test_they_run_by_hand_five_at_a_time_by_priority_and_can_be_cancelled(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        for number in range(7):  # of clusters whose syncers never come
            target = {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": f"c-{number}"}, "spec": {}}
            await fleet.user().resource(SYNC_TARGETS).create(target)
            await ask(fleet, f"r-{number}", strategy="Sync", clusterName=f"c-{number}", priority=90 if number == 6 else 50, maxAttempts=1)
        resource = fleet.user().resource(RECOVERIES)
        await fleet.clock.sleep(3)
        states = {meta.name(r): meta.nested(r, "status", "state", default="Pending") for r in await recoveries(fleet)}
        assert sorted(states.values()) == ["InProgress"] * 5 + ["Pending"] * 2
        for name in [name for name, state in states.items() if state == "InProgress"][:2]:
            await resource.patch(name, {"spec": {"cancel": True}})
        await fleet.clock.sleep(3)
        states = {meta.name(r): meta.nested(r, "status", "state", default="Pending") for r in await recoveries(fleet)}
        assert sorted(states.values()) == ["Cancelled"] * 2 + ["InProgress"] * 5
        assert states["r-6"] == "InProgress"

        async def all_ended() -> bool:
            return all(meta.nested(r, "status", "completionTime", default="") for r in await recoveries(fleet))

        await until(fleet, all_ended, 60, "ended")

    play(tmp_path, scene)


def test_a_cluster_is_brought_in_line_and_its_permissions_are_verified_on_request(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        await ask(fleet, "sync", strategy="Sync", clusterName="east")
        await ask(fleet, "auth", errorType="ClusterAuthentication", clusterName="east")
        await ask(
            fleet,
            "place",
            strategy="Placement",
            resource={"group": PLACEMENTS.group, "version": "v1alpha1", "resource": "placements", "name": "all"},
        )
        await ask(fleet, "nowhere", strategy="Sync", clusterName="north", maxAttempts=1)
        for name, state in (("sync", "Completed"), ("auth", "Completed"), ("place", "Completed"), ("nowhere", "Failed")):
            found, _ = await until(fleet, lambda name=name: ended(fleet, name), 60, name)  # type: ignore[misc]
            assert (name, found["status"]["state"]) == (name, state), found["status"]
        assert "verified permissions" in [a["action"] for a in (await fleet.user().resource(RECOVERIES).get("auth"))["status"]["actions"]]
        assert (await fleet.user().resource(RECOVERIES).get("nowhere"))["status"]["nextSteps"]

    play(tmp_path, scene)


def test_old_recoveries_are_removed(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        for number in range(KEPT + 10):
            await ask(fleet, f"r-{number:02}", strategy="Sync", clusterName="east", cancel=True)

        async def few() -> bool:
            listed = await recoveries(fleet)
            return len(listed) == KEPT and all(meta.nested(r, "status", "completionTime", default="") for r in listed)

        await until(fleet, few, 200, "removed")

    play(tmp_path, scene)


def test_a_fight_over_a_field_ends_with_the_cluster_where_the_workspace_has_not_changed_it(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await start(fleet)
        east = fleet.clusters["east"].client().resource(DEPLOYMENTS)
        copy = next(d for d in (await east.list()).items if meta.name(d) == "first")
        deployments = fleet.user().resource(DEPLOYMENTS)

        async def fight() -> None:
            while True:
                await east.patch("first", {"spec": {"minReadySeconds": 7}}, namespace=meta.namespace(copy), field_manager="operator")
                await fleet.clock.sleep(1)

        await deployments.patch("first", {"spec": {"minReadySeconds": 3}}, namespace="default")
        await fleet.clock.sleep(5)
        fighting = asyncio.ensure_future(fight())
        try:
            await fleet.clock.sleep(15)
            resource = {"group": "apps", "version": "v1", "resource": "deployments", "namespace": "default", "name": "first"}
            await ask(fleet, "merge", errorType="SyncConflict", resource=resource)
            found, _ = await until(fleet, lambda: ended(fleet, "merge"), 120, "merged")
            assert found["status"]["state"] == "Completed", found["status"]
            assert (await deployments.get("first", namespace="default"))["spec"]["minReadySeconds"] == 7
        finally:
            fighting.cancel()

    play(tmp_path, scene)
