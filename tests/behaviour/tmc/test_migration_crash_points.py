"""Migrations with a write lost, wherever it is, as in test_crash_points: each comes to its end, and no replica is lost or doubled."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.aio.clock import LoopClock
from kcp.aio.metrics import Meter
from kcp.apimachinery import meta
from kcp.controller.events import EventRecorder
from kcp.tmc.migration.controller import MigrationReconciler
from kcp.tmc.migration.model import MIGRATIONS
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.moves import MOVE_ANNOTATION, pins

_LOOKS = 14


async def there_and_back(world: World, name: str) -> None:
    """Moved from east to west, and back."""
    spec = {"workload": {"name": "shop"}, "from": "east", "to": "west"}
    await world.create(MIGRATIONS, "Migration", name, namespace="default", spec=spec)
    await ends(world, name, "Completed")
    assert await world.below("shop") == {"west": 3}
    await world.client.resource(MIGRATIONS).patch(name, {"spec": {"rollback": True}}, namespace="default")
    await ends(world, name, "RolledBack")
    await until(lambda: world.below("shop"), lambda found: found == {"east": 3})
    shop = await world.client.resource(DEPLOYMENTS).get("shop", namespace="default")
    assert MOVE_ANNOTATION not in meta.annotations(shop)
    assert pins(await world.client.resource(NAMESPACES).get("default")) == {}


async def ends(world: World, name: str, wanted: str) -> None:
    async def phase() -> str:
        obj = await world.client.resource(MIGRATIONS).get(name, namespace="default")
        return str(meta.nested(obj, "status", "phase", default=""))

    await until(phase, lambda found: found == wanted, timeout_s=20.0)


async def at_home(world: World) -> None:
    await world.client.resource(SYNC_TARGETS).patch("east", {"metadata": {"labels": {"site": "east"}}})
    rule = {"type": "Label", "field": "site", "operator": "In", "values": ["east"]}
    await world.client.resource(PLACEMENTS).patch("all", {"spec": {"numberOfClusters": 1, "constraints": {"rules": [rule]}}})
    await world.deploy("default", "shop", 3)
    await until(lambda: world.below("shop"), lambda found: found == {"east": 3})
    await world.settle("default", "shop", 3)


async def test_a_mirror_that_lags_behind_the_end_marks_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await at_home(world)
        await there_and_back(world, "m")
        ended = await world.client.resource(MIGRATIONS).get("m", namespace="default")
        old = {**ended, "status": {**ended["status"], "phase": "RollingBack"}}
        clock = LoopClock()
        mirror: Any = SimpleNamespace(get=lambda key: old)
        events = EventRecorder(lambda cluster: world.client, component="test", clock=clock)
        reconciler = MigrationReconciler(
            mirror, lambda key: None, lambda key: None, lambda cluster, gvk: None, lambda cluster: world.client, clock, Meter(), events
        )  # fmt: skip
        await reconciler.reconcile(meta.key(ended))
        shop = await world.client.resource(DEPLOYMENTS).get("shop", namespace="default")
        assert MOVE_ANNOTATION not in meta.annotations(shop)


@pytest.mark.parametrize(("lost", "first"), [("request", 1), ("answer", 2)])
async def test_lost_writes_of_a_migration_are_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Any, first: int) -> None:
    """At points spread over all writes, those of other controllers included: others for lost requests than for lost answers."""
    async with running(tmp_path, monkeypatch) as world:
        await at_home(world)
        world.fail("controllers", 0, lost)
        await there_and_back(world, "count")
        writes = len(world.writes("controllers"))
        assert writes > 15
        for n in range(first, writes + 1, max(writes // _LOOKS, 1)):
            world.fail("controllers", n, lost)
            await there_and_back(world, f"m-{n}")
