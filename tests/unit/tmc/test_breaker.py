"""Circuit breakers: when they open, who is let through, and that they make nobody wait."""

from __future__ import annotations

import asyncio

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import Conflict, InternalError, ServiceUnavailable
from kcp.client.transport import TransportError
from kcp.tmc.breaker import BreakerConfig, Breakers, CircuitBreaker, State
from kcp.tmc.errors import ErrorType, TMCError


def breaker(clock: VirtualClock, **parts: float) -> CircuitBreaker:
    return CircuitBreaker("east", "apply", clock, BreakerConfig(failures=int(parts.get("failures", 5)), reset_s=parts.get("reset_s", 60.0)))


async def call(found: CircuitBreaker, error: Exception | None = None, subject: str = "a") -> None:
    async with found.guard(subject):
        if error is not None:
            raise error


async def fail(found: CircuitBreaker, error: Exception, times: int, *subjects: str) -> None:
    for number in range(times):
        with pytest.raises(type(error)):
            await call(found, error, subjects[number % len(subjects)] if subjects else "a")


def state(found: CircuitBreaker) -> State:
    return found.state


async def refused(found: CircuitBreaker) -> TMCError:
    with pytest.raises(TMCError) as raised:
        await call(found)
    return raised.value


async def test_five_failures_in_a_row_open_it_and_then_calls_fail_at_once() -> None:
    found = breaker(VirtualClock())
    await fail(found, TransportError("gone"), 4)
    await call(found)
    await fail(found, TransportError("gone"), 4)
    assert found.state is State.CLOSED
    await fail(found, TransportError("gone"), 1)
    error = await refused(found)
    assert (error.type, error.retryable, error.retry_after_s) == (ErrorType.CLUSTER_UNAVAILABLE, False, 60.0)
    assert error.cause == "ClusterUnreachable: gone"
    assert error.to_object() == (await refused(found)).to_object(), "so that it is written once"


async def test_after_a_while_one_call_is_let_through_and_decides() -> None:
    clock = VirtualClock()
    found = breaker(clock, failures=1)
    await fail(found, ServiceUnavailable("no"), 1)
    await clock.advance(59.0)
    assert (await refused(found)).retry_after_s == 1.0
    await clock.advance(1.0)
    await fail(found, ServiceUnavailable("still no"), 1)
    assert found.state is State.OPEN
    await clock.advance(60.0)
    await call(found)
    assert (found.state, found.failures, found.reason) == (State.CLOSED, 0, "")


async def test_while_one_call_is_tried_the_others_are_refused_and_do_not_wait() -> None:
    clock = VirtualClock()
    found = breaker(clock, failures=1)
    await fail(found, TransportError("gone"), 1)
    found.half_open()
    answer = asyncio.Event()

    async def slow() -> None:
        async with found.guard("a"):
            await answer.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(slow())
        await asyncio.sleep(0)
        assert (await refused(found)).type is ErrorType.CLUSTER_UNAVAILABLE
        answer.set()
    assert found.state is State.CLOSED


async def test_a_closed_breaker_lets_everything_pass_side_by_side() -> None:
    found = breaker(VirtualClock())
    everybody_is_in = asyncio.Barrier(50)

    async def one() -> None:
        async with found.guard("a"):
            await everybody_is_in.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(one())


async def test_a_trial_that_is_given_up_does_not_block_the_next() -> None:
    found = breaker(VirtualClock(), failures=1)
    await fail(found, TransportError("gone"), 1)
    found.half_open()
    with pytest.raises(asyncio.CancelledError):
        await call(found, asyncio.CancelledError())  # type: ignore[arg-type] # what a cancelled task raises
    await call(found)
    assert found.state is State.CLOSED


async def test_what_is_wrong_with_an_object_says_nothing_about_its_cluster() -> None:
    found = breaker(VirtualClock())
    await fail(found, Conflict("moved"), 9)
    await fail(found, InternalError("a webhook of this one fails"), 9, "a")
    assert found.state is State.CLOSED
    await fail(found, InternalError("no space left"), 1, "b")
    assert state(found) is State.OPEN


async def test_a_cluster_that_answers_again_ends_the_wait_for_who_could_not_reach_it() -> None:
    clock = VirtualClock()
    moves: list[tuple[str, State]] = []
    held = Breakers("east", clock, BreakerConfig(failures=2), lambda b: moves.append((b.operation, b.state)))
    await fail(held.of("apply"), TransportError("gone"), 2)
    await fail(held.of("delete"), InternalError("no space left"), 2, "a", "b")
    held.answered()
    assert [b.operation for b in held.not_closed() if b.state is State.OPEN] == ["delete"], "it answered all the time"
    held.half_open()
    for operation in ("apply", "delete"):
        await call(held.of(operation))
    assert held.not_closed() == []
    assert moves[-2:] == [("apply", State.CLOSED), ("delete", State.CLOSED)]


async def test_zero_failures_switches_it_off() -> None:
    found = breaker(VirtualClock(), failures=0)
    await fail(found, TransportError("gone"), 50)
    assert found.state is State.CLOSED
