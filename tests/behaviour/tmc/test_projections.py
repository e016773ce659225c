"""ResourceProjections on a whole server: what is selected is on every chosen cluster, changed on the way and stamped; what is no longer
selected goes; whatever else is there stays; what fails is told, and the others go on."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, syncing, until, with_clusters, with_control_plane

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.metrics.families import PROJECTIONS
from kcp.tmc.model.kinds import RESOURCE_PROJECTIONS, SYNC_TARGETS
from kcp.tmc.model.names import STATE_LABEL, STATE_UPSYNC
from kcp.tmc.syncer.settings import SyncerConfig

CONFIG_MAPS, SECRETS, SERVICES = GVR("", "v1", "configmaps"), GVR("", "v1", "secrets"), GVR("", "v1", "services")


@asynccontextmanager
async def unplaced(directory: Path, patch: pytest.MonkeyPatch, config: SyncerConfig = QUIET) -> AsyncIterator[World]:
    """East and west with their syncers, and no Placement: what is there, was projected."""
    async with with_clusters() as clusters, with_control_plane(directory, patch, clusters, in_memory=True) as world:
        for name in clusters:
            await world.create(SYNC_TARGETS, "SyncTarget", name, spec={})
            await world.client.resource(SYNC_TARGETS).patch(name, {"metadata": {"labels": {"region": name}}})
        async with syncing(world, config=config):
            yield world


async def project(world: World, name: str = "p", **spec: Any) -> JSONObject:
    return await world.create(RESOURCE_PROJECTIONS, "ResourceProjection", name, spec=spec)


async def copies(world: World, name: str, gvr: GVR = CONFIG_MAPS) -> dict[str, JSONObject]:
    found = [(c.name, obj) for c in world.clusters.values() for obj in (await c.client().resource(gvr).list()).items]
    return {cluster: obj for cluster, obj in found if meta.name(obj) == name}


async def data(world: World, name: str) -> dict[str, Any]:
    return {cluster: obj.get("data") for cluster, obj in (await copies(world, name)).items()}


async def make(world: World, name: str = "c", *, labels: dict[str, str] | None = None, **values: str) -> JSONObject:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": values or {"a": "1"}}
    return await world.client.resource(CONFIG_MAPS).create(body, namespace="default")


def counted(world: World, cluster: str) -> float:
    """Copies of projected objects that this cluster's syncer counted as written."""
    metrics = world.records[cluster].metrics
    assert metrics is not None
    found = metrics.meter.counted(PROJECTIONS)
    return sum(count for (_, target, gvk, status), count in found.items() if (target, gvk, status) == (cluster, "configmaps", "success"))


async def ready(world: World, reason: str, name: str = "p") -> JSONObject:
    """The projection once its condition Ready has this reason."""
    return await until(  # type: ignore[no-any-return]
        functools.partial(world.client.resource(RESOURCE_PROJECTIONS).get, name),
        lambda p: (conditions.get(p, "Ready") or {}).get("reason") == reason,
    )


async def test_labelled_objects_are_on_every_cluster_until_the_label_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        await project(world)
        await make(world, labels={"tmc.projection": "enabled"})
        await make(world, "other")
        look = functools.partial(data, world, "c")
        await until(look, lambda found: found == {"east": {"a": "1"}, "west": {"a": "1"}})
        told = await ready(world, "EveryCopyIsThere")
        assert told["status"]["phase"] == "Active"
        assert counted(world, "east") >= 1
        assert [(t["cluster"], t["status"], t["synced"]) for t in told["status"]["targets"]] == [
            ("east", "Active", 1),
            ("west", "Active", 1),
        ]
        await world.client.resource(CONFIG_MAPS).patch("c", {"data": {"a": "2"}}, namespace="default")
        await until(look, lambda found: found == {"east": {"a": "2"}, "west": {"a": "2"}})
        await world.client.resource(CONFIG_MAPS).patch("c", {"metadata": {"labels": {"tmc.projection": None}}}, namespace="default")
        await until(look, lambda found: found == {})
        assert await data(world, "other") == {}
        left = await world.client.resource(CONFIG_MAPS).get("c", namespace="default")
        assert left["data"] == {"a": "2"}
        await until(functools.partial(world.client.resource(CONFIG_MAPS).get, "c", namespace="default"), lambda o: not meta.finalizers(o))


