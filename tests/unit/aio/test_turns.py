"""Turns of the event loop: one each, in order, whoever gives up in between."""

import asyncio

import pytest

from kcp.aio.clock import settle
from kcp.aio.turns import take_turn


async def test_everybody_gets_a_turn_of_its_own_in_order() -> None:
    seen: list[str] = []

    async def step(name: str) -> None:
        await take_turn()
        seen.append(name)

    async def count_turns() -> None:
        for number in range(6):
            seen.append(str(number))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(step(name))
        group.create_task(count_turns())
    letters = [name for name in seen if name.isalpha()]
    assert letters == ["a", "b", "c"]
    places = [seen.index(name) for name in letters]
    assert all(later - earlier > 1 for earlier, later in zip(places, places[1:], strict=False))  # others came by in between


async def test_one_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    waiting = [asyncio.ensure_future(take_turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await settle()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert waiting[1].cancelled()
    assert waiting[2].done()


async def test_turns_go_on_after_a_rest() -> None:
    await take_turn()
    await settle()
    await asyncio.wait_for(take_turn(), 1.0)
