"""Replicas over real (simulated) clusters as a Placement asks for them, and how they follow its edits."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, running, until

from kcp.apimachinery import meta
from kcp.tmc.model.kinds import PLACEMENTS
from kcp.tmc.model.names import UNPLACED_ANNOTATION


async def test_replicas_follow_the_weights_and_bounds_of_the_placement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 4)

        async def below() -> dict[str, int]:
            return await world.below("web")

        await until(below, lambda found: found == {"east": 2, "west": 2})
        placements, deployments = world.client.resource(PLACEMENTS), world.client.resource(DEPLOYMENTS)
        await placements.patch("all", {"spec": {"clusterRules": [{"clusterNames": ["east"], "weight": 3}, {"weight": 1}]}})
        await until(below, lambda found: found == {"east": 3, "west": 1})
        await placements.patch("all", {"spec": {"replicas": {"maxPerCluster": 2}}})
        await until(below, lambda found: found == {"east": 2, "west": 2})
        await deployments.patch("web", {"spec": {"replicas": 6}}, namespace="default")
        told = await until(
            lambda: deployments.get("web", namespace="default"), lambda found: UNPLACED_ANNOTATION in meta.annotations(found)
        )
        assert meta.annotations(told)[UNPLACED_ANNOTATION].startswith("2 of 6")
        assert await below() == {"east": 2, "west": 2}
        await placements.patch("all", {"spec": {"replicas": {"division": "Duplicated", "maxPerCluster": None}, "clusterRules": None}})
        await until(below, lambda found: found == {"east": 6, "west": 6})
