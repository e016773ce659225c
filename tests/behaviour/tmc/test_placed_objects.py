"""A Placement of one object (`spec.source`): it alone goes to the chosen clusters, whatever else is in its namespace."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import place, running, sync_target, workspace
from tests.behaviour.tmc.world import DEPLOYMENTS, World, until
from tests.behaviour.tmc.world import running as running_world

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS
from kcp.tmc.model.names import synced_keys

WORKLOAD_PLACEMENTS = GVR("workload.kcp.io", "v1alpha1", "placements")


def source(name: str, **more: str) -> dict[str, str]:
    return {"workspace": "root:work", "namespace": "default", "name": name, "kind": "Deployment", "apiVersion": "apps/v1", **more}


async def only(world: World, **spec: Any) -> None:
    """One Placement of the Deployment `web` instead of the one of all namespaces, as the reference spells it."""
    await world.client.resource(PLACEMENTS).delete("all")
    await world.create(WORKLOAD_PLACEMENTS, "Placement", "web", spec={"source": source("web"), "locationSelector": {}, **spec})


async def synced(world: World, gvr: GVR, name: str) -> int:
    return len(synced_keys(await world.client.resource(gvr).get(name, namespace="default")))


async def test_only_the_named_object_goes_to_the_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path, monkeypatch) as world:
        await only(world, constraints={}, strategy="OneToMany")
        await world.deploy("default", "web", 4)
        await world.deploy("default", "other", 4)
        await world.settle("default", "web", 4)
        assert await world.below("web") == {"east": 2, "west": 2}
        assert await world.below("other") == {}
        found = await world.client.resource(WORKLOAD_PLACEMENTS).get("web")
        assert [d["cluster"] for d in found["status"]["placementDecisions"]] == ["east", "west"]
        assert found["status"]["observedGeneration"] == 1
        await world.create(PLACEMENTS, "Placement", "rest", spec={"numberOfClusters": 1})
        await world.settle("default", "other", 4)
        await world.client.resource(WORKLOAD_PLACEMENTS).delete("web")
        await until(functools.partial(world.below, "web"), lambda found: list(found.values()) == [4])


async def test_another_object_instead_moves_nothing_but_the_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path, monkeypatch) as world:
        await only(world, numberOfClusters=1)
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        await world.deploy("default", "other", 2)
        await world.client.resource(PLACEMENTS).patch("web", {"spec": {"source": {"name": "other"}}})
        await world.settle("default", "other", 2)
        await until(functools.partial(world.below, "web"), lambda found: found == {})


async def test_the_rest_of_the_namespace_is_placed_by_its_own_placements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path, monkeypatch) as world:
        await only(world, clusterSelector={"matchLabels": {"tier": "gold"}})
        await world.create(PLACEMENTS, "Placement", "rest", spec={"clusterSelector": {"matchLabels": {"tier": "lead"}}})
        targets = world.client.resource(GVR("workload.kcp.io", "v1alpha1", "synctargets"))
        await targets.patch("east", {"metadata": {"labels": {"tier": "gold"}}})
        await targets.patch("west", {"metadata": {"labels": {"tier": "lead"}}})
        await world.deploy("default", "web", 2)
        await world.deploy("default", "other", 2)
        await world.settle("default", "web", 2)
        assert await world.below("web") == {"east": 1, "west": 1}
        assert await world.below("other") == {"west": 2}


async def test_an_object_of_another_workspace_is_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await workspace(server, "root", "w")
        await sync_target(client, "east")
        await place(client, source=source("web"))
        found = await until(lambda: client.resource(PLACEMENTS).get("p"), lambda p: conditions.is_false(p, "Ready"))
        assert 'spec.source.workspace "root:work" is another one' in (conditions.get(found, "Ready") or {})["message"]
        await client.resource(PLACEMENTS).patch("p", {"spec": {"source": {"workspace": "w"}}})
        await until(lambda: client.resource(PLACEMENTS).get("p"), lambda p: conditions.is_true(p, "Ready"))
        await until(lambda: client.resource(NAMESPACES).get("default"), lambda ns: len(synced_keys(ns)) == 1)


async def test_an_object_and_namespaces_contradict_each_other(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await workspace(server, "root", "w")
        with pytest.raises(Invalid, match="namespaceSelector"):
            await place(client, source=source("web"), namespaceSelector={"matchNames": ["default"]})
        with pytest.raises(Invalid, match="apiVersion"):
            await place(client, source={"kind": "Deployment", "name": "web"})


async def test_a_second_look_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path, monkeypatch) as world:
        await only(world, strategy="Spread")
        await world.deploy("default", "web", 2)
        await until(functools.partial(world.below, "web"), lambda found: sum(found.values()) == 2)
        before = meta.resource_version(await world.client.resource(PLACEMENTS).get("web"))
        await world.client.resource(NAMESPACES).patch("default", {"metadata": {"labels": {"seen": "yes"}}})
        await world.deploy("default", "other", 1)
        await until(functools.partial(world.client.resource(DEPLOYMENTS).get, "other", namespace="default"), bool)
        assert meta.resource_version(await world.client.resource(PLACEMENTS).get("web")) == before
