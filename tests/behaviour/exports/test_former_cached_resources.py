"""CachedResources, as kcp 0.28 to 0.31 called ClusterCachedResources: their slices are made for them and name no export.

Source: kcp 0.31 test/e2e/virtualresources/cachedresources, test/e2e/virtual/replication, test/e2e/reconciler/cachedresourceendpointslice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.behaviour.exports.market import Market
from tests.behaviour.exports.sheriffs import NAME, SHERIFFS, cache, cached, cluster_of, define, open_all, open_market, sheriff, slice_of

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Expired, Forbidden, MethodNotAllowed
from kcp.client.rest import Client
from kcp.exports.cached.names import CURRENT, FORMER
from kcp.exports.names import BINDINGS
from kcp.registry.backend import UserInfo
from kcp.server.compose import SYSTEM

EVE = UserInfo("eve", ("system:authenticated",))


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path / ".kcp") as made:
        yield made


async def test_consumers_read_the_provider_s_objects(market: Market) -> None:
    await open_all(market, "one", "two", kinds=FORMER)
    await market.at("provider").resource(SHERIFFS).create(sheriff("sheriffs-1"))
    for consumer in ("one", "two"):
        for client in (market.at(consumer), market.view(consumer, export="sheriffs")):
            shown = await client.resource(SHERIFFS).get("sheriffs-1")
            assert meta.cluster(shown) == await cluster_of(market, consumer)
    with pytest.raises(MethodNotAllowed):
        await market.at("one").resource(SHERIFFS).create(sheriff("mine"))


async def test_all_consumers_can_be_asked_at_once(market: Market) -> None:
    """Each has the objects, under its own name."""
    await open_all(market, "one", "two", kinds=FORMER)
    ones = [await cluster_of(market, consumer) for consumer in ("one", "two")]
    everywhere = market.view("*", export="sheriffs").resource(SHERIFFS)
    start = await everywhere.list()
    assert not start.items
    async with asyncio.timeout(10), aclosing(everywhere.watch(resource_version=start.resource_version)) as events:
        await market.at("provider").resource(SHERIFFS).create(sheriff("sheriffs-1"))
        seen = [await anext(events), await anext(events)]
        assert [(event.type, meta.cluster(event.object)) for event in seen] == [("ADDED", cluster) for cluster in sorted(ones)]
        await market.workspace("three")
        await market.bind("three", export="sheriffs")
        await market.at("provider").resource(SHERIFFS).create(sheriff("sheriffs-2"))
        with pytest.raises(Expired, match="other workspaces bind it"):
            await anext(events)
    listed = (await everywhere.list()).items
    three = await cluster_of(market, "three")
    assert sorted((meta.cluster(obj), meta.name(obj)) for obj in listed) == sorted(
        (cluster, name) for cluster in (*ones, three) for name in ("sheriffs-1", "sheriffs-2")
    )


async def test_every_one_has_a_slice_of_its_name_unless_it_says_otherwise(market: Market) -> None:
    await define(market)
    held = await cache(market, FORMER)
    slices = market.at("provider").resource(FORMER.slices)
    made = await market.until(slices, NAME, lambda s: conditions.is_true(s, "ResourceValid"), "the slice")
    assert made["spec"]["cachedResource"] == {"path": await cluster_of(market, "provider"), "name": NAME}
    assert [(o["kind"], o["uid"]) for o in made["metadata"]["ownerReferences"]] == [("CachedResource", meta.uid(held))]
    await market.workspace("other")
    await define(market, "other")
    plain = cached(FORMER)
    plain["metadata"]["annotations"] = {"cachedresources.cache.kcp.io/skip-endpointslice": ""}
    resources = market.at("other").resource(FORMER.resources)
    await resources.create(plain)
    await market.until(resources, NAME, lambda c: conditions.is_true(c, "ReplicationStarted"), "the cached resource")
    assert not (await market.at("other").resource(FORMER.slices).list()).items


async def test_slices_of_any_name_and_workspace_list_where_consumers_are_served(market: Market) -> None:
    await open_all(market, kinds=FORMER)
    provider = await cluster_of(market, "provider")
    slices = market.at("provider").resource(FORMER.slices)
    await slices.create(slice_of(name="another", kinds=FORMER))
    await market.workspace("one")
    far = market.at("one").resource(FORMER.slices)
    await far.create(slice_of("root:provider", name="far", kinds=FORMER))
    assert not (await slices.get(NAME))["status"].get("endpoints")
    await market.bind("one", export="sheriffs")
    for held, name in ((slices, NAME), (slices, "another"), (far, "far")):
        found = await market.until(held, name, lambda s: bool(s["status"].get("endpoints")), "endpoints")
        assert found["status"]["endpoints"][0]["url"].endswith(f"/services/replication/{provider}/{NAME}")
    await market.at("one").resource(BINDINGS).delete("sheriffs")
    await market.until(slices, NAME, lambda s: not s["status"].get("endpoints"), "no endpoints")


async def test_a_slice_of_nothing_says_so(market: Market) -> None:
    slices = market.at("provider").resource(FORMER.slices)
    await slices.create(slice_of(of="nothing", name="lost", kinds=FORMER))
    held = await market.until(slices, "lost", lambda s: conditions.get(s, "ResourceValid") is not None, "the condition")
    condition = conditions.get(held, "ResourceValid") or {}
    assert (condition["status"], condition["reason"]) == ("False", "CachedResourceNotFound")


async def test_the_virtual_workspace_is_named_after_the_cached_resource(market: Market) -> None:
    await open_all(market, "one", kinds=FORMER)
    await market.at("provider").resource(SHERIFFS).create(sheriff("sheriffs-1"))
    provider, one = await cluster_of(market, "provider"), await cluster_of(market, "one")

    def view(user: UserInfo, cluster: str) -> Client:
        return market.as_user(user).at(f"/services/replication/{provider}/{NAME}/clusters/{cluster}")

    assert meta.cluster(await view(SYSTEM, one).resource(SHERIFFS).get("sheriffs-1")) == one
    with pytest.raises(Forbidden):
        await view(EVE, one).resource(SHERIFFS).get("sheriffs-1")
    with pytest.raises(Forbidden, match="could not find suitable APIBinding"):
        await view(SYSTEM, provider).resource(SHERIFFS).list()


async def test_both_kinds_may_stand_side_by_side(market: Market) -> None:
    """As while a provider goes over from one to the other."""
    await open_all(market, "one", kinds=FORMER)
    assert (await cache(market, CURRENT))["status"]["identityHash"]
    await market.at("provider").resource(SHERIFFS).create(sheriff("sheriffs-1"))
    assert (await market.at("one").resource(SHERIFFS).list()).items