async def test_copies_are_changed_and_stamped_and_keep_what_others_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        where = {"type": "Template", "jsonPath": "data.where", "value": "{{.OriginalName}} on {{.TargetCluster}}"}
        await project(
            world, resourceSelectors=[{"kind": "ConfigMap", "namePattern": "site-*"}],
            transformations=[where, {"type": "Delete", "jsonPath": "data.secret", "conditional": "cluster.labels.region == 'west'"}],
        )  # fmt: skip
        above = await make(world, "site-1", a="1", secret="x")
        look = functools.partial(data, world, "site-1")
        await until(
            look,
            lambda f: f == {"east": {"a": "1", "secret": "x", "where": "site-1 on east"}, "west": {"a": "1", "where": "site-1 on west"}},
        )
        east = (await copies(world, "site-1"))["east"]
        assert (
            meta.labels(east).items()
            >= {"workload.kcp.io/projected": "true", "workload.kcp.io/projection-source": meta.cluster(above)}.items()
        )
        stamps = {k.removeprefix("workload.kcp.io/"): v for k, v in meta.annotations(east).items() if k.startswith("workload.kcp.io/")}
        assert stamps.pop("projected-at").endswith("Z")
        assert stamps == {"origin-cluster": meta.cluster(above), "projected-to": "east", "projection-status": "Active"}
        client = world.clusters["east"].client().resource(CONFIG_MAPS)
        await client.patch("site-1", {"metadata": {"annotations": {"team": "blue"}}}, namespace=meta.namespace(east))
        await world.client.resource(CONFIG_MAPS).patch("site-1", {"data": {"a": "2"}}, namespace="default")
        await until(look, lambda found: found["east"]["a"] == found["west"]["a"] == "2")
        assert meta.annotations((await copies(world, "site-1"))["east"])["team"] == "blue"


async def test_a_conditional_projection_follows_its_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        await project(world, mode="Conditional", conditional="cluster.type == 'edge'", resourceSelectors=[{"namePattern": "c"}])
        await make(world)
        told = await ready(world, "NoClusters")
        assert "cluster.type == 'edge' is false" in (conditions.get(told, "Ready") or {})["message"]
        look = functools.partial(data, world, "c")
        targets = world.client.resource(SYNC_TARGETS)
        await targets.patch("west", {"spec": {"cells": {"type": "edge"}}})
        await until(look, lambda found: set(found) == {"west"})
        await targets.patch("east", {"metadata": {"labels": {"type": "edge"}}})
        await until(look, lambda found: set(found) == {"east", "west"})
        await targets.patch("west", {"spec": {"cells": {"type": "core"}}})
        await until(look, lambda found: set(found) == {"east"})


async def test_what_fails_on_one_object_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        await project(
            world, resourceSelectors=[{"kind": "ConfigMap", "labelSelector": {"matchLabels": {"t": "1"}}}], targetClusters=["east"],
            transformations=[{"type": "Replace", "jsonPath": "data.host", "value": "east.example.com"}],
        )  # fmt: skip
        await make(world, "good", labels={"t": "1"}, host="x")
        await make(world, "bad", labels={"t": "1"}, port="80")
        await until(functools.partial(data, world, "good"), lambda f: f == {"east": {"host": "east.example.com"}})
        find = functools.partial(world.client.resource(RESOURCE_PROJECTIONS).get, "p")
        told = await until(find, lambda p: p["status"]["phase"] == "OutOfSync")
        message = (conditions.get(told, "Ready") or {})["message"]
        assert "configmaps default/bad" in message
        assert "transformation 0 (Replace data.host)" in message
        assert await data(world, "bad") == {}
        await world.client.resource(CONFIG_MAPS).patch("bad", {"data": {"host": "y"}}, namespace="default")
        await until(functools.partial(data, world, "bad"), lambda f: f == {"east": {"host": "east.example.com", "port": "80"}})
        await ready(world, "EveryCopyIsThere")


async def test_a_template_that_makes_an_invalid_object_reaches_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        template = {"type": "Template", "jsonPath": "spec.replicas", "value": "{{.TargetCluster}}"}
        await project(world, resourceSelectors=[{"kind": "Deployment"}], targetClusters=["west"], transformations=[template])
        await world.deploy("default", "web", 2)
        told = await ready(world, "CopiesFail")
        assert told["status"]["phase"] == "Failed"
        assert "what it makes is invalid: spec.replicas" in (conditions.get(told, "Ready") or {})["message"]
        assert await copies(world, "web", DEPLOYMENTS) == {}
        patch = {"spec": {"transformations": [{**template, "type": "Set", "value": 1}]}}
        await world.client.resource(RESOURCE_PROJECTIONS).patch("p", patch)
        found = await until(functools.partial(copies, world, "web", DEPLOYMENTS), lambda f: set(f) == {"west"})
        assert found["west"]["spec"]["replicas"] == 1
        await ready(world, "EveryCopyIsThere")


