"""Events in a running system: what a user reads in `kubectl describe` of a Placement, a SyncTarget, an object."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.tmc.test_sync_trouble import events
from tests.behaviour.tmc.world import World, running, until

from kcp.tmc.model.kinds import SYNC_TARGETS


async def reasons(world: World, name: str) -> dict[str, str]:
    return {event["reason"]: event["message"] for event in await events(world, name)}


async def test_placement_clusters_and_objects_tell_what_became_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.spread()
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        assert "chosen: " in (await until(lambda: reasons(world, "all"), lambda found: "Scheduled" in found))["Scheduled"]
        await until(lambda: reasons(world, "east"), lambda found: {"ClusterReady", "ControllerStarted"} <= found.keys())
        await until(lambda: reasons(world, "web"), lambda found: found.get("Synced", "").endswith("taken up by its syncer"))
        await world.client.resource(SYNC_TARGETS).patch("east", {"spec": {"evictAfter": "2020-01-01T00:00:00Z"}})
        left = await until(lambda: reasons(world, "all"), lambda found: "Evicted" in found)
        assert left["Evicted"].startswith("east is left: ")
