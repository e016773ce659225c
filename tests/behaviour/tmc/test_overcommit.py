"""Placements made at once on one report of a cluster's usage do not spend the same room twice; under virtual time, on a whole server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import place

from kcp.aio.clock import VirtualClock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.client.rest import Client
from kcp.server.compose import run_server
from kcp.server.options import Options, TMCOptions
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.names import chosen_keys
from kcp.tmc.placement.reservations import SETTLE_S

NAMES = [f"p{i}" for i in range(8)]


class Town:
    """A server whose root has clusters of 8 CPUs."""

    def __init__(self, client: Client, clock: VirtualClock) -> None:
        self.client, self.clock = client, clock

    async def report(self, name: str, used: int) -> None:
        """What its syncer would."""
        now = rfc3339(self.clock.now())
        status = {
            "lastSyncerHeartbeatTime": now, "allocatable": {"cpu": "8"}, "usage": {"cpu": str(used)},
            "conditions": [conditions.build("SyncerReady", conditions.TRUE, reason="SyncerConnected", now=now)],
        }  # fmt: skip
        await self.client.resource(SYNC_TARGETS).patch(name, {"status": status}, subresource="status")

    async def placed(self) -> list[str]:
        return sorted(meta.name(p) for p in (await self.client.resource(PLACEMENTS).list()).items if chosen_keys(p))

    async def until_placed(self, number: int) -> list[str]:
        async with asyncio.timeout(10.0):
            while len(found := await self.placed()) < number:
                await self.clock.advance(0.05)
        return found

    async def decided(self) -> None:
        """Until every Placement says how it stands."""
        async with asyncio.timeout(10.0):
            while True:
                listed = (await self.client.resource(PLACEMENTS).list()).items
                if all(conditions.get(p, "Ready") is not None for p in listed):
                    return
                await self.clock.advance(0.05)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    clock = VirtualClock()
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True, tmc=TMCOptions(enabled=True))
    async with run_server(options, clock=clock, with_socket=False) as server:
        found = Town(server.client.cluster("root"), clock)
        for name in ("east", "west"):
            body = {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": name}, "spec": {}}
            await found.client.resource(SYNC_TARGETS).create(body)
            await found.report(name, used=0)
        await place(found.client, "probe", numberOfClusters=2, namespaceSelector={"matchNames": ["nowhere"]})
        await found.until_placed(1)
        await found.client.resource(PLACEMENTS).delete("probe")
        yield found


async def ask(town: Town, names: list[str], cpu: str) -> None:
    wanted: dict[str, Any] = {"strategy": "Capacity", "constraints": {"resources": {"requests": {"cpu": cpu}}}}
    await asyncio.gather(*(place(town.client, name, **wanted) for name in names))


async def test_of_many_made_at_once_only_as_many_are_placed_as_there_is_room_for(town: Town) -> None:
    await ask(town, NAMES, "4")
    await town.decided()
    assert len(await town.until_placed(4)) == 4
    refused = [p for p in (await town.client.resource(PLACEMENTS).list()).items if not chosen_keys(p)]
    assert "reserved for work on its way" in meta.nested(refused[0], "status", "conditions")[0]["message"]


async def test_room_that_was_promised_and_not_used_is_given_to_those_who_wait(town: Town) -> None:
    await ask(town, ["a", "b"], "8")
    await town.until_placed(2)
    await ask(town, ["c"], "8")
    await town.decided()
    assert await town.placed() == ["a", "b"]
    for _ in range(4):  # whoever asked for it does not use it
        await town.clock.advance(SETTLE_S / 2)
        await town.report("east", used=0)
        await town.report("west", used=0)
    assert await town.until_placed(3) == ["a", "b", "c"]


async def test_what_is_reported_as_used_is_not_counted_twice(town: Town) -> None:
    await ask(town, ["a", "b"], "5")
    await town.until_placed(2)
    for _ in range(3):
        await town.clock.advance(SETTLE_S / 2)
        await town.report("east", used=5)
        await town.report("west", used=5)
    await ask(town, ["c"], "3")
    assert await town.until_placed(3) == ["a", "b", "c"]
    await ask(town, ["d", "e"], "2")
    await town.decided()
    assert len(await town.until_placed(4)) == 4
