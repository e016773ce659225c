"""What a workspace gets with its first SyncTarget, as kcp 0.11 gives it, and how it is kept from that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.tmc.test_placement_semantics import decided, place, running, sync_target, until, workspace

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.client.rest import Client
from kcp.exports.names import BINDINGS, EXPORTS
from kcp.tmc.apis.defaults import SKIP_ANNOTATION
from kcp.tmc.model.kinds import LOCATIONS


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with running(tmp_path) as server:
        yield await workspace(server, "root", "w")


async def annotated(client: Client) -> None:
    def is_done(export: dict[str, object]) -> bool:
        return meta.annotations(export).get(SKIP_ANNOTATION) == "true"

    async def look() -> dict[str, object]:
        try:
            return await client.resource(EXPORTS).get("kubernetes")
        except NotFound:
            return {}

    await until(look, is_done)


async def test_the_first_sync_target_brings_an_export_a_location_and_a_binding(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.resource(LOCATIONS).get("default")
    await sync_target(client, "east", region="eu")
    await annotated(client)
    location = await until(lambda: client.resource(LOCATIONS).get("default"), lambda one: one.get("status", {}).get("instances") == 1)
    assert location["spec"]["instanceSelector"] == {}
    binding = await client.resource(BINDINGS).get("kubernetes")
    assert binding["spec"]["reference"]["export"]["name"] == "kubernetes"
    bound = await until(lambda: client.resource(BINDINGS).get("kubernetes"), lambda b: meta.nested(b, "status", "phase") == "Bound")
    assert meta.nested(bound, "status", "boundResources", default=[]) == []
    await place(client)
    found = await decided(client, {"east": "Selected"})
    assert found["status"]["selectedLocation"]["locationName"] == "default"


async def test_what_was_deleted_afterwards_stays_deleted(client: Client) -> None:
    await sync_target(client, "east", region="eu")
    await annotated(client)
    await client.resource(LOCATIONS).delete("default")
    await sync_target(client, "west", region="eu")
    await place(client, locationSelectors=[{"matchLabels": {"region": "eu"}}], numberOfClusters=2)
    await decided(client, {"east": "Selected", "west": "Selected"})
    with pytest.raises(NotFound):
        await client.resource(LOCATIONS).get("default")


async def test_an_export_that_says_so_keeps_the_workspace_as_it_is(client: Client) -> None:
    metadata = {"name": "kubernetes", "annotations": {SKIP_ANNOTATION: "true"}}
    await client.resource(EXPORTS).create({"apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": metadata, "spec": {}})
    await sync_target(client, "east")
    await place(client)
    await decided(client, {"east": "Selected"})
    with pytest.raises(NotFound):
        await client.resource(LOCATIONS).get("default")


async def test_an_export_that_goes_comes_again_with_all_that_belongs_to_it(client: Client) -> None:
    await sync_target(client, "east")
    await annotated(client)
    await client.resource(LOCATIONS).delete("default")
    await client.resource(EXPORTS).delete("kubernetes")
    await annotated(client)
    assert await client.resource(LOCATIONS).get("default")
