"""The worker loop: retries, terminal errors, requeues, metrics, cancellation."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.apimachinery.errors import Conflict, NotFound, StatusError
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.controller.controller import Controller, Limits, Outcome, Result, TerminalError

KEY = ObjectKey(ClusterName("c1"), "default", "web")


@contextlib.asynccontextmanager
async def running(
    reconcile: Callable[[ObjectKey], Awaitable[Result]], clock: VirtualClock, seen: list[Outcome]
) -> AsyncIterator[Controller]:
    controller: Controller = Controller("test", reconcile, clock=clock, workers=2, observe=seen.append)
    task = asyncio.ensure_future(controller.run())
    await settle()
    yield controller
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_failing_key_is_tried_again_with_growing_delay_until_it_works(caplog: pytest.LogCaptureFixture) -> None:
    clock, seen, calls = VirtualClock(), list[Outcome](), list[float]()

    async def reconcile(key: ObjectKey) -> Result:
        calls.append(round(clock.monotonic(), 4))
        if len(calls) < 4:
            raise RuntimeError("not yet")
        return Result()

    with caplog.at_level(logging.INFO, logger="kcp.controller.controller"):
        async with running(reconcile, clock, seen) as controller:
            controller.enqueue(KEY)
            await clock.advance(1.0)
    assert calls == [0.0, 0.005, 0.015, 0.035]
    assert [outcome.result for outcome in seen] == ["error", "error", "error", "success"]
    assert [outcome.failures for outcome in seen] == [1, 2, 3, 0]
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, False]
    assert all(str(KEY) in record.getMessage() for record in caplog.records)


async def test_terminal_error_is_not_retried() -> None:
    clock, seen = VirtualClock(), list[Outcome]()

    async def reconcile(key: ObjectKey) -> Result:
        raise TerminalError("no such region")

    async with running(reconcile, clock, seen) as controller:
        controller.enqueue(KEY)
        await clock.advance(5000.0)
        assert controller.statistics()["terminal"] == 1
    assert [outcome.result for outcome in seen] == ["terminal"]


async def test_requeue_after_comes_back_and_is_no_failure() -> None:
    clock, seen, calls = VirtualClock(), list[Outcome](), list[float]()

    async def reconcile(key: ObjectKey) -> Result:
        calls.append(clock.monotonic())
        return Result(requeue_after_s=30.0 if len(calls) < 3 else None)

    async with running(reconcile, clock, seen) as controller:
        controller.enqueue(KEY)
        await clock.advance(300.0)
    assert calls == [0.0, 30.0, 60.0]
    assert [outcome.result for outcome in seen] == ["requeue_after", "requeue_after", "success"]


@pytest.mark.parametrize("lost", [Conflict("it moved"), NotFound.of(GroupResource("apps", "deployments"), "web")])
async def test_a_lost_race_for_the_object_is_retried_without_noise(lost: StatusError, caplog: pytest.LogCaptureFixture) -> None:
    clock, seen = VirtualClock(), list[Outcome]()

    async def reconcile(key: ObjectKey) -> Result:
        if not seen:
            raise lost
        return Result()

    with caplog.at_level(logging.INFO, logger="kcp.controller.controller"):
        async with running(reconcile, clock, seen) as controller:
            controller.enqueue(KEY)
            await clock.advance(1.0)
    assert [outcome.result for outcome in seen] == ["error", "success"]
    assert not caplog.records


async def test_cancelling_ends_workers_in_the_middle_of_a_reconcile() -> None:
    clock, ended = VirtualClock(), list[str]()

    async def reconcile(key: ObjectKey) -> Result:
        try:
            await clock.sleep(1000.0)
        finally:
            ended.append("reconcile")
        return Result()

    async with running(reconcile, clock, []) as controller:
        controller.enqueue(KEY)
        await settle()
    assert ended == ["reconcile"]


async def test_wait_idle_returns_when_all_is_done() -> None:
    clock, done = VirtualClock(), list[ObjectKey]()

    async def reconcile(key: ObjectKey) -> Result:
        await settle()
        done.append(key)
        return Result()

    async with running(reconcile, clock, []) as controller:
        for name in "abcde":
            controller.enqueue(ObjectKey(ClusterName("c1"), "", name))
        await controller.wait_idle()
        assert len(done) == 5


async def test_limits_hold_over_all_controllers_that_share_them() -> None:
    clock, slots, at_once, most = VirtualClock(), asyncio.Semaphore(3), 0, 0

    async def reconcile(key: ObjectKey) -> Result:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await clock.sleep(1.0)
        at_once -= 1
        return Result()

    controllers: list[Controller] = [Controller(f"test{n}", reconcile, clock=clock, workers=2) for n in range(2)]
    tasks = []
    for controller in controllers:
        controller.limit(Limits(workers=5, slots=slots))
        for n in range(10):
            controller.enqueue(ObjectKey(ClusterName("c1"), "", str(n)))
        tasks.append(asyncio.ensure_future(controller.run()))
    await clock.advance(20.0)
    assert most == 3
    assert [controller.statistics()["success"] for controller in controllers] == [10, 10]
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_reconcile_that_hangs_is_given_up_and_tried_again() -> None:
    clock, seen, calls, again, given_up = VirtualClock(), list[Outcome](), 0, asyncio.Event(), asyncio.Event()

    async def reconcile(key: ObjectKey) -> Result:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        again.set()
        return Result()

    def observe(outcome: Outcome) -> None:
        seen.append(outcome)
        given_up.set()

    controller: Controller = Controller("test", reconcile, clock=clock, workers=1, observe=observe)
    controller.limit(Limits(workers=5, timeout_s=0.01))
    task = asyncio.ensure_future(controller.run())
    controller.enqueue(KEY)
    await given_up.wait()
    await clock.advance(1.0)
    await again.wait()
    await settle()
    assert [outcome.result for outcome in seen] == ["error", "success"]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
