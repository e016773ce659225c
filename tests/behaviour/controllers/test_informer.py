"""The promises of Informer, each against a real server: list, follow, breaks, expiry, indexes, handlers, memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.behaviour.controllers.world import CONFIG_MAPS, PODS, World, make_world
from tests.faults import BreakableTransport

from kcp.aio.clock import settle
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.controller.factory import InformerFactory, without_managed_fields
from kcp.controller.informer import Informer


class Heard:
    """What a handler was told: `+name`, `~name`, `-name`."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def __call__(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        assert old is not None or new is not None
        self.changes.append(f"{'+' if old is None else '-' if new is None else '~'}{key.name}")

    def take(self) -> list[str]:
        taken, self.changes = self.changes, []
        return taken


@asynccontextmanager
async def mirrored(world: World, transport: BreakableTransport | None = None, **options: Any) -> AsyncIterator[Informer]:
    informer = Informer(world.client(transport), CONFIG_MAPS, clock=world.clock, **options)
    async with Supervisor("informer") as tasks:
        tasks.spawn(informer.run(), name="informer")
        await informer.wait_synced()
        await settle()
        yield informer


def key(cluster: str, name: str, namespace: str = "default") -> ObjectKey:
    return ObjectKey(ClusterName(cluster), namespace, name)


async def put(world: World, cluster: str, name: str, value: str = "1", **metadata: Any) -> JSONObject:
    return await world.create(CONFIG_MAPS, name, cluster=cluster, namespace="default", data={"value": value}, **metadata)


async def test_mirror_holds_what_there_was_and_follows(world: World) -> None:
    for cluster in world.clusters():
        await put(world, cluster, "a")
    async with mirrored(world) as informer:
        assert informer.keys() == [key(cluster, "a") for cluster in world.clusters()]
        for cluster in world.clusters():
            maps = world.of(cluster).resource(CONFIG_MAPS)
            await put(world, cluster, "b")
            await maps.patch("a", {"data": {"value": "2"}}, namespace="default")
            await settle()
            held = informer.get(key(cluster, "a"))
            assert held == await maps.get("a", namespace="default")
            await maps.delete("b", namespace="default")
            await settle()
            assert key(cluster, "b") not in informer
            assert informer.get(key(cluster, "b")) is None


async def test_first_list_is_paged(world: World) -> None:
    for number in range(1100):
        await put(world, "one", f"m{number:04}")
    transport = BreakableTransport(world.transport())
    async with mirrored(world, transport) as informer:
        assert len(informer) == 1100
        lists = [request for request in transport.requests if "watch" not in request.query]
        assert [request.query.get("limit") for request in lists] == ["500"] * 3


async def test_handlers_hear_changes_in_order_and_late_ones_hear_what_is_there(world: World) -> None:
    await put(world, "one", "b")
    await put(world, "one", "a")
    async with mirrored(world) as informer:
        early, late = Heard(), Heard()
        informer.add_handler(early)
        assert early.take() == ["+a", "+b"]
        maps = world.of("one").resource(CONFIG_MAPS)
        await put(world, "one", "c")
        await maps.patch("a", {"data": {"value": "2"}}, namespace="default")
        await maps.delete("b", namespace="default")
        await settle()
        assert early.take() == ["+c", "~a", "-b"]
        informer.add_handler(late)
        assert late.take() == ["+a", "+c"]
        informer.remove_handler(late)
        await put(world, "one", "d")
        await settle()
        assert (early.take(), late.take()) == (["+d"], [])


async def test_handler_finds_mirror_and_indexes_already_changed(world: World) -> None:
    async with mirrored(world, indexers={"value": lambda obj: [obj["data"]["value"]]}) as informer:
        seen: list[tuple[bool, list[ObjectKey]]] = []
        informer.add_handler(lambda key, old, new: seen.append((key in informer, informer.index_keys("value", "7"))))  # noqa: ARG005
        await put(world, world.clusters()[0], "a", "7")
        await settle()
        await world.of("one").resource(CONFIG_MAPS).delete("a", namespace="default")
        await settle()
        assert seen == [(True, [key(world.clusters()[0], "a")]), (False, [])]


async def test_broken_connection_is_taken_up_again_where_it_ended(world: World) -> None:
    transport = BreakableTransport(world.transport())
    cluster = world.clusters()[0]
    await put(world, cluster, "a")
    async with mirrored(world, transport) as informer:
        heard = Heard()
        informer.add_handler(heard)
        heard.take()
        transport.cut()
        await put(world, cluster, "b")
        await world.of(cluster).resource(CONFIG_MAPS).delete("a", namespace="default")
        await world.clock.advance(30.0)
        assert (informer.keys(), heard.take()) == ([key(cluster, "a")], [])  # unreachable deletes nothing
        transport.mend()
        await world.clock.advance(60.0)
        assert (informer.keys(), heard.take()) == ([key(cluster, "b")], ["+b", "-a"])
        assert informer.statistics()["lists"] == 1


