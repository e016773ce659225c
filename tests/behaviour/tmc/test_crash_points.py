"""TMC with the n-th write lost, for every n: it converges all the same, writes nothing once it has, and removes what it made.

A lost write stands for a crash at that point: the request never arrives, or its answer never comes back. One side at a time: the
control plane's controllers, the syncer towards the control plane, the syncer towards its cluster.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, syncing, until, with_clusters, with_control_plane

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.syncer.former import locator_of

CONFIG_MAPS = GVR("", "v1", "configmaps")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")


async def life_of_a_deployment(world: World, name: str) -> None:
    """Made, scaled, deleted; nothing stays behind on any side."""
    deployments = world.client.resource(DEPLOYMENTS)
    await world.deploy("default", name, 3)
    await world.settle("default", name, 3)
    await deployments.patch(name, {"spec": {"replicas": 4}}, namespace="default")
    await world.settle("default", name, 4)
    await deployments.delete(name, namespace="default")
    await world.gone(DEPLOYMENTS, name, "default")
    assert await world.below(name) == {}


async def life_of_a_namespace(world: World, name: str) -> None:
    """The same for a namespace with a ConfigMap."""
    namespaces = world.client.resource(NAMESPACES)
    await world.create(NAMESPACES, "Namespace", name)
    await world.create(CONFIG_MAPS, "ConfigMap", f"of-{name}", namespace=name, data={"a": "1"})
    await until(lambda: copies(world, f"of-{name}"), lambda found: len(found) == len(world.clusters))
    await namespaces.delete(name)
    await world.gone(NAMESPACES, name)
    await until(lambda: namespaces_below(world, name), lambda found: not found)


async def copies(world: World, config_map: str) -> list[str]:
    """Clusters that have a copy of this ConfigMap."""
    found = [(c.name, m) for c in world.clusters.values() for m in (await c.client().resource(CONFIG_MAPS).list()).items]
    return [cluster for cluster, m in found if meta.name(m) == config_map]


async def namespaces_below(world: World, name: str) -> list[str]:
    found = [ns for c in world.clusters.values() for ns in (await c.client().resource(NAMESPACES).list()).items]
    locators = [(ns, locator_of(ns)) for ns in found]
    return [meta.name(ns) for ns, locator in locators if locator is not None and locator.namespace == name]


@pytest.mark.parametrize("life", [life_of_a_deployment, life_of_a_namespace])
@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("side", ["controllers", "syncer up", "syncer down"])
async def test_every_lost_write_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, lost: Any, life: Callable[[World, str], Awaitable[None]]
) -> None:
    async with running(tmp_path, monkeypatch) as world:
        world.fail(side, 0, lost)
        await life(world, "count")
        writes = len(world.writes(side))
        assert writes > 2
        for n in range(1, writes + 1):
            world.fail(side, n, lost)
            await life(world, f"life-{n}")


async def test_what_starts_again_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is looked at once more when controllers and syncers start: the second look finds all as it should be."""
    async with with_clusters() as clusters:
        async with with_control_plane(tmp_path, monkeypatch, clusters, in_memory=False) as world:
            await world.set_up()
            async with syncing(world):
                await world.deploy("default", "web", 3)
                await world.settle("default", "web", 3)
                await until(lambda: state(world), still())
            before = await state(world)
        async with with_control_plane(tmp_path, monkeypatch, clusters, in_memory=False) as world:
            async with syncing(world):
                heard = world.client.resource(SYNC_TARGETS)
                await until(heard.list, lambda found: all("syncedResources" in t["status"] for t in found.items))
                await until(lambda: state(world), still())
                assert await state(world) == before


async def state(world: World) -> dict[str, str]:
    """resourceVersion of everything that TMC may write, but the SyncTargets, which bear the heartbeats."""
    sides = {"above": world.client, **{name: cluster.client() for name, cluster in world.clusters.items()}}
    found: dict[str, str] = {}
    for side, client in sides.items():
        for gvr in (DEPLOYMENTS, CONFIG_MAPS, SERVICE_ACCOUNTS, NAMESPACES, *([PLACEMENTS] if side == "above" else [])):
            for obj in (await client.resource(gvr).list()).items:
                found[f"{side} {gvr.resource} {meta.key(obj)}"] = meta.resource_version(obj)
    return found


def still(looks: int = 30) -> Callable[[object], bool]:
    """Whether that many looks in a row were the same."""
    seen: list[object] = []

    def is_still(found: object) -> bool:
        if seen and seen[-1] != found:
            seen.clear()
        seen.append(found)
        return len(seen) >= looks

    return is_still
