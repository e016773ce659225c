"""A logical cluster marked inactive: closed to everybody, its watches cut, open again when the mark goes; it can be deleted.

Source: kcp test/e2e/workspace/inactive_test.go, pkg/server/filters/inactivelogicalcluster.go.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from tests.behaviour.lifecycle.town import ADA, CONFIG_MAPS, Town, config_map, phase

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import LOGICAL_CLUSTERS, WORKSPACES

MASTER = UserInfo("shard-admin", ("system:masters", "system:authenticated"))
STRANGER = UserInfo("stranger", ("system:authenticated",))
MARK = "core.kcp.io/inactive"


def mark(value: str | None) -> dict[str, object]:
    return {"metadata": {"annotations": {MARK: value}}}


def is_in(expected: str, obj: JSONObject) -> bool:
    return phase(obj) == expected


@pytest.fixture
async def shop(town: Town) -> Client:
    """ADA's workspace."""
    await town.type("shop", extend={"with": [{"name": "universal", "path": "root"}]})
    await town.workspace("shop", "shop")
    return town.at("root:town:shop", user=ADA)


async def test_requests_are_refused_until_the_mark_goes(town: Town, shop: Client) -> None:
    await town.at("root:town:shop").resource(LOGICAL_CLUSTERS).patch("cluster", mark("true"))
    name = meta.cluster(await shop.resource(LOGICAL_CLUSTERS).get("cluster"))
    for user in (ADA, MASTER):
        inside = town.at("root:town:shop", user=user)
        with pytest.raises(Forbidden, match=f'logicalclusters.core.kcp.io "{name}" is forbidden: logical cluster is marked inactive'):
            await inside.resource(CONFIG_MAPS).list()
        with pytest.raises(Forbidden, match="marked inactive"):
            await inside.resource(CONFIG_MAPS).create(config_map("x"))
        with pytest.raises(Forbidden, match="marked inactive"):
            await town.at(name, user=user).resource(CONFIG_MAPS).list()
    answer = await AsgiTransport(town.server.app, ADA).request(RawRequest("GET", "/clusters/root:town:shop/openapi/v3"))
    assert answer.status == 200, "kubectl reads it before it sends a change of the LogicalCluster"
    await shop.resource(LOGICAL_CLUSTERS).patch("cluster", mark(None))
    assert await shop.resource(CONFIG_MAPS).list()


async def test_the_mark_of_kcp_0_31_counts_too(town: Town, shop: Client) -> None:
    """Source: kcp 0.31 test/e2e/workspace/inactive_test.go."""
    clusters = shop.resource(LOGICAL_CLUSTERS)
    await clusters.patch("cluster", {"metadata": {"annotations": {"internal.kcp.io/inactive": "true"}}})
    with pytest.raises(Forbidden, match="marked inactive"):
        await shop.resource(CONFIG_MAPS).list()
    await town.until(clusters, "cluster", partial(is_in, "Inactive"), "Inactive")
    await clusters.patch("cluster", {"metadata": {"annotations": {"internal.kcp.io/inactive": None}}})
    assert await shop.resource(CONFIG_MAPS).list()


async def test_strangers_do_not_learn_of_it(town: Town, shop: Client) -> None:
    await town.at("root:town:shop").resource(LOGICAL_CLUSTERS).patch("cluster", mark("true"))
    with pytest.raises(Forbidden, match="access denied"):
        await town.at("root:town:shop", user=STRANGER).resource(CONFIG_MAPS).list()


async def test_the_phase_says_so(town: Town, shop: Client) -> None:
    clusters, workspaces = town.at("root:town:shop").resource(LOGICAL_CLUSTERS), town.at().resource(WORKSPACES)
    for value, expected in (("true", "Inactive"), (None, "Ready")):
        await clusters.patch("cluster", mark(value))
        await town.until(clusters, "cluster", partial(is_in, expected), expected)
        await town.until(workspaces, "shop", partial(is_in, expected), expected)


async def test_open_watches_are_cut_and_those_of_all_clusters_are_not(town: Town, shop: Client) -> None:
    start = (await shop.resource(CONFIG_MAPS).list()).resource_version
    everywhere = town.server.client.cluster("*").resource(CONFIG_MAPS)
    async with (
        asyncio.timeout(10),
        aclosing(shop.resource(CONFIG_MAPS).watch(resource_version=start)) as own,
        aclosing(everywhere.watch(resource_version=start)) as others,
    ):
        await shop.resource(CONFIG_MAPS).create(config_map("first"), namespace="default")
        assert meta.name((await anext(own)).object) == "first"
        assert meta.name((await anext(others)).object) == "first"
        await town.at("root:town:shop").resource(LOGICAL_CLUSTERS).patch("cluster", mark("true"))
        assert [event async for event in own] == []
        await town.at().resource(CONFIG_MAPS).create(config_map("second"), namespace="default")
        assert meta.name((await anext(others)).object) == "second"


async def test_it_can_be_deleted(town: Town, shop: Client) -> None:
    await shop.resource(CONFIG_MAPS).create(config_map("left"), namespace="default")
    await town.at("root:town:shop").resource(LOGICAL_CLUSTERS).patch("cluster", mark("true"))
    await town.at(user=ADA).resource(WORKSPACES).delete("shop")
    await town.gone(town.at().resource(WORKSPACES), "shop")