async def test_what_was_in_the_cluster_before_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        await project(world, resourceSelectors=[{"kind": "ConfigMap", "namePattern": "c*"}])
        await make(world, "c1")
        found = await until(functools.partial(copies, world, "c1"), lambda f: set(f) == {"east", "west"})
        client = world.clusters["east"].client().resource(CONFIG_MAPS)
        namespace = meta.namespace(found["east"])
        foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c2"}, "data": {"mine": "yes"}}
        await client.create(foreign, namespace=namespace)
        await make(world, "c2")
        told = await ready(world, "CopiesFail")
        assert "configmaps default/c2" in (conditions.get(told, "Ready") or {})["message"]
        await world.client.resource(RESOURCE_PROJECTIONS).delete("p")
        await until(functools.partial(copies, world, "c1"), lambda f: f == {})
        assert (await client.get("c2", namespace=namespace))["data"] == {"mine": "yes"}


async def test_a_vanished_cluster_is_told_and_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        await project(world, resourceSelectors=[{"namePattern": "c"}], targetClusters=["east", "west", "south"])
        await make(world)
        told = await ready(world, "ClusterNotFound")
        assert 'no SyncTarget is called "south"' in (conditions.get(told, "Ready") or {})["message"]
        await until(functools.partial(data, world, "c"), lambda found: set(found) == {"east", "west"})
        await world.client.resource(SYNC_TARGETS).delete("west")
        projections = world.client.resource(RESOURCE_PROJECTIONS)
        await until(functools.partial(projections.get, "p"), lambda p: [t["cluster"] for t in p["status"]["targets"]] == ["east"])
        maps = world.client.resource(CONFIG_MAPS)
        await until(functools.partial(maps.get, "c", namespace="default"), lambda o: len(meta.finalizers(o)) == 1)


async def test_a_projection_that_can_never_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch) as world:
        with pytest.raises(Invalid, match=r"spec.transformations\[0\].jsonPath") as caught:
            await project(world, mode="Conditional", transformations=[{"type": "Set", "jsonPath": "metadata.name", "value": "x"}])
        assert len(caught.value.causes) == 2


# --- from a cluster to others ---


async def show(world: World, name: str, namespace: str, **values: str) -> None:
    """An object made in east, that its workspace is to see."""
    key = (await world.client.resource(SYNC_TARGETS).get("east"))["metadata"]["labels"]["internal.workload.kcp.io/key"]
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {STATE_LABEL + key: STATE_UPSYNC}},
            "spec": {"type": "ExternalName", "externalName": values["to"]}}  # fmt: skip
    await world.clusters["east"].client().resource(SERVICES).create(body, namespace=namespace)


async def test_what_one_cluster_shows_reaches_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with unplaced(tmp_path, monkeypatch, replace(QUIET, upsync=("services",))) as world:
        await project(world, "base", resourceSelectors=[{"namePattern": "anchor"}], targetClusters=["east"])
        await make(world, "anchor")
        found = await until(functools.partial(copies, world, "anchor"), lambda f: set(f) == {"east"})
        namespace = meta.namespace(found["east"])
        told = {"type": "Template", "jsonPath": "metadata.annotations.from", "value": "{{.SourceCluster}}"}
        await project(world, "spread", source={"clusters": ["east"]}, resourceSelectors=[{"kind": "Service"}], transformations=[told])
        await show(world, "db", namespace, to="db.east")
        look = functools.partial(copies, world, "db", SERVICES)
        made = (await until(look, lambda f: set(f) == {"east", "west"}))["west"]
        assert made["spec"]["externalName"] == "db.east"
        assert meta.annotations(made)["from"] == "east"
        assert meta.labels(made)["workload.kcp.io/projection-source"] == "east"
        east = world.clusters["east"].client().resource(SERVICES)
        await east.patch("db", {"spec": {"externalName": "db2.east"}}, namespace=namespace)
        await until(look, lambda f: f["west"]["spec"]["externalName"] == "db2.east")
        await project(world, "z-back", source={"clusters": ["west"]}, resourceSelectors=[{"kind": "Service"}], targetClusters=["east"])

        refused = await ready(world, "CircularProjection", "z-back")
        assert "west → east (z-back) → west (spread)" in (conditions.get(refused, "Ready") or {})["message"]
        assert refused["status"]["phase"] == "Failed"
        await east.delete("db", namespace=namespace)
        await until(look, lambda f: f == {})
        await world.gone(SERVICES, "db", "default")
