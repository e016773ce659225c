"""A cluster that takes no writes: its syncer stops sending them, says so, and goes on as soon as they work again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until

from kcp.apimachinery import meta
from kcp.sim.faults import Fault
from kcp.tmc.breaker import BreakerConfig
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION, keys_with

BRITTLE = replace(QUIET, heartbeat_period_s=0.05, breaker=BreakerConfig(failures=2, reset_s=0.2))


async def breakers(world: World) -> list[dict[str, Any]]:
    return list((await world.client.resource(SYNC_TARGETS).get("east"))["status"].get("circuitBreakers", ()))


async def errors_of(world: World, name: str) -> list[dict[str, Any]]:
    obj = await world.client.resource(DEPLOYMENTS).get(name, namespace="default")
    return [json.loads(text) for text in keys_with(meta.annotations(obj), SYNC_ERROR_ANNOTATION).values()]


async def test_a_full_cluster_is_spared_told_of_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=BRITTLE) as world:
        await world.deploy("default", "before", 2)
        await world.settle("default", "before", 2)
        east = world.clusters["east"]
        east.faults.set(Fault.FILL)
        for name in ("one", "two", "three"):
            await world.deploy("default", name, 2)
        found = await until(lambda: breakers(world), lambda b: any(x["state"] == "Open" for x in b))
        assert (found[0]["operation"], found[0]["failures"] >= 2) == ("apply", True)
        assert "is full" in found[0]["message"]
        told = await until(lambda: errors_of(world, "three"), bool)
        assert (told[0]["cluster"], told[0]["object"]) == ("east", "deployments.apps default/three")
        east.faults.restore()
        for name in ("one", "two", "three"):
            await world.settle("default", name, 2)
        await until(lambda: breakers(world), lambda b: not b)
        assert await errors_of(world, "three") == []
