"""After a start everything that is stored wants to be looked at: long lists and many keys leave turns to what happens now."""

from __future__ import annotations

import asyncio

import pytest
from tests.behaviour.controllers.world import CONFIG_MAPS, World

from kcp.aio.clock import settle
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.keys import ObjectKey
from kcp.client.transport import RawRequest, RawResponse
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer


async def fill(world: World, number: int) -> None:
    for place in range(number):
        await world.create(CONFIG_MAPS, f"old-{place:03}", cluster=world.clusters()[0], namespace="default")


async def test_what_happens_goes_before_what_was_there(world: World) -> None:
    await fill(world, 40)
    seen: list[str] = []

    async def reconcile(key: ObjectKey) -> Result:
        seen.append(key.name)
        return Result()

    informers = InformerFactory(world.client(), clock=world.clock)
    objects = informers.informer(CONFIG_MAPS)
    controller: Controller = Controller("test", reconcile, clock=world.clock, workers=1)
    async with Supervisor("test") as tasks:
        informers.run_all(tasks)
        await informers.wait_all_synced()
        controller.watch(objects)  # hears of the old ones here
        await world.create(CONFIG_MAPS, "new", cluster=world.clusters()[0], namespace="default")
        await settle()
        tasks.spawn(controller.run(), name="controller")
        await controller.wait_idle()
    assert seen[0] == "new"
    assert seen[1:] == [f"old-{place:03}" for place in range(40)]


@pytest.mark.parametrize("is_patient", [False, True])
async def test_a_long_list_gives_turns_to_others(world: World, is_patient: bool) -> None:
    await fill(world, 200)
    informer = Informer(world.client(), CONFIG_MAPS, clock=world.clock, is_patient=is_patient)
    sizes = set()
    async with Supervisor("test") as tasks:
        tasks.spawn(informer.run(), name="informer")
        while not informer.has_synced:
            await asyncio.sleep(0)
            sizes.add(len(informer))
    assert len(sizes - {0, 200}) >= 3


@pytest.mark.parametrize(("is_patient", "pages"), [(False, 1), (True, 3)])
async def test_a_list_that_nobody_waits_for_comes_in_small_pages(
    world: World, monkeypatch: pytest.MonkeyPatch, is_patient: bool, pages: int
) -> None:
    """A page is decoded in one turn of the loop, and everybody else waits as long."""
    await fill(world, 250)
    transport = world.transport()
    asked, send = list[str](), transport.request

    async def counted(request: RawRequest) -> RawResponse:
        asked.append(request.path)
        return await send(request)

    monkeypatch.setattr(transport, "request", counted)
    informer = Informer(world.client(transport), CONFIG_MAPS, clock=world.clock, is_patient=is_patient)
    async with Supervisor("test") as tasks:
        tasks.spawn(informer.run(), name="informer")
        await informer.wait_synced()
    assert len(informer) == 250
    assert len(asked) == pages


async def test_the_factory_tells_what_has_not_been_listed(world: World) -> None:
    informers = InformerFactory(world.client(), clock=world.clock)
    informers.informer(CONFIG_MAPS)
    assert informers.to_come() == "1 informers not started yet: configmaps.v1.core"
    async with Supervisor("test") as tasks:
        informers.run_all(tasks)
        await informers.wait_all_synced()
        assert informers.to_come() == ""
