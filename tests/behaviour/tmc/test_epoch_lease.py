"""Several syncers for one SyncTarget: one serves, the others stand by and take over; who was overtaken is refused and rests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import CLOCK, QUIET, World, until, with_target
from tests.faults import BreakableTransport

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.server.compose import SYSTEM
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import EPOCH_HEADER
from kcp.tmc.syncer.engine import Syncer, find_target
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.lease import EpochLease, LeaseLost, alone_here
from kcp.tmc.syncer.record import Record

CONFIG = replace(QUIET, heartbeat_period_s=0.1, lease_duration_s=0.6)


async def identity_of(world: World, name: str) -> Identity:
    target = await world.client.resource(SYNC_TARGETS).get(name)
    return Identity(meta.cluster(target), name, meta.uid(target))


async def lease_of(world: World, name: str = "east") -> JSONObject:
    found: JSONObject = meta.nested(await world.client.resource(SYNC_TARGETS).get(name), "status", "syncerLease", default={})
    return found


class Replica:
    """A syncer of east that can be cut off from kcp, as if the wire was pulled."""

    def __init__(self, world: World, holder: str) -> None:
        self.up = BreakableTransport(AsgiTransport(world.server.app, SYSTEM))
        self.down = BreakableTransport(world.clusters["east"].client().transport)
        self.record = Record(CLOCK)
        self._world, self._holder = world, holder

    async def run(self) -> None:
        control_plane = Client(self.up, clock=CLOCK)
        target = await self._world.client.resource(SYNC_TARGETS).get("east")
        identity = await find_target(control_plane, "root:work", "east", meta.uid(target))
        await Syncer(identity, control_plane, Client(self.down, clock=CLOCK), CLOCK, CONFIG, self.record, self._holder).run()

    def writes(self) -> int:
        return sum(request.method != "GET" for request in self.down.requests)


@asynccontextmanager
async def serving(replica: Replica) -> AsyncIterator[asyncio.Task[None]]:
    async with Supervisor("replica") as tasks:
        yield tasks.spawn(replica.run(), name="replica")


async def test_one_serves_and_the_other_takes_over_once_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kcp.tmc.syncer.lease._LOOK_S", 0.05)
    async with with_target(tmp_path, monkeypatch) as world:
        first, second = Replica(world, "first"), Replica(world, "second")
        async with serving(second) as waiting:
            async with serving(first):
                pass
            async with serving(first):
                await until(lambda: lease_of(world), lambda lease: bool(lease.get("holder")))
            await until(lambda: lease_of(world), lambda lease: lease.get("holder") == "second")
            assert not waiting.done()
            await world.client.resource(SYNC_TARGETS).patch("west", {"spec": {"unschedulable": True}})
            await world.deploy("default", "web", 2)
            await until(lambda: world.below("web"), lambda found: bool(found.get("east")))


async def test_two_at_once_are_one_that_serves_and_one_that_stands_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kcp.tmc.syncer.lease._LOOK_S", 0.05)
    async with with_target(tmp_path, monkeypatch) as world:
        replicas = [Replica(world, "first"), Replica(world, "second")]
        async with serving(replicas[0]), serving(replicas[1]):
            await until(lambda: lease_of(world), lambda lease: bool(lease.get("holder")))

            async def standing() -> list[bool]:
                return [r.record.is_standing_by for r in replicas]

            await until(standing, lambda found: sorted(found) == [False, True])
            await world.deploy("default", "web", 2)
            await until(lambda: world.below("web"), bool)
            (idle,) = (r for r in replicas if r.record.is_standing_by)
            assert idle.writes() == 0


async def test_who_is_cut_off_rests_and_is_overtaken_and_stands_by_on_its_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kcp.tmc.syncer.lease._LOOK_S", 0.05)
    async with with_target(tmp_path, monkeypatch) as world:
        first, second = Replica(world, "first"), Replica(world, "second")
        async with serving(first):
            await until(lambda: lease_of(world), lambda lease: lease.get("holder") == "first")
            await world.deploy("default", "web", 4)
            await until(lambda: world.below("web"), lambda found: "east" in found)
            first.up.cut()
            async with serving(second):
                taken = await until(lambda: lease_of(world), lambda lease: lease.get("holder") == "second")
                assert taken["epoch"] > 1
                before = first.writes()
                await world.clusters["east"].client().resource(NAMESPACES).list()
                await world.deploy("default", "more", 4)
                await until(lambda: world.below("more"), lambda found: "east" in found)
                assert first.writes() == before
                first.up.mend()

                async def stands_by() -> bool:
                    return first.record.is_standing_by

                await until(stands_by, bool)
                assert (await lease_of(world))["holder"] == "second"


async def test_an_epoch_that_has_passed_is_refused_by_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        identity = await identity_of(world, "east")
        lease = {"holder": "second", "epoch": 3, "renewTime": "2026-01-01T00:00:00Z", "durationSeconds": 15}
        await world.client.resource(SYNC_TARGETS).patch("east", {"status": {"syncerLease": lease}}, subresource="status")
        view = Client(AsgiTransport(world.server.app, SYSTEM), clock=CLOCK).at(identity.view_path())

        async def refused(epoch: str) -> str:
            try:
                await view.raw("GET", "/api/v1/namespaces", headers={EPOCH_HEADER: epoch})
            except Conflict as error:
                return str(error)
            return ""

        assert "epoch 2 has passed" in await until(lambda: refused("2"), bool)
        assert await refused("3") == ""
        await view.raw("GET", "/api/v1/namespaces")


async def test_a_holder_that_cannot_renew_rests_before_another_may_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under virtual time, with clocks that show different hours."""
    async with with_target(tmp_path, monkeypatch) as world, Supervisor("leases") as tasks:
        identity = await identity_of(world, "east")
        clock = VirtualClock(CLOCK.now())
        up = BreakableTransport(world.client.transport)
        first = EpochLease(identity, Client(up, world.client.base_path, clock=clock), clock, "first", 30.0)
        second = EpochLease(identity, world.client, clock, "second", 30.0)
        await first.acquire()
        tasks.spawn(first.expire(), name="expire")
        taking = tasks.spawn(second.acquire(), name="acquire")
        up.cut()
        for _ in range(19):
            await clock.advance(1.0)
        seen = [(first.is_valid, taking.done())]
        for seconds in (2, 12):
            for _ in range(seconds):
                await clock.advance(1.0)
            seen.append((first.is_valid, taking.done()))
        assert seen == [(True, False), (False, False), (False, True)], "it rests from 20 s on, and the other starts from 30 s on"
        held = await world.client.resource(SYNC_TARGETS).get("east")
        with pytest.raises(LeaseLost, match="second serves SyncTarget east now, epoch 2"):
            first.renew(held, meta.copy_json(held))


async def test_a_process_that_was_killed_is_the_same_holder_when_it_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        identity = await identity_of(world, "east")
        with alone_here(identity) as first:
            with alone_here(identity) as beside:
                assert beside != first
        with alone_here(identity) as again:
            assert again == first
