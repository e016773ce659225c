"""What the TMC reference says of SyncTargets and Locations beside its own types is taken, has its effect, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import decided, place, report, running, sync_target, until, workspace

from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.tmc.model.kinds import LOCATIONS, SYNC_TARGETS


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with running(tmp_path) as server:
        yield await workspace(server, "root", "w")


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
    await decided(client, {"big": "Kept", "small": "ConstraintNotMet"})


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
