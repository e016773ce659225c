"""Events are deleted an hour after they were last written, in every workspace, without a sweep more often than needed."""

from __future__ import annotations

from typing import Any

from tests.behaviour.builtin.world import Parts, World
from tests.faults import FailingTransport

from kcp.controller.builtin.eventttl import build_event_sweeper
from kcp.controller.controller import Controller


def sweeper(parts: Parts) -> Controller[Any]:
    return build_event_sweeper(parts.client, for_cluster=parts.for_cluster, clock=parts.clock)


async def event(world: World, name: str, cluster: str | None = None) -> None:
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    await world.create("Event", name, cluster=cluster, involvedObject=about, lastTimestamp="2099-01-01T00:00:00Z", reason="R")


async def test_old_events_go_in_every_workspace(world: World) -> None:
    async with world.running(sweeper):
        for cluster in world.clusters:
            await event(world, "old", cluster)
        await world.clock.advance(1800)
        await event(world, "young")
        await world.clock.advance(1799)
        assert await world.names("Event") == ["old", "young"]
        await world.clock.advance(301)
        assert await world.names("Event") == ["young"]
        for cluster in world.clusters[1:]:
            assert await world.names("Event", cluster=cluster) == []
        await world.clock.advance(1800)
        assert await world.names("Event") == []


async def test_an_event_that_is_written_again_lives_on(world: World) -> None:
    async with world.running(sweeper):
        await event(world, "again")
        await world.clock.advance(3000)
        await world.resource("Event").patch("again", {"count": 2}, namespace="default")
        await world.clock.advance(3500)
        assert await world.names("Event") == ["again"]
        await world.clock.advance(400)
        assert await world.names("Event") == []


async def test_more_events_than_a_page_go_at_once(world: World) -> None:
    for number in range(1200):
        await event(world, f"e{number}")
    await world.clock.advance(3600)
    async with world.running(sweeper):
        await world.clock.advance(1)
        assert await world.names("Event") == []


async def test_deletions_that_fail_are_made_again_and_idle_sweeps_write_nothing(world: World) -> None:
    for name in ("a", "b", "c"):
        await event(world, name)
    await world.clock.advance(3600)
    transport = FailingTransport(world.transport(), 2, lost="request")
    async with world.running(sweeper, transport=transport):
        await world.clock.advance(10)
        assert await world.names("Event") == []
        written = transport.writes
        await world.clock.advance(20_000)
        assert transport.writes == written
