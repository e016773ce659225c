"""The work queue: its four promises, delays under virtual time, draining."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.controller.ratelimit import ExponentialPerKey
from kcp.controller.workqueue import ShutDown, WorkQueue


def make() -> tuple[WorkQueue[str], VirtualClock]:
    clock = VirtualClock()
    return WorkQueue(clock=clock, rate_limiter=ExponentialPerKey()), clock


@contextlib.asynccontextmanager
async def running(*queues: WorkQueue[str]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(queue.run()) for queue in queues]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_key_added_twice_is_taken_once() -> None:
    queue, _ = make()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_keys_come_in_the_order_they_were_added() -> None:
    queue, _ = make()
    for key in "cab":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["c", "a", "b"]


async def test_key_is_never_with_two_workers_and_comes_again_after_done() -> None:
    queue, _ = make()
    queue.add("a")
    await queue.get()
    queue.add("a")
    second = asyncio.ensure_future(queue.get())
    await settle()
    assert not second.done()
    queue.done("a")
    assert await second == "a"


async def test_key_added_many_times_while_processing_comes_again_once() -> None:
    queue, _ = make()
    queue.add("a")
    await queue.get()
    for _ in range(3):
        queue.add("a")
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_shut_down_gives_out_what_is_queued_and_refuses_new_keys() -> None:
    queue, _ = make()
    queue.add("a")
    queue.add("b")
    queue.shut_down()
    queue.add("c")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    with pytest.raises(ShutDown):
        await queue.get()


async def test_shut_down_ends_all_waiting_workers() -> None:
    queue, _ = make()
    waiting = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await settle()
    queue.shut_down()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ShutDown] * 3


async def test_key_dirty_at_shut_down_is_still_given_out_again() -> None:
    queue, _ = make()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.shut_down()
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    await queue.wait_idle()


async def test_cancelled_get_loses_no_key() -> None:
    queue, _ = make()
    waiting = asyncio.ensure_future(queue.get())
    await settle()
    queue.add("a")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await queue.get() == "a"


async def test_background_keys_let_others_pass_and_keep_their_own_order() -> None:
    queue, _ = make()
    for key in "ab":
        queue.add(key, is_background=True)
    for key in "cd":
        queue.add(key)
    async with running(queue):
        assert [await queue.get() for _ in range(4)] == ["c", "d", "a", "b"]


async def test_background_key_that_something_happens_to_is_one_no_longer() -> None:
    queue, _ = make()
    for key in "abc":
        queue.add(key, is_background=True)
    queue.add("b")
    async with running(queue):
        assert [await queue.get() for _ in range(3)] == ["b", "a", "c"]
    assert len(queue) == 0


async def test_key_in_work_that_is_added_in_the_background_comes_again_behind_the_others() -> None:
    queue, _ = make()
    queue.add("a")
    await queue.get()
    queue.add("a", is_background=True)
    queue.add("b")
    queue.done("a")
    async with running(queue):
        assert [await queue.get(), await queue.get()] == ["b", "a"]
        queue.add("a", is_background=True)
        queue.add("a")
        queue.add("c", is_background=True)
        queue.done("a")
        assert [await queue.get(), await queue.get()] == ["a", "c"]


async def test_background_keys_are_not_forgotten_over_endless_others() -> None:
    queue, _ = make()
    queue.add("old", is_background=True)
    async with running(queue):
        queue.add("new-0")
        for number in range(1, 1000):
            queue.add(f"new-{number}")
            await asyncio.sleep(0)
            if (taken := await queue.get()) == "old":
                break
    assert taken == "old"


async def test_background_keys_of_several_queues_take_turns_of_the_loop() -> None:
    queues = [make()[0] for _ in range(3)]
    for queue in queues:
        queue.add("a", is_background=True)
    async with running(*queues):
        ready: list[int] = []
        while len(ready) < 3:
            await asyncio.sleep(0)
            ready += [number for number, queue in enumerate(queues) if not queue.statistics()["background"] and number not in ready]
            assert ready == list(range(len(ready)))


async def test_background_keys_count_and_are_given_out_at_shut_down() -> None:
    queue, _ = make()
    queue.add("a", is_background=True)
    queue.shut_down()
    assert len(queue) == 1
    assert await queue.get() == "a"
    with pytest.raises(ShutDown):
        await queue.get()


async def test_delayed_key_comes_when_it_is_due() -> None:
    queue, clock = make()
    running = asyncio.ensure_future(queue.run())
    queue.add_after("a", 10.0)
    await clock.advance(9.9)
    assert len(queue) == 0
    await clock.advance(0.2)
    assert await queue.get() == "a"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_earliest_of_several_delays_counts_and_the_key_comes_once() -> None:
    queue, clock = make()
    running = asyncio.ensure_future(queue.run())
    queue.add_after("a", 10.0)
    queue.add_after("b", 8.0)
    await settle()
    queue.add_after("a", 1.0)
    queue.add_after("a", 5.0)
    await clock.advance(1.0)
    assert await queue.get() == "a"
    queue.done("a")
    await clock.advance(20.0)
    assert await queue.get() == "b"
    queue.done("b")
    assert len(queue) == 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_failures_back_off_and_forget_starts_afresh() -> None:
    queue, clock = make()
    running = asyncio.ensure_future(queue.run())
    for expected_s in (0.005, 0.01, 0.02):
        queue.add_rate_limited("a")
        await clock.advance(expected_s * 0.9)
        assert len(queue) == 0
        await clock.advance(expected_s * 0.2)
        assert await queue.get() == "a"
        queue.done("a")
    assert queue.failures("a") == 3
    queue.forget("a")
    assert queue.failures("a") == 0
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_hurry_ends_every_delay_and_forgets_failures() -> None:
    queue, clock = make()
    running = asyncio.ensure_future(queue.run())
    for _ in range(12):
        queue.add_rate_limited("failed often")
        queue.add("failed often")
        await queue.get()
        queue.done("failed often")
    queue.add_rate_limited("failed often")
    queue.add_after("later", 600.0)
    await settle()
    assert len(queue) == 0
    queue.hurry()
    assert sorted([await queue.get(), await queue.get()]) == ["failed often", "later"]
    assert queue.failures("failed often") == 0
    queue.done("later")
    queue.add_after("later", 1.0)
    await clock.advance(1.0)
    assert len(queue) == 1, "delays work as before"
    running.cancel()


async def test_background_key_waits_for_workers_without_turning_the_loop() -> None:
    queue, _ = make()
    for key in "abc":
        queue.add(key, is_background=True)
    async with running(queue):
        assert await queue.get() == "a"
        for _ in range(1000):  # "b" is there to be taken, and nobody takes it
            await asyncio.sleep(0)
        assert (queue.pressing, queue.statistics()["background"]) == (1, 1)
        assert [await queue.get(), await queue.get()] == ["b", "c"]
