"""A time limit on an injected clock."""

import asyncio

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.deadline import within


async def test_result_in_time_is_returned() -> None:
    clock = VirtualClock()

    async def work() -> int:
        return 7

    assert await within(clock, 1.0, work()) == 7


async def test_error_of_the_work_is_raised_as_it_is() -> None:
    async def work() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await within(VirtualClock(), 1.0, work())


async def test_late_work_is_cancelled_and_times_out() -> None:
    clock = VirtualClock()
    ended: list[str] = []

    async def work() -> None:
        try:
            await clock.sleep(100.0)
        finally:
            ended.append("work")

    task = asyncio.ensure_future(within(clock, 1.0, work()))
    await clock.advance(1.0)
    with pytest.raises(TimeoutError):
        await task
    assert ended == ["work"]


async def test_cancelling_the_caller_cancels_the_work() -> None:
    clock = VirtualClock()
    task = asyncio.ensure_future(within(clock, 1.0, clock.sleep(100.0)))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_also_does_when_the_work_fails_on_its_way_out() -> None:
    clock = VirtualClock()

    async def work() -> None:
        try:
            await clock.sleep(100.0)
        finally:
            raise OSError("the connection broke")

    task = asyncio.ensure_future(within(clock, 1.0, work()))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
