"""Placements, Locations and ResourceProjections in two API groups: the same objects, whichever group a client asks for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import decided, place, running, sync_target, until, workspace

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Invalid, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.server.compose import KcpServer
from kcp.tenancy import kinds
from kcp.tmc.model.kinds import LOCATIONS, PLACEMENTS, RESOURCE_PROJECTIONS
from kcp.tmc.model.names import chosen_keys

OTHER = {gvr.resource: GVR("workload.kcp.io", "v1alpha1", gvr.resource) for gvr in (PLACEMENTS, LOCATIONS, RESOURCE_PROJECTIONS)}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def client(server: KcpServer) -> Client:
    return await workspace(server, "root", "w")


async def test_a_placement_of_one_group_is_the_placement_of_the_other(client: Client) -> None:
    await sync_target(client, "east")
    ours, theirs = client.resource(PLACEMENTS), client.resource(OTHER["placements"])
    made = await theirs.create(
        {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "p"}, "spec": {"strategy": "OneToAny"}}
    )
    assert made["apiVersion"] == "workload.kcp.io/v1alpha1"
    await decided(client, {"east": "Selected"})
    kept = await until(lambda: ours.get("p"), lambda p: bool(chosen_keys(p)))
    assert kept["apiVersion"] == "scheduling.kcp.io/v1alpha1"
    assert meta.uid(kept) == meta.uid(made)
    shown = await theirs.get("p")
    assert shown == {**(await ours.get("p")), "apiVersion": "workload.kcp.io/v1alpha1"}
    with pytest.raises(AlreadyExists):
        await place(client, "p")
    await ours.patch("p", {"spec": {"numberOfClusters": 2}})
    assert (await theirs.get("p"))["spec"]["numberOfClusters"] == 2
    listed = await theirs.list()
    assert [(o["apiVersion"], meta.name(o)) for o in listed.items] == [("workload.kcp.io/v1alpha1", "p")]
    await theirs.delete("p")
    with pytest.raises(NotFound):
        await ours.get("p")


async def test_a_watch_in_one_group_shows_writes_through_the_other(client: Client) -> None:
    theirs = client.resource(OTHER["locations"])
    listed = await theirs.list()

    async def first() -> tuple[str, str, str]:
        async for event in theirs.watch(resource_version=listed.resource_version):
            return event.type, event.object["apiVersion"], meta.name(event.object)
        raise AssertionError("the watch ended")

    await client.resource(LOCATIONS).create(
        {"apiVersion": LOCATIONS.api_version, "kind": "Location", "metadata": {"name": "eu"}, "spec": {}}
    )
    async with asyncio.timeout(5):
        assert await first() == ("ADDED", "workload.kcp.io/v1alpha1", "eu")


async def test_managers_of_both_groups_share_the_fields_of_one_object(client: Client) -> None:
    theirs, ours = client.resource(OTHER["placements"]), client.resource(PLACEMENTS)
    written = {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "p"}}
    await theirs.apply({**written, "spec": {"strategy": "Spread", "numberOfClusters": 2}}, field_manager="fork")
    await ours.apply({**written, "apiVersion": PLACEMENTS.api_version, "spec": {"strategy": "Spread"}}, field_manager="kcp")
    await theirs.apply({**written, "spec": {"strategy": "Spread"}}, field_manager="fork")
    assert "numberOfClusters" not in (await ours.get("p"))["spec"]


async def test_what_is_wrong_is_refused_in_either_group(client: Client) -> None:
    for name, spec in (
        ("placements", {"strategy": "Magic"}),
        ("locations", {"instanceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
        ("resourceprojections", {"resourceSelectors": [{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]}),
    ):
        kind = {"placements": "Placement", "locations": "Location", "resourceprojections": "ResourceProjection"}[name]
        with pytest.raises(Invalid):
            await client.resource(OTHER[name]).create(
                {"apiVersion": "workload.kcp.io/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
            )


async def test_discovery_names_both_and_short_names_mean_one(client: Client) -> None:
    groups: dict[str, dict[str, Any]] = {}
    for group in ("scheduling.kcp.io", "workload.kcp.io"):
        document = json.loads((await client.raw("GET", f"/apis/{group}/v1alpha1")).body)
        groups[group] = {r["name"]: r for r in document["resources"]}
    assert groups["scheduling.kcp.io"]["placements"]["shortNames"] == ["pl"]
    theirs = groups["workload.kcp.io"]["placements"]
    assert "shortNames" not in theirs
    assert "categories" not in theirs
    assert theirs["storageVersionHash"] == groups["scheduling.kcp.io"]["placements"]["storageVersionHash"]
    assert {"placements/status", "locations", "synctargets", "resourceprojections"} <= set(groups["workload.kcp.io"])


async def test_a_workspace_that_binds_neither_serves_neither(server: KcpServer) -> None:
    with pytest.raises(NotFound):
        await server.client.cluster("system:admin").resource(OTHER["placements"]).list()


async def test_a_workspace_goes_with_what_was_made_in_the_other_group(server: KcpServer, client: Client) -> None:
    await client.resource(OTHER["placements"]).create(
        {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "p"}, "spec": {}}
    )
    workspaces = server.client.cluster("root").resource(kinds.WORKSPACES)
    await workspaces.delete("w")

    async def names() -> list[str]:
        return [meta.name(w) for w in (await workspaces.list()).items]

    await until(names, lambda found: "w" not in found)
