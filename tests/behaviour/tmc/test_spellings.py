"""What the TMC reference says of SyncTargets and Locations beside its own types is taken, has its effect, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import decided, place, report, running, sync_target, until, workspace

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.server.compose import KcpServer
from kcp.tenancy import kinds
from kcp.tmc.model.kinds import LOCATIONS, SYNC_TARGETS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def client(server: KcpServer) -> Client:
    return await workspace(server, "root", "w")


async def make(client: Client, gvr: GVR, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    await client.resource(gvr).create({"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    found: dict[str, Any] = (await client.resource(gvr).get(name))["spec"]
    return found


async def test_a_capability_tells_one_detail_as_resource_and_capacity(client: Client) -> None:
    told: list[dict[str, Any]] = [
        {"type": "network", "resource": "bandwidth", "capacity": "10Gbps"},
        {"type": "compute", "resource": "cores", "capacity": 1000},
        {"type": "compute", "available": True, "metadata": {"model": "x86"}},
    ]
    for name, capabilities in (("big", told), ("small", [{**told[1], "capacity": "10"}])):
        spec = await make(client, SYNC_TARGETS, "SyncTarget", name, {"capabilities": capabilities})
        assert spec["capabilities"] == capabilities
        await report(client, name)
    rules = [
        {"type": "Capability", "field": "network.bandwidth", "operator": "In", "values": ["10Gbps"]},
        {"type": "Capability", "field": "compute.model", "operator": "Exists"},
        {"type": "Capability", "field": "compute.cores", "operator": "GreaterThan", "values": ["500"]},
    ]
    await place(client, constraints={"rules": rules})
    await decided(client, {"big": "Selected", "small": "ConstraintNotMet"})


async def test_a_location_keeps_what_it_says_of_itself_and_names_its_clusters(client: Client) -> None:
    written = {
        "displayName": "Frankfurt",
        "locationType": "DataCenter",
        "availabilityZones": ["eu-1a", "eu-1b"],
        "coordinates": {"latitude": "50.11", "longitude": 8.68},
        "instanceTypes": [{"name": "large", "cpu": 8, "memory": "32Gi", "gpu": "1", "accelerators": [{"type": "a100", "count": 1}]}],
        "instanceSelector": {"matchLabels": {"region": "eu"}},
    }
    spec = await make(client, LOCATIONS, "Location", "eu", written)
    assert written.items() <= spec.items()
    await sync_target(client, "west", region="eu")
    await sync_target(client, "east", region="eu")
    await sync_target(client, "silent", ready=False, region="eu")
    await sync_target(client, "far", region="us")
    locations = client.resource(LOCATIONS)
    found = await until(lambda: locations.get("eu"), lambda location: location.get("status", {}).get("availableInstances") == 2)
    assert found["status"]["availableClusters"] == ["east", "west"]
    assert found["status"]["instances"] == 3


async def test_a_location_adds_up_what_its_clusters_have_and_lies_among_others(client: Client) -> None:
    for name, parent in (("earth", ""), ("eu", "earth"), ("de", "eu"), ("lost", "atlantis"), ("hen", "egg"), ("egg", "hen")):
        spec: dict[str, Any] = {"instanceSelector": {"matchLabels": {"region": "eu"}}} if name == "eu" else {}
        await make(client, LOCATIONS, "Location", name, spec | ({"parent": parent} if parent else {}))
    for name, cpu in (("west", "2"), ("east", "1500m")):
        await sync_target(client, name, region="eu")
        status = {"capacity": {"cpu": cpu, "memory": "1Gi", "pods": "110"}, "usage": {"cpu": "100m", "memory": "1Mi"}}
        await client.resource(SYNC_TARGETS).patch(name, {"status": status}, subresource="status")
    locations = client.resource(LOCATIONS)
    found = await until(lambda: locations.get("eu"), lambda one: meta.nested(one, "status", "totalCapacity", "cpu") == 3500)
    assert found["status"]["totalCapacity"] == {"cpu": 3500, "memory": 2 * 1024**3, "pods": 220}
    assert found["status"]["allocatedCapacity"] == {"cpu": 200, "memory": 2 * 1024**2}
    assert found["status"]["path"] == "earth/eu"
    assert found["status"]["childLocations"] == ["de"]
    assert conditions.is_true(found, "ClustersReady")
    assert (await locations.get("de"))["status"]["path"] == "earth/eu/de"
    lost, egg = await locations.get("lost"), await locations.get("egg")
    assert (conditions.get(lost, "HierarchyValid") or {})["reason"] == "ParentNotFound"
    assert (conditions.get(egg, "HierarchyValid") or {})["reason"] == "CircularHierarchy"
    await locations.patch("lost", {"spec": {"parent": "earth"}})
    await until(lambda: locations.get("earth"), lambda one: one["status"]["childLocations"] == ["eu", "lost"])


async def test_supported_exports_are_named_in_each_spelling(client: Client) -> None:
    async def synced(name: str, exports: list[Any]) -> list[str]:
        assert (await make(client, SYNC_TARGETS, "SyncTarget", name, {"supportedAPIExports": exports}))["supportedAPIExports"] == exports
        found = await until(
            lambda: client.resource(SYNC_TARGETS).get(name), lambda target: meta.nested(target, "status", "syncedResources")
        )
        return [entry["resource"] for entry in found["status"]["syncedResources"]]

    every = await synced("objects", [{"path": "root:compute", "export": "kubernetes"}])
    assert await synced("name", ["kubernetes"]) == every
    assert await synced("path", ["root:compute/kubernetes"]) == every
    assert await synced("tutorial", ["export.apiresource.kcp.io/workload.kcp.io"]) == every
    one = {"workspace": "root:compute", "export": "kubernetes", "resource": "apps/v1/deployments"}
    assert await synced("one", [one]) == ["deployments"]


@pytest.mark.parametrize("entry", [7, "", "root:compute/", {}, {"export": ""}, {"export": "kubernetes", "resources": "deployments"}])
async def test_an_export_that_is_not_named_is_refused(client: Client, entry: object) -> None:
    with pytest.raises(Invalid, match=r"spec.supportedAPIExports\[0\]"):
        await make(client, SYNC_TARGETS, "SyncTarget", "t", {"supportedAPIExports": [entry]})


async def test_a_cluster_serves_workspaces_by_their_labels(server: KcpServer, client: Client) -> None:
    served: dict[str, list[dict[str, Any]]] = {
        "prod": [{"name": "w", "selector": {"matchLabels": {"tier": "prod"}}}],
        "test": [{"selector": {"matchLabels": {"tier": "test"}}}],
        "other": [{"name": "else", "selector": {"matchLabels": {"tier": "prod"}}}, {"name": "nobody"}],
    }
    for name, entries in served.items():
        await make(client, SYNC_TARGETS, "SyncTarget", name, {"workspaces": entries})
        await report(client, name)
    refused = dict.fromkeys(served, "WorkspaceNotServed")
    await place(client)
    await decided(client, refused)
    workspaces = server.client.cluster("root").resource(kinds.WORKSPACES)
    await workspaces.patch("w", {"metadata": {"labels": {"tier": "prod"}}})
    found = await decided(client, {**refused, "prod": "Selected"})
    told = {d["syncTarget"]: d["message"] for d in found["status"]["decisions"]}
    assert told["test"] == "serves only the workspaces * with labels tier=test"
    await workspaces.patch("w", {"metadata": {"labels": {"tier": "test"}}})
    await decided(client, {**refused, "test": "Selected"})
    wrong = {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}
    with pytest.raises(Invalid, match="operator"):
        await make(client, SYNC_TARGETS, "SyncTarget", "wrong", {"workspaces": [wrong]})