async def test_hurry_ends_the_pause_after_a_long_break(world: World) -> None:
    transport = BreakableTransport(world.transport())
    cluster = world.clusters()[0]
    async with mirrored(world, transport) as informer:
        transport.cut()
        await world.clock.advance(300.0)
        await put(world, cluster, "a")
        transport.mend()
        await world.clock.advance(0.1)
        assert len(informer) == 0, "it waits for its next try"
        informer.hurry()
        await settle()
        assert informer.keys() == [key(cluster, "a")]


async def test_every_break_of_a_steady_watch_starts_from_the_shortest_pause(world: World) -> None:
    transport = BreakableTransport(world.transport())
    cluster = world.clusters()[0]
    async with mirrored(world, transport) as informer:
        for number in range(8):
            await world.clock.advance(2.0)
            transport.cut()
            await put(world, cluster, f"m{number}")
            await settle()
            transport.mend()
            await world.clock.advance(0.35)
            assert len(informer) == number + 1


async def test_expired_version_makes_a_new_list_that_tells_the_differences_only() -> None:
    async with make_world(has_workspaces=False, history_events=5) as world:
        transport = BreakableTransport(world.transport())
        for name in "abc":
            await put(world, "", name)
        async with mirrored(world, transport) as informer:
            heard = Heard()
            informer.add_handler(heard)
            heard.take()
            transport.cut()
            maps = world.of("").resource(CONFIG_MAPS)
            await maps.delete("a", namespace="default")
            await maps.patch("b", {"data": {"value": "2"}}, namespace="default")
            for number in range(20):
                await put(world, "", f"m{number}")
                await maps.delete(f"m{number}", namespace="default")
            await put(world, "", "d")
            transport.mend()
            await world.clock.advance(60.0)
            assert sorted(heard.take()) == ["+d", "-a", "~b"]
            assert informer.statistics()["lists"] == 2
            await put(world, "", "e")
            await settle()
            assert heard.take() == ["+e"]


async def test_quiet_watch_is_renewed_without_listing(world: World) -> None:
    async with mirrored(world) as informer:
        await world.clock.advance(3600.0)
        counts = informer.statistics()
        assert counts["watches"] > 5
        assert (counts["lists"], counts["breaks"]) == (1, 0)
        await put(world, world.clusters()[0], "a")
        await settle()
        assert len(informer) == 1


async def test_bookmarks_move_the_version_of_an_idle_informer(world: World) -> None:
    async with mirrored(world) as informer:
        before = informer.resource_version
        await world.create(PODS, "elsewhere", cluster="one", namespace="default")
        await world.clock.advance(120.0)
        assert informer.resource_version != before


async def test_reads_give_fresh_objects(world: World) -> None:
    cluster = world.clusters()[0]
    await put(world, cluster, "a")
    async with mirrored(world) as informer:
        for obj in (informer.get(key(cluster, "a")), informer.list()[0]):
            assert obj is not None
            obj["data"]["value"] = "changed"
        for again in (informer.get(key(cluster, "a")), informer.list()[0]):
            assert again is not None
            assert again["data"]["value"] == "1"


async def test_peeking_gives_one_object_until_there_is_a_newer_one(world: World) -> None:
    cluster = world.clusters()[0]
    await put(world, cluster, "a")
    async with mirrored(world) as informer:
        first = informer.peek(key(cluster, "a"))
        assert first == informer.get(key(cluster, "a"))
        for number in range(70):  # more than are kept: only forgotten, never mixed up
            await put(world, cluster, f"other-{number}")
        await settle()
        assert informer.peek(key(cluster, "a")) is first
        for number in range(70):
            assert informer.peek(key(cluster, f"other-{number}")) == informer.get(key(cluster, f"other-{number}"))
        await world.of(cluster).resource(CONFIG_MAPS).patch("a", {"data": {"value": "2"}}, namespace="default")
        await settle()
        assert informer.peek(key(cluster, "a")) == informer.get(key(cluster, "a")) != first
        await world.of(cluster).resource(CONFIG_MAPS).delete("a", namespace="default")
        await settle()
        assert informer.peek(key(cluster, "a")) is None


