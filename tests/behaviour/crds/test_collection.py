"""Custom resources that own and are owned, on both kinds of server: collected, orphaned, and gone with their definition.

Source: test/e2e/apimachinery/garbage_collector.go (cascading and orphan deletion of custom resources),
test/integration/garbagecollector/garbage_collector_test.go (TestMixedRelationships, TestCRDDeletionCascading).
"""

from __future__ import annotations

from typing import Any

from tests.behaviour.crds.conftest import World

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import ResourceClient

CONFIG_MAPS = GVR("", "v1", "configmaps")
OWNERS = GVR("collected.example.com", "v1", "owners")
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": str(OWNERS.group_resource)},
    "spec": {
        "group": OWNERS.group,
        "scope": "Namespaced",
        "names": {"plural": OWNERS.resource, "kind": "Owner"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def owner(name: str, *owners: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": OWNERS.api_version, "kind": "Owner", "metadata": owned(name, *owners)}


def config_map(name: str, *owners: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": owned(name, *owners)}


def owned(name: str, *owners: dict[str, Any]) -> dict[str, Any]:
    references = [{"apiVersion": o["apiVersion"], "kind": o["kind"], "name": meta.name(o), "uid": meta.uid(o)} for o in owners]
    return {"name": name, "namespace": "default", **({"ownerReferences": references} if references else {})}


async def gone(world: World, resource: ResourceClient, name: str) -> None:
    async def is_gone() -> bool:
        try:
            await resource.get(name, namespace="default")
        except NotFound:
            return True
        return False

    await world.until(is_gone)


async def known_to_the_collector(world: World) -> tuple[ResourceClient, ResourceClient]:
    """Custom owners and ConfigMaps, once an owner whose own owner never was has been collected."""
    await world.define(CRD)
    owners, maps = world.client.resource(OWNERS), world.client.resource(CONFIG_MAPS)
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nobody", "uid": "d3b1e0c4-0000-4000-8000-000000000000"}}
    await owners.create(owner("dangling", nobody), namespace="default")
    await gone(world, owners, "dangling")
    return owners, maps


async def test_dependents_of_custom_resources_are_collected_whatever_their_kind(world: World) -> None:
    owners, maps = await known_to_the_collector(world)
    first = await owners.create(owner("first"), namespace="default")
    await owners.create(owner("second", first), namespace="default")
    await maps.create(config_map("third", first), namespace="default")
    await owners.delete("first", namespace="default", propagation="Background")
    await gone(world, owners, "second")
    await gone(world, maps, "third")


async def test_orphans_of_custom_resources_stay_and_lose_the_reference(world: World) -> None:
    owners, _ = await known_to_the_collector(world)
    first = await owners.create(owner("first"), namespace="default")
    await owners.create(owner("second", first), namespace="default")
    await owners.delete("first", namespace="default", propagation="Orphan")
    await gone(world, owners, "first")
    assert meta.owner_references(await owners.get("second", namespace="default")) == []


async def test_dependents_go_with_the_definition_of_their_owners(world: World) -> None:
    owners, maps = await known_to_the_collector(world)
    first = await owners.create(owner("first"), namespace="default")
    await maps.create(config_map("dependent", first), namespace="default")
    await world.crds.delete(meta.name(CRD))
    await gone(world, maps, "dependent")
