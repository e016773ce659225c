"""Leader election: one leads, another takes over after the lease ran out or was given back, a cut off leader stops in time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.behaviour.controllers.world import LEASES, World
from tests.faults import BreakableTransport

from kcp.aio.clock import VirtualClock
from kcp.client.transport import Transport
from kcp.controller.election import ElectionTimes, LeaderElector


class Candidate:
    """A process that would lead; writes down when it does."""

    def __init__(self, world: World, name: str, transport: Transport | None = None, *, seed: int = 0) -> None:
        self.elector = LeaderElector(
            world.of("one", transport), name="kcp", namespace="kube-system", identity=name, clock=world.clock, seed=seed
        )
        self._clock: VirtualClock = world.clock
        self._leads = False
        self.stints: list[tuple[float, float]] = []
        self._task = asyncio.ensure_future(self.elector.run(self._lead))

    async def _lead(self) -> None:
        self._leads, since = True, self._clock.monotonic()
        try:
            await asyncio.Event().wait()
        finally:
            self._leads = False
            self.stints.append((since, self._clock.monotonic()))

    def leads(self) -> bool:
        return self._leads

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def lease(world: World) -> dict[str, object]:
    held = await world.of("one").resource(LEASES).get("kcp", namespace="kube-system")
    return dict(held["spec"])


async def test_first_leads_second_waits_and_takes_over_when_the_lease_is_given_back(world: World) -> None:
    first = Candidate(world, "first")
    await world.clock.advance(1.0)
    second = Candidate(world, "second", seed=1)
    await world.clock.advance(120.0)
    assert (first.leads(), second.leads()) == (True, False)
    assert second.elector.holder == "first"
    held = await lease(world)
    assert (held["holderIdentity"], held["leaseDurationSeconds"], held["leaseTransitions"]) == ("first", 15, 0)
    await first.stop()
    assert (await lease(world))["holderIdentity"] == ""
    await world.clock.advance(5.0)
    assert second.leads()
    assert (await lease(world))["leaseTransitions"] == 1
    await second.stop()


@pytest.mark.parametrize("silently", [False, True])
async def test_cut_off_leader_stops_before_another_starts(world: World, silently: bool) -> None:
    line = BreakableTransport(world.transport())
    first = Candidate(world, "first", line)
    await world.clock.advance(10.0)
    second = Candidate(world, "second", seed=1)
    await world.clock.advance(10.0)
    line.cut(silently=silently)
    await world.clock.advance(7.0)
    assert first.leads()
    await world.clock.advance(5.0)
    assert not first.leads()
    await world.clock.advance(16.0)
    assert second.leads()
    line.mend()
    await world.clock.advance(60.0)
    assert (first.leads(), second.leads()) == (False, True)
    await second.stop()
    await world.clock.advance(10.0)
    assert first.leads()
    await first.stop()
    (_, first_end), *_ = first.stints
    (second_start, second_end), *_ = second.stints
    assert first_end < second_start
    assert second_end <= first.stints[1][0]


async def test_short_break_does_not_cost_leadership(world: World) -> None:
    line = BreakableTransport(world.transport())
    first = Candidate(world, "first", line)
    await world.clock.advance(10.0)
    line.cut()
    await world.clock.advance(7.0)
    line.mend()
    await world.clock.advance(60.0)
    assert first.leads()
    assert first.stints == []
    await first.stop()


async def test_leader_whose_lease_was_taken_stops(world: World) -> None:
    first = Candidate(world, "first")
    await world.clock.advance(10.0)
    leases = world.of("one").resource(LEASES)
    await leases.patch("kcp", {"spec": {"holderIdentity": "intruder"}}, namespace="kube-system")
    await world.clock.advance(3.0)
    assert not first.leads()
    await world.clock.advance(30.0)
    assert first.leads()
    await first.stop()


async def test_job_that_ends_gives_the_lease_back_and_its_error_comes_out(world: World) -> None:
    async def fail() -> None:
        raise KeyError("mine")

    async def finish() -> None:
        return

    for job in (finish, fail):
        elector = LeaderElector(world.of("one"), name="kcp", namespace="kube-system", identity="me", clock=world.clock)
        if job is fail:
            with pytest.raises(KeyError):
                await elector.run(job)
        else:
            await elector.run(job)
        assert (await lease(world))["holderIdentity"] == ""
        await world.clock.advance(2.0)


def test_times_that_make_no_sense_are_refused(world: World) -> None:
    times = ElectionTimes(lease_duration_s=5, renew_deadline_s=10, retry_period_s=10)
    assert len(times.problems()) == 2
    with pytest.raises(ValueError, match="lease_duration_s"):
        LeaderElector(world.client(), name="a", namespace="b", identity="c", clock=world.clock, times=times)
