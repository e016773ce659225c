"""A cluster whose clock is ten minutes wrong: its SyncTarget says so, and its work goes on as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import QUIET, World, running, until

from kcp.apimachinery import conditions
from kcp.controller.events import EVENTS
from kcp.sim.faults import Fault
from kcp.tmc.model.kinds import SYNC_TARGETS

BEATING = replace(QUIET, heartbeat_period_s=0.1)


async def target(world: World, name: str = "east") -> dict[str, Any]:
    return await world.client.resource(SYNC_TARGETS).get(name)


async def remarks(world: World) -> dict[str, str]:
    """reason → message of what `kubectl describe synctarget east` shows as events."""
    found = (await world.client.resource(EVENTS).list()).items
    return {e["reason"]: e["message"] for e in found if e["involvedObject"].get("name") == "east"}


@pytest.mark.parametrize(("skew_s", "reason", "where"), [(600.0, "ClockAhead", "ahead of"), (-600.0, "ClockBehind", "behind")])
async def test_ten_minutes_are_told_and_change_nothing_else(
    skew_s: float, reason: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch, config=BEATING) as world:
        await world.spread()
        await world.deploy("default", "shop", 4)
        await world.settle("default", "shop", 4)
        before = await world.below("shop")

        await world.clusters["east"].set_fault(Fault.SKEW, skew_s=skew_s)
        wrong = await until(lambda: target(world), lambda t: conditions.is_false(t, "ClockSynchronized"))
        condition = conditions.get(wrong, "ClockSynchronized") or {}
        assert (condition["reason"], condition["severity"]) == (reason, "Warning")
        assert abs(wrong["status"]["clockSkewSeconds"] - skew_s) <= 5
        assert f" s {where} the control plane's" in condition["message"]
        assert conditions.is_true(wrong, "Ready")
        assert conditions.is_true(await target(world, "west"), "ClockSynchronized")
        assert (await until(lambda: remarks(world), lambda found: reason in found))[reason] == condition["message"]

        assert await world.below("shop") == before
        await world.deploy("default", "more", 2)
        await world.settle("default", "more", 2)

        await world.clusters["east"].set_fault(Fault.NONE)
        right = await until(lambda: target(world), lambda t: conditions.is_true(t, "ClockSynchronized"))
        assert "clockSkewSeconds" not in right["status"]
        await until(lambda: remarks(world), lambda found: "ClockSynchronized" in found)
