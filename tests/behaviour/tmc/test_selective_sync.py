"""What users write on an object about its syncing: on which clusters, paused, gathered, with other replicas; and what is written on its copies."""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model import wishes
from kcp.tmc.model.kinds import NAMESPACES

CONFIG_MAPS = GVR("", "v1", "configmaps")


async def where(world: World, name: str) -> dict[str, Any]:
    """Cluster → data of the copies of a ConfigMap."""
    found = [(c.name, m) for c in world.clusters.values() for m in (await c.client().resource(CONFIG_MAPS).list()).items]
    return {cluster: m.get("data") for cluster, m in found if meta.name(m) == name}


async def annotate(world: World, gvr: GVR, name: str, **annotations: str | None) -> JSONObject:
    patch = {"metadata": {"annotations": {getattr(wishes, key): value for key, value in annotations.items()}}}
    return await world.client.resource(gvr).patch(name, patch, namespace="default")


async def test_only_the_clusters_that_are_wanted_get_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"a": "1"})
        look = functools.partial(where, world, "c")
        await until(look, lambda found: set(found) == {"east", "west"})
        await annotate(world, CONFIG_MAPS, "c", TARGET_CLUSTERS="w*")
        await until(look, lambda found: set(found) == {"west"})
        await annotate(world, CONFIG_MAPS, "c", TARGET_CLUSTERS=None, EXCLUDE_CLUSTERS="west")
        await until(look, lambda found: set(found) == {"east"})
        await annotate(world, CONFIG_MAPS, "c", EXCLUDE_CLUSTERS=None, SYNC="disabled")
        await until(look, lambda found: not found)
        await annotate(world, CONFIG_MAPS, "c", SYNC="enabled")
        await until(look, lambda found: set(found) == {"east", "west"})


async def test_replicas_are_shared_out_among_the_wanted_clusters_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 4)
        await world.settle("default", "web", 4)
        await annotate(world, DEPLOYMENTS, "web", EXCLUDE_CLUSTERS="east")
        await world.settle("default", "web", 4)
        await until(functools.partial(world.below, "web"), lambda found: found == {"west": 4})
        await annotate(world, DEPLOYMENTS, "web", SYNC="disabled")
        found = await until(
            lambda: world.client.resource(DEPLOYMENTS).get("web", namespace="default"),
            lambda d: (conditions.get(d, "Synced") or {}).get("reason") == "Disabled",
        )
        assert wishes.SYNC in (conditions.get(found, "Synced") or {})["message"]


async def test_a_paused_copy_stays_as_it_is_until_it_may_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        maps = world.client.resource(CONFIG_MAPS)
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"a": "1"})
        await world.create(CONFIG_MAPS, "ConfigMap", "witness", namespace="default", data={"a": "1"})
        await until(functools.partial(where, world, "c"), lambda found: len(found) == 2)
        await annotate(world, CONFIG_MAPS, "c", SYNC="pause")
        await maps.patch("c", {"data": {"a": "2"}}, namespace="default")
        await maps.patch("witness", {"data": {"a": "2"}}, namespace="default")
        await until(functools.partial(where, world, "witness"), lambda found: set(map(str, found.values())) == {"{'a': '2'}"})
        assert set(map(str, (await where(world, "c")).values())) == {"{'a': '1'}"}
        await annotate(world, CONFIG_MAPS, "c", SYNC=None)
        await until(functools.partial(where, world, "c"), lambda found: set(map(str, found.values())) == {"{'a': '2'}"})


async def test_gathered_changes_go_down_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wishes._DELAYS_S, "batched", 0.3)
    async with running(tmp_path, monkeypatch) as world:
        maps = world.client.resource(CONFIG_MAPS)
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"a": "0"})
        await until(functools.partial(where, world, "c"), lambda found: len(found) == 2)
        await annotate(world, CONFIG_MAPS, "c", SYNC_POLICY="batched")
        before = sum("/configmaps/c" in written for written in world.writes("syncer down"))
        for number in range(1, 6):
            await maps.patch("c", {"data": {"a": str(number)}}, namespace="default")
        await until(functools.partial(where, world, "c"), lambda found: set(map(str, found.values())) == {"{'a': '5'}"})
        assert sum("/configmaps/c" in written for written in world.writes("syncer down")) == before + 1


async def test_a_copy_has_the_replicas_that_its_object_wants_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 2)
        await annotate(world, DEPLOYMENTS, "web", TARGET_REPLICAS="east=3,west=1")
        await until(functools.partial(world.below, "web"), lambda found: found == {"east": 3, "west": 1})


async def test_an_annotation_that_means_nothing_is_told_on_the_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        await annotate(world, DEPLOYMENTS, "web", SYNC_POLICY="whenever")
        found = await until(
            lambda: world.client.resource(DEPLOYMENTS).get("web", namespace="default"),
            lambda d: (conditions.get(d, "Synced") or {}).get("reason") == "ConfigurationError",
        )
        assert "immediate, batched, delayed" in (conditions.get(found, "Synced") or {})["message"]
        await annotate(world, DEPLOYMENTS, "web", SYNC_POLICY=None)
        await world.settle("default", "web", 2)


async def test_a_copy_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"a": "1"})
        await until(functools.partial(where, world, "c"), lambda found: len(found) == 2)
        obj = await world.client.resource(CONFIG_MAPS).get("c", namespace="default")
        selector = f"syncer.kcp.io/cluster=east,syncer.kcp.io/origin={meta.cluster(obj)}"
        copies = (await world.clusters["east"].client().resource(CONFIG_MAPS).list(label_selector=selector)).items
        copy = next(c for c in copies if meta.name(c) == "c")
        stamps = {name.removeprefix("syncer.kcp.io/"): text for name, text in meta.annotations(copy).items() if "syncer.kcp.io" in name}
        assert (stamps["sync-target"], stamps["workspace"]) == ("east", meta.cluster(obj))
        assert {"last-sync", "resource-version", "sync-generation"} <= stamps.keys()


async def test_transformations_of_a_cluster_are_followed_as_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(QUIET, transformations="kcp-system/syncer-transformations")
    async with running(tmp_path, monkeypatch, config=config) as world:
        maps = world.client.resource(CONFIG_MAPS)
        with suppress(AlreadyExists):  # the identity of the first SyncTarget's export needs it too
            await world.create(NAMESPACES, "Namespace", "kcp-system")
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"class": "fast"})
        look = functools.partial(where, world, "c")
        await until(look, lambda found: list(found.values()) == [{"class": "fast"}] * 2)
        rules = "transformations: [{match: {kind: ConfigMap}, transforms: [{target: data.class, rules: [{if: \"data.class == 'fast'\", set: slow}]}]}]"
        await world.create(CONFIG_MAPS, "ConfigMap", "syncer-transformations", namespace="kcp-system", data={"a.yaml": rules})
        await until(look, lambda found: list(found.values()) == [{"class": "slow"}] * 2)
        await annotate(world, CONFIG_MAPS, "c", TRANSFORM="none")
        await until(look, lambda found: list(found.values()) == [{"class": "fast"}] * 2)
        await annotate(world, CONFIG_MAPS, "c", TRANSFORM=None)
        await until(look, lambda found: list(found.values()) == [{"class": "slow"}] * 2)
        await maps.delete("syncer-transformations", namespace="kcp-system")
        await until(look, lambda found: list(found.values()) == [{"class": "fast"}] * 2)
