"""The schemas that a workspace binds, through the virtual workspace `apiresourceschema`.

Source: kcp test/e2e/virtual/apiresourceschema/virtualworkspace_test.go.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import orjson
import pytest
from tests.behaviour.exports.market import Market, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest
from kcp.exports.names import BINDINGS, SCHEMAS
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import LOGICAL_CLUSTERS

EVE = UserInfo("eve", ("system:authenticated",))
MASTER = UserInfo("shard-admin", ("system:masters",))
READ_BINDINGS = [{"apiGroups": ["apis.kcp.io"], "resources": ["apibindings"], "verbs": ["get"]}]


@pytest.fixture
async def consumer(market: Market) -> str:
    """The cluster of a workspace that binds widgets; EVE may read its bindings and nothing else anywhere."""
    await market.export()
    inside = await market.workspace("consumer")
    await market.bind("consumer")
    await market.grant("consumer", "eve", READ_BINDINGS)
    return meta.cluster(await inside.resource(LOGICAL_CLUSTERS).get("cluster"))


def view(market: Market, consumer: str, cluster: str = "*", user: UserInfo = EVE) -> Client:
    return market.as_user(user).at(f"/services/apiresourceschema/{consumer}/clusters/{cluster}")


async def test_the_schemas_of_all_bindings_are_seen_wherever_they_are(market: Market, consumer: str) -> None:
    unbound = named(SCHEMAS, "APIResourceSchema", "v2.widgets.example.com")
    held = await market.at("provider").resource(SCHEMAS).get("v1.widgets.example.com")
    await market.at("provider").resource(SCHEMAS).create({**unbound, "spec": held["spec"]})
    for cluster in ("*", consumer, "root"):
        schemas = view(market, consumer, cluster).resource(SCHEMAS)
        found = {meta.name(obj): meta.cluster(obj) for obj in (await schemas.list()).items}
        assert found["v1.widgets.example.com"] == market.provider_name
        assert "v2.widgets.example.com" not in found
        assert any(name.endswith(".workspaces.tenancy.kcp.io") for name in found), "those of the default bindings"
        assert (await schemas.get("v1.widgets.example.com"))["spec"] == held["spec"]
        for name in ("v2.widgets.example.com", "none"):
            with pytest.raises(NotFound):
                await schemas.get(name)


async def test_they_are_for_who_may_read_the_bindings(market: Market, consumer: str) -> None:
    with pytest.raises(Forbidden):
        await market.as_user(EVE).cluster("root:provider").resource(SCHEMAS).list()
    for user, of in ((UserInfo("joe", ("system:authenticated",)), consumer), (EVE, market.provider_name), (EVE, "none")):
        with pytest.raises(Forbidden, match='cannot get resource "apibindings"'):
            await view(market, of, user=user).resource(SCHEMAS).list()
    with pytest.raises(NotFound):
        await view(market, "*", user=MASTER).resource(SCHEMAS).list()


async def test_nothing_is_written(market: Market, consumer: str) -> None:
    schemas = view(market, consumer, user=MASTER).resource(SCHEMAS)
    for attempt in (
        schemas.create(named(SCHEMAS, "APIResourceSchema", "x", {})),
        schemas.patch("v1.widgets.example.com", {"metadata": {"labels": {"a": "b"}}}),
        schemas.delete("v1.widgets.example.com"),
    ):
        with pytest.raises(Forbidden, match="only read-only access is allowed"):
            await attempt


async def test_discovery_has_one_resource_to_read(market: Market, consumer: str) -> None:
    path = f"/services/apiresourceschema/{consumer}/clusters/*/apis/apis.kcp.io/v1alpha1"
    answer = await AsgiTransport(market.server.app, EVE).request(RawRequest("GET", path))
    found = orjson.loads(answer.body)["resources"]
    assert [(r["name"], sorted(r["verbs"])) for r in found] == [("apiresourceschemas", ["get", "list", "watch"])]


async def test_a_watch_shows_what_becomes_of_them(market: Market, consumer: str) -> None:
    schemas = view(market, consumer).resource(SCHEMAS)
    start = (await schemas.list()).resource_version
    await market.at("provider").resource(SCHEMAS).patch("v1.widgets.example.com", {"metadata": {"labels": {"seen": "yes"}}})
    async with asyncio.timeout(10), aclosing(schemas.watch(resource_version=start)) as events:
        event = await anext(events)
    assert (event.type, meta.name(event.object)) == ("MODIFIED", "v1.widgets.example.com")


async def test_they_go_with_the_binding(market: Market, consumer: str) -> None:
    await market.at("consumer").resource(BINDINGS).delete("widgets")
    with pytest.raises(NotFound):
        await market.until(market.at("consumer").resource(BINDINGS), "widgets", lambda b: False, "the binding's end")
    with pytest.raises(NotFound):
        await view(market, consumer).resource(SCHEMAS).get("v1.widgets.example.com")
