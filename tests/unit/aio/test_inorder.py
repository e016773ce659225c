"""Turns for work on the same thing: in order, one at a time, other keys unhindered, and nothing kept when nobody works."""

from __future__ import annotations

import asyncio

from kcp.aio.inorder import InOrder


async def test_work_on_a_key_is_done_in_the_order_of_asking() -> None:
    turns, done, at_once = InOrder(), [], 0

    async def work(number: int) -> None:
        nonlocal at_once
        async with turns.turn("a"):
            at_once += 1
            assert at_once == 1
            await asyncio.sleep(0)
            done.append(number)
            at_once -= 1

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(work(number))
    assert done == [0, 1, 2, 3, 4]
    assert len(turns) == 0


async def test_another_key_does_not_wait_and_who_is_cancelled_leaves_the_line() -> None:
    turns = InOrder()
    async with turns.turn("a"):
        waiting = asyncio.ensure_future(turns.turn("a").__aenter__())
        async with turns.turn("b"):
            assert len(turns) == 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(turns) == 1
    assert len(turns) == 0
