"""The example operator against a whole server in process: endpoints that come and go, and its reconciler under virtual time."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from tests.behaviour.exports.market import PROVIDER, WIDGETS, Market

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.endpoints import ENDPOINT_SLICES, EndpointFollower, endpoint_urls, view_of
from kcp.controller.factory import InformerFactory
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy.waiting import wait_for

EXAMPLE = Path(__file__).parents[3] / "examples" / "03-operator"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def widgets() -> ModuleType:
    """The example, as Python runs it."""
    spec = importlib.util.spec_from_file_location("example_operator", EXAMPLE / "widgets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class Served:
    """What stands for the work at an endpoint: it notes that it began and ended."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.changed = asyncio.Event()

    async def __call__(self, url: str) -> None:
        self.now.append(url)
        self.changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.now.remove(url)
            self.changed.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.now) != number:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def following(market: Market) -> AsyncIterator[Served]:
    provider, clock = market.at("provider", PROVIDER), SystemClock()
    informers, served = InformerFactory(provider, clock=clock), Served()
    slices = informers.informer(ENDPOINT_SLICES, field_selector="metadata.name=widgets")
    async with Supervisor("test") as tasks:
        informers.run_all(tasks)
        tasks.spawn(EndpointFollower(slices, "widgets", served, clock=clock).run(), name="follower")
        yield served


async def test_an_endpoint_is_served_from_the_first_consumer_until_the_last(market: Market) -> None:
    await market.export()
    async with following(market) as served:
        await market.workspace("one")
        await market.bind("one")
        await served.until(1)
        assert served.now[0].endswith(f"/services/apiexport/{market.provider_name}/widgets")
        await market.at("one").resource(BINDINGS).delete("widgets")
        await served.until(0)


async def test_what_serves_is_ended_with_the_follower(market: Market) -> None:
    await market.export()
    await market.workspace("one")
    await market.bind("one")
    async with following(market) as served:
        await served.until(1)
    assert served.now == []


def documents(name: str) -> list[JSONObject]:
    return [doc for doc in yaml.safe_load_all((EXAMPLE / name).read_text()) if doc]


async def publish(market: Market) -> Client:
    """The provider of the example. Returns its client."""
    provider = await market.workspace("widgets-provider")
    schema, export = documents("export.yaml")
    await provider.resource(SCHEMAS).create(schema)
    await provider.resource(EXPORTS).create(export)
    return provider


async def consume(market: Market, name: str) -> Client:
    consumer = await market.workspace(name)
    await consumer.resource(BINDINGS).create(documents("consumer.yaml")[0])
    await wait_for(consumer.resource(BINDINGS), "widgets", is_bound, timeout_s=PATIENCE_S, what="the binding")
    await consumer.resource(WIDGETS).create(documents("widget.yaml")[0])
    return consumer


def is_bound(binding: JSONObject) -> bool:
    return bool(meta.nested(binding, "status", "phase") == "Bound")


async def test_the_operator_serves_every_consumer_through_the_view(market: Market, widgets: ModuleType) -> None:
    provider = await publish(market)
    async with Supervisor("test") as tasks:
        tasks.spawn(widgets.operate(provider, "widgets", SystemClock()), name="operator")
        for name in ("one", "two"):
            objects = (await consume(market, name)).resource(WIDGETS)
            done = await wait_for(objects, "door", lambda w: "status" in w, timeout_s=PATIENCE_S, what=f"status in {name}")
            assert done["status"] == {"area": 6}


async def test_it_converges_from_nothing_and_then_writes_nothing(tmp_path: Path, widgets: ModuleType) -> None:
    """As docs/controllers.md advises: the real server in process, under virtual time."""
    clock = VirtualClock()
    async with run_server(Options(root_directory=tmp_path, in_memory=True), clock=clock, with_socket=False) as server:
        market = Market(server)
        provider = await publish(market)
        consumer = await consume(market, "one")
        slices = provider.resource(ENDPOINT_SLICES)
        found = await wait_for(slices, "widgets", lambda s: bool(endpoint_urls(s)), timeout_s=PATIENCE_S, what="the endpoint")
        view = view_of(server.client, endpoint_urls(found)[0])
        informers = InformerFactory(view, clock=clock)
        controller = widgets.build(informers, view.cluster, clock)
        async with Supervisor("test") as tasks:
            informers.run_all(tasks)
            tasks.spawn(controller.run(), name="operator")
            await informers.wait_all_synced()
            await clock.advance(1.0)
            await controller.wait_idle()
            door = await consumer.resource(WIDGETS).get("door", namespace="default")
            assert door["status"] == {"area": 6}
            controller.enqueue(meta.key(door))
            await controller.wait_idle()
            assert await consumer.resource(WIDGETS).get("door", namespace="default") == door
            assert controller.statistics()["error"] == 0