async def test_selection_by_cluster_namespace_label_and_index(kcp_world: World) -> None:
    world = kcp_world
    for cluster in ("one", "two"):
        for namespace in ("x", "y"):
            await world.create(CONFIG_MAPS, "m", cluster=cluster, namespace=namespace, data={"value": namespace}, labels={"in": cluster})
    async with mirrored(world, indexers={"value": lambda obj: [obj["data"]["value"]]}) as informer:
        assert informer.keys(cluster=ClusterName("one")) == [key("one", "m", "x"), key("one", "m", "y")]
        assert informer.keys(namespace="y") == [key("one", "m", "y"), key("two", "m", "y")]
        assert informer.keys(cluster=ClusterName("two"), namespace="x") == [key("two", "m", "x")]
        assert informer.keys(cluster=ClusterName("gone")) == []
        assert [meta.key(obj) for obj in informer.by_index("value", "x")] == [key("one", "m", "x"), key("two", "m", "x")]
        found = informer.list(selector=LabelSelector.parse("in=two"), namespace="x")
        assert [meta.key(obj) for obj in found] == [key("two", "m", "x")]
        assert informer.clusters() == ["one", "two"]
        await world.of("two").resource(CONFIG_MAPS).delete_collection(namespace="x")
        await world.of("two").resource(CONFIG_MAPS).delete_collection(namespace="y")
        await settle()
        assert informer.clusters() == ["one"]
        assert informer.index_keys("value", "x") == [key("one", "m", "x")]


async def test_metadata_only_mirror_keeps_no_data(world: World) -> None:
    cluster = world.clusters()[0]
    await put(world, cluster, "a", labels={"x": "y"})
    async with mirrored(world, metadata_only=True) as informer:
        await put(world, cluster, "b")
        await settle()
        for name in "ab":
            held = informer.get(key(cluster, name))
            assert held is not None
            assert sorted(held) == ["apiVersion", "kind", "metadata"]
            assert held["metadata"]["uid"]


async def test_selectors_narrow_the_mirror_and_leaving_them_is_a_deletion(world: World) -> None:
    cluster = world.clusters()[0]
    await put(world, cluster, "a", labels={"app": "web"})
    await put(world, cluster, "b")
    async with mirrored(world, label_selector="app=web") as informer:
        assert informer.keys() == [key(cluster, "a")]
        await world.of(cluster).resource(CONFIG_MAPS).patch("a", {"metadata": {"labels": {"app": "db"}}}, namespace="default")
        await settle()
        assert informer.keys() == []


async def test_unknown_resource_keeps_trying_until_it_is_served(world: World) -> None:
    served = world.served.by_gvr.pop(CONFIG_MAPS)
    informer = Informer(world.client(), CONFIG_MAPS, clock=world.clock)
    async with Supervisor("informer") as tasks:
        tasks.spawn(informer.run(), name="informer")
        await world.clock.advance(60.0)
        assert informer.resource_version == ""
        world.served.by_gvr[CONFIG_MAPS] = served
        await put(world, "one", "a")
        await world.clock.advance(60.0)
        assert informer.has_synced
        assert len(informer) == 1


async def test_factory_shares_informers_and_starts_those_asked_for_later(world: World) -> None:
    factory = InformerFactory(world.client(), clock=world.clock)
    first = factory.informer(CONFIG_MAPS)
    assert factory.informer(CONFIG_MAPS, indexers={"name": lambda obj: [meta.name(obj)]}) is first
    assert factory.informer(CONFIG_MAPS, metadata_only=True) is not first
    await put(world, world.clusters()[0], "a")
    async with Supervisor("informers") as tasks:
        factory.run_all(tasks)
        later = factory.informer(PODS)
        await factory.wait_all_synced()
        assert later.has_synced
        assert len(first.by_index("name", "a")) == 1
        assert factory.statistics()["informers"] == 3
        with pytest.raises(KeyError):
            first.by_index("missing", "a")


async def test_a_factory_runs_each_informer_once_however_often_all_are_started(world: World) -> None:
    factory = InformerFactory(world.client(), clock=world.clock)
    factory.informer(CONFIG_MAPS)
    async with Supervisor("informers") as tasks:
        factory.run_all(tasks)
        factory.informer(PODS)
        async with Supervisor("leading") as leading:
            factory.run_all(leading)
            assert sorted(_running()) == [f"informer {CONFIG_MAPS}", f"informer {PODS}"]
        assert len(_running()) == 2


def _running() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("informer ")]


async def test_a_factory_may_keep_less_of_every_object_and_writes_still_know_all_of_it(world: World) -> None:
    cluster = world.clusters()[0]
    made = await put(world, cluster, "a")
    assert made["metadata"]["managedFields"]
    factory = InformerFactory(world.client(), clock=world.clock, transform=without_managed_fields)
    informer = factory.informer(CONFIG_MAPS)
    async with Supervisor("informers") as tasks:
        factory.run_all(tasks)
        await factory.wait_all_synced()
        held = informer.get(key(cluster, "a"))
        assert held is not None
        assert "managedFields" not in held["metadata"]
        written = await world.of(cluster).resource(CONFIG_MAPS).update({**held, "data": {"x": "y"}}, field_manager="other")
        assert {entry["manager"] for entry in written["metadata"]["managedFields"]} >= {"other"}
        assert len(written["metadata"]["managedFields"]) > 1
