"""ResourceExports: one object on chosen clusters, and what becomes of changes that are made there."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.tmc.model.kinds import LOCATIONS, PLACEMENTS, RESOURCE_EXPORTS, RESOURCE_PROJECTIONS, SYNC_TARGETS

CONFIG_MAPS = GVR("", "v1", "configmaps")
REFERENCE = {"version": "v1", "resource": "configmaps", "namespace": "default", "name": "settings"}


async def export(world: World, name: str = "settings", **spec: Any) -> None:
    await world.create(RESOURCE_EXPORTS, "ResourceExport", name, spec={"resource": REFERENCE, **spec})


async def copies(world: World) -> dict[str, dict[str, str]]:
    """Cluster → data of its copy."""
    found: dict[str, dict[str, str]] = {}
    for cluster in world.clusters.values():
        for copy in (await cluster.client().resource(CONFIG_MAPS).list()).items:
            if meta.name(copy) == "settings":
                found[cluster.name] = copy["data"]
    return found


async def status(world: World, name: str = "settings") -> dict[str, bool]:
    found = await world.client.resource(RESOURCE_EXPORTS).get(name)
    return {entry["cluster"]: entry["exported"] for entry in meta.nested(found, "status", "exportedClusters", default=())}


async def reason_of(world: World, name: str) -> str:
    found = await world.client.resource(RESOURCE_EXPORTS).get(name)
    return str((conditions.get(found, "Ready") or {}).get("reason"))


async def alone(world: World) -> None:
    """Nothing is placed, and there is one ConfigMap."""
    await world.client.resource(PLACEMENTS).delete("all")
    await world.create(CONFIG_MAPS, "ConfigMap", "settings", namespace="default", data={"a": "1"})


async def test_the_object_goes_to_the_clusters_that_are_named_and_its_export_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    async with running(tmp_path, monkeypatch) as world:
        await alone(world)
        await export(world, target={"clusters": ["east"]})
        await until(functools.partial(copies, world), lambda found: found == {"east": {"a": "1"}})
        await until(functools.partial(status, world), lambda found: found == {"east": True})
        found = await world.client.resource(RESOURCE_EXPORTS).get("settings")
        assert conditions.is_true(found, "Ready")
        assert conditions.is_true(found, "Synced")
        assert found["status"]["lastExportTime"] == found["status"]["exportedClusters"][0]["lastExportTime"]
        version = meta.resource_version(found)
        await world.client.resource(CONFIG_MAPS).patch("settings", {"data": {"a": "2"}}, namespace="default")
        await until(functools.partial(copies, world), lambda found: found == {"east": {"a": "2"}})
        await world.client.resource(RESOURCE_EXPORTS).patch("settings", {"spec": {"target": {"clusters": ["e*", "west"]}}})
        await until(functools.partial(copies, world), lambda found: set(found) == {"east", "west"})
        assert meta.resource_version(await world.client.resource(RESOURCE_EXPORTS).get("settings")) != version
        await world.client.resource(RESOURCE_EXPORTS).delete("settings")
        await until(functools.partial(copies, world), lambda found: found == {})


async def test_clusters_are_selected_by_labels_and_by_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await alone(world)
        targets = world.client.resource(SYNC_TARGETS)
        await targets.patch("east", {"metadata": {"labels": {"region": "eu"}}})
        location = {"apiVersion": LOCATIONS.api_version, "kind": "Location", "metadata": {"name": "eu", "labels": {"continent": "europe"}}}
        await world.client.resource(LOCATIONS).create({**location, "spec": {"instanceSelector": {"matchLabels": {"region": "eu"}}}})
        await export(world, target={"locationSelector": {"labelSelector": {"matchLabels": {"continent": "europe"}}}})
        await until(functools.partial(copies, world), lambda found: set(found) == {"east"})
        await targets.patch("west", {"metadata": {"labels": {"region": "eu", "tier": "gold"}}})
        await until(functools.partial(copies, world), lambda found: set(found) == {"east", "west"})
        await world.client.resource(RESOURCE_EXPORTS).patch(
            "settings", {"spec": {"target": {"labelSelector": {"matchLabels": {"tier": "gold"}}}}}
        )
        await until(functools.partial(copies, world), lambda found: set(found) == {"west"})


async def test_what_cannot_be_exported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await export(world, "nobody", target={"clusters": ["mars"]})
        await export(world, "nothing", target={"clusters": ["east"]}, resource={**REFERENCE, "resource": "wonders"})
        await export(world, "absent", target={"clusters": ["east"]})
        for name, reason in (("nobody", "NoClusters"), ("nothing", "ResourceNotServed"), ("absent", "NothingSelected")):
            await until(functools.partial(reason_of, world, name), reason.__eq__)
        with pytest.raises(Invalid, match=r"spec.target"):
            await export(world, "all", target={})
        await world.create(RESOURCE_PROJECTIONS, "ResourceProjection", "export-taken", spec={"mode": "All", "targetClusters": ["none"]})
        await export(world, "taken", target={"clusters": ["east"]})
        await until(functools.partial(reason_of, world, "taken"), "NameTaken".__eq__)


async def change_below(world: World) -> None:
    """What somebody in the cluster does."""
    maps = world.clusters["east"].client().resource(CONFIG_MAPS)
    copy = next(c for c in (await maps.list()).items if meta.name(c) == "settings")
    await maps.patch("settings", {"data": {"a": "changed"}}, namespace=meta.namespace(copy))


@pytest.mark.parametrize("resolution", ["UseSource", "UseTarget", "Error"])
async def test_changes_made_in_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolution: str) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await alone(world)
        await export(world, target={"clusters": ["east"]}, conflictResolution=resolution)
        await until(functools.partial(status, world), lambda found: found == {"east": True})
        await change_below(world)
        if resolution == "UseSource":
            await until(lambda: drifts(world), lambda n: n > 0)
            await until(functools.partial(copies, world), lambda found: found == {"east": {"a": "1"}})
            return
        if resolution == "Error":
            await until(functools.partial(status, world), lambda found: found == {"east": False})
            found = await world.client.resource(RESOURCE_EXPORTS).get("settings")
            assert "data.a" in found["status"]["exportedClusters"][0]["error"]
        assert await copies(world) == {"east": {"a": "changed"}}
        await world.client.resource(CONFIG_MAPS).patch("settings", {"data": {"a": "3"}}, namespace="default")
        await until(functools.partial(copies, world), lambda found: found == {"east": {"a": "3"}})


async def drifts(world: World) -> int:
    found = await world.client.resource(CONFIG_MAPS).get("settings", namespace="default")
    return sum(name.startswith("drift.") or "drift" in name for name in meta.annotations(found))


async def test_a_deployment_is_exported_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.client.resource(PLACEMENTS).delete("all")
        await world.deploy("default", "web", 2)
        resource = {"group": "apps", "version": "v1", "resource": "deployments", "name": "web"}
        await export(world, "web", resource=resource, target={"clusters": ["*"]})
        await until(functools.partial(world.below, "web"), lambda found: found == {"east": 2, "west": 2})
        assert await world.client.resource(DEPLOYMENTS).get("web", namespace="default")
