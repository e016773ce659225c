"""ResourceImports: single objects of a cluster, read by its syncer and shown in the workspace of the SyncTarget."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.tmc.model.kinds import RESOURCE_IMPORTS
from kcp.tmc.syncer import fetching

CONFIG_MAPS, CRDS = GVR("", "v1", "configmaps"), GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
WIDGETS = GVR("example.com", "v1", "widgets")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LOOK_AGAIN_S", 0.05)


async def bring(world: World, name: str, resource: dict[str, str], cluster: str = "east", **spec: str) -> None:
    await world.create(RESOURCE_IMPORTS, "ResourceImport", name, spec={"source": {"cluster": cluster, "resource": resource}, **spec})


async def imported(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = await world.client.resource(RESOURCE_IMPORTS).get(name)
    return found


def settings(data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "facts", "namespace": "default"}, "data": data}


async def test_an_object_of_the_cluster_is_shown_as_it_is_and_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        maps = world.clusters["east"].client().resource(CONFIG_MAPS)
        await maps.create(settings({"a": "1"}))
        reference = {"version": "v1", "resource": "configmaps", "namespace": "default", "name": "facts"}
        await bring(world, "facts", reference)
        found = await until(functools.partial(imported, world, "facts"), lambda o: conditions.is_true(o, "Ready"))
        assert found["status"]["importedResource"]["data"] == {"a": "1"}
        assert found["status"]["schemaVersion"] == "configmaps/v1"
        assert conditions.is_true(found, "Synced")
        assert conditions.is_true(found, "SchemaReady")
        await maps.patch("facts", {"data": {"a": "2"}}, namespace="default")
        changed = await until(functools.partial(imported, world, "facts"), lambda o: o["status"]["importedResource"]["data"] == {"a": "2"})
        assert changed["status"]["resourceVersion"] != found["status"]["resourceVersion"]
        await maps.delete("facts", namespace="default")
        gone = await until(functools.partial(imported, world, "facts"), lambda o: conditions.is_false(o, "Ready"))
        assert (conditions.get(gone, "Ready") or {})["reason"] == "NotFound"


async def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await bring(world, "secret", {"version": "v1", "resource": "secrets", "namespace": "default", "name": "token"})
        await bring(world, "wonder", {"group": "example.com", "version": "v1", "resource": "wonders", "name": "w"})
        for name, reason in (("secret", "Forbidden"), ("wonder", "NotServed")):
            found = await until(functools.partial(imported, world, name), lambda o: bool(conditions.get(o, "Ready")))
            assert (conditions.get(found, "Ready") or {})["reason"] == reason


def definition(maximum: int) -> dict[str, Any]:
    spec = {"type": "object", "properties": {"size": {"type": "integer", "maximum": maximum}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    return {
        "apiVersion": CRDS.api_version, "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions},
    }  # fmt: skip


async def test_an_import_follows_newer_definitions_or_stops_at_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        cluster = world.clusters["east"].client()
        await cluster.resource(CRDS).create(definition(10))
        await until(functools.partial(cluster.resource(CRDS).get, "widgets.example.com"), lambda c: conditions.is_true(c, "Established"))
        widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}, "spec": {"size": 1}}
        await cluster.resource(WIDGETS).create(widget)
        reference = {"group": "example.com", "version": "v1", "resource": "widgets", "namespace": "default", "name": "w"}
        for name, policy in (("follows", "UpdateIfNewer"), ("stays", "Never")):
            await bring(world, name, reference, schemaUpdatePolicy=policy)
            await until(functools.partial(imported, world, name), lambda o: conditions.is_true(o, "Ready"))
        first = (await imported(world, "stays"))["status"]["schemaVersion"]
        assert first.startswith("widgets.example.com/v1@")
        await cluster.resource(CRDS).patch("widgets.example.com", {"spec": {"versions": definition(20)["spec"]["versions"]}})
        await cluster.resource(WIDGETS).patch("w", {"spec": {"size": 15}}, namespace="default")
        found = await until(
            functools.partial(imported, world, "follows"), lambda o: o["status"]["importedResource"]["spec"] == {"size": 15}
        )
        await until(functools.partial(imported, world, "follows"), lambda o: o["status"]["schemaVersion"] != first)
        stopped = await until(functools.partial(imported, world, "stays"), lambda o: conditions.is_false(o, "SchemaReady"))
        assert (conditions.get(stopped, "SchemaReady") or {})["reason"] == "SchemaChanged"
        assert stopped["status"]["schemaVersion"] == first
        assert meta.name(found) == "follows"
