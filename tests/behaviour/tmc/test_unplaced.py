"""Who deploys into a namespace that no cluster can take reads why on the Deployment itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.tmc.test_placement_semantics import place, running, sync_target, until, workspace

from kcp.apimachinery import conditions
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.server.compose import KcpServer
from kcp.tmc.model.kinds import PLACEMENTS

DEPLOYMENTS = GVR("apps", "v1", "deployments")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def team(server: KcpServer) -> Client:
    return await workspace(server, "root", "team")


async def deploy(client: Client) -> None:
    labels = {"app": "shop"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": spec}
    await client.resource(DEPLOYMENTS).create(obj, namespace="default")


async def synced(client: Client) -> JSONObject:
    return dict(conditions.get(await client.resource(DEPLOYMENTS).get("shop", namespace="default"), "Synced") or {})


async def test_the_reason_of_each_placement_stands_on_the_deployment_and_follows_what_changes(team: Client) -> None:
    await sync_target(team, "east", region="eu")
    await place(team, locationSelectors=[{"matchLabels": {"region": "us"}}])
    await deploy(team)
    told = await until(lambda: synced(team), lambda c: bool(c) and "not decided" not in c["message"])
    assert (told["status"], told["reason"]) == ("False", "NotPlaced")
    assert told["message"].startswith("No available sync targets: placement p: ")
    await team.resource(PLACEMENTS).patch("p", {"spec": {"locationSelectors": [{"matchLabels": {"region": "eu"}}]}})
    await until(lambda: synced(team), lambda c: c.get("reason") == "NotReported")


async def test_where_no_placement_wants_it_nothing_is_said(team: Client) -> None:
    await deploy(team)
    await sync_target(team, "east")
    assert await synced(team) == {}
