"""CRDs in a simulated cluster: established, served, in discovery and OpenAPI; conflicting names; versions; removed with their instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from tests.unit.registry.crds import crd

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, Invalid, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import ResourceClient

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
WIDGETS = GVR("example.com", "v1", "widgets")


def crds(world: World) -> ResourceClient:
    return world.client.resource(CRDS)


async def define(world: World, obj: dict[str, Any]) -> dict[str, Any]:
    """Create a CRD and wait until it is established."""
    made = await crds(world).create(obj)

    async def is_established() -> bool:
        return conditions.is_true(await crds(world).get(meta.name(made)), "Established")

    await world.until(is_established, within_s=2)
    return await crds(world).get(meta.name(made))


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


async def is_served(world: World, gvr: GVR) -> bool:
    return any(r.gvr == gvr for r in await world.client.discover())


async def test_an_established_crd_is_served_discovered_and_described(world: World) -> None:
    made = await define(world, crd("widgets", "Widget", shortNames=["w"]))
    assert meta.finalizers(made) == []
    assert made["status"]["acceptedNames"]["shortNames"] == ["w"]
    assert await is_served(world, WIDGETS)
    await world.client.resource(WIDGETS).create(widget("one"), namespace="default")
    index = orjson.loads((await world.client.raw("GET", "/openapi/v3")).body)
    assert "apis/example.com/v1" in index["paths"]
    document = orjson.loads((await world.client.raw("GET", "/openapi/v3/apis/example.com/v1")).body)
    assert "com.example.v1.Widget" in document["components"]["schemas"]


async def test_a_crd_goes_with_its_instances_in_all_namespaces(world: World) -> None:
    await define(world, crd("widgets", "Widget"))
    await world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    widgets = world.client.resource(WIDGETS)
    await widgets.create(widget("one"), namespace="default")
    held = widget("two")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await widgets.create(held, namespace="shop")
    answer = await crds(world).delete("widgets.example.com")
    told = conditions.get(answer, "Terminating") or {}
    assert (told["status"], told["reason"]) == ("True", "InstanceDeletionPending")
    await world.clock.advance(10)
    assert [meta.name(w) for w in (await widgets.list()).items] == ["two"]
    with pytest.raises(Forbidden, match="create not allowed while custom resource definition is terminating"):
        await widgets.create(widget("three"), namespace="default")
    await widgets.patch("two", {"metadata": {"finalizers": None}}, namespace="shop")

    async def is_gone() -> bool:
        return not (await crds(world).list()).items

    await world.until(is_gone)
    assert not await is_served(world, WIDGETS)
    await define(world, crd("widgets", "Widget"))
    assert (await widgets.list()).items == []


async def test_a_name_in_use_is_reported_and_free_again_when_the_other_crd_goes(world: World) -> None:
    await define(world, crd("wheels", "Wheel", shortNames=["w"]))
    await crds(world).create(crd("widgets", "Wheel"))
    await world.clock.advance(1)
    told = conditions.get(held := await crds(world).get("widgets.example.com"), "NamesAccepted") or {}
    assert (told["status"], told["reason"], told["message"]) == ("False", "ListKindConflict", '"WheelList" is already in use')
    assert conditions.is_false(held, "Established")
    assert not await is_served(world, WIDGETS)
    await crds(world).delete("wheels.example.com")

    async def is_established() -> bool:
        return conditions.is_true(await crds(world).get("widgets.example.com"), "Established")

    await world.until(is_established)
    assert await is_served(world, WIDGETS)


async def test_versions_come_and_go_under_their_objects(world: World) -> None:
    await define(world, crd("widgets", "Widget", versions=("v1",)))
    await world.client.resource(WIDGETS).create(widget("one", color="red"), namespace="default")
    both = crd("widgets", "Widget", versions=("v1", "v2"))["spec"]
    await crds(world).patch("widgets.example.com", {"spec": both})
    await world.clock.advance(1)
    newer = GVR("example.com", "v2", "widgets")
    assert (await world.client.resource(newer).get("one", namespace="default"))["apiVersion"] == "example.com/v2"
    held = await crds(world).get("widgets.example.com")
    assert held["status"]["storedVersions"] == ["v1", "v2"]
    only = crd("widgets", "Widget", versions=("v2",))["spec"]
    with pytest.raises(Invalid, match="was previously a storage version"):
        await crds(world).patch("widgets.example.com", {"spec": only})
    await crds(world).patch("widgets.example.com", {"status": {"storedVersions": ["v2"]}}, subresource="status")
    await crds(world).patch("widgets.example.com", {"spec": only})
    await world.clock.advance(1)
    assert not await is_served(world, WIDGETS)
    with pytest.raises(NotFound):
        await world.client.resource(WIDGETS).list()
    assert [meta.name(w) for w in (await world.client.resource(newer).list()).items] == ["one"]
