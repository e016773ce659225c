"""A syncer with too much to do: its SyncTarget says so, and so do the objects that wait."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.client.transport import RawRequest, RawResponse, Transport
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.syncer.health import SyncerHealth

CONFIG_MAPS = GVR("", "v1", "configmaps")
BUSY = replace(QUIET, backlog_limit=3, workers=1)


class Slow:
    """A connection on which writes wait until they may go on."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.may_go_on = asyncio.Event()

    async def request(self, request: RawRequest) -> RawResponse:
        if request.method == "PATCH":
            await self.may_go_on.wait()
        return await self.inner.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self.inner.stream(request)

    async def close(self) -> None:
        await self.inner.close()


async def backlog(world: World) -> int:
    return int((await world.client.resource(SYNC_TARGETS).get("east"))["status"].get("syncBacklog", 0))


async def synced(world: World, name: str) -> dict[str, Any]:
    obj = await world.client.resource(DEPLOYMENTS).get(name, namespace="default")
    return dict(conditions.get(obj, "Synced") or {})


async def test_who_waits_is_told_what_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[Slow] = []

    def through(inner: Transport) -> Transport:
        slow.append(Slow(inner))
        return slow[0]

    async with running(tmp_path, monkeypatch, through=through, config=BUSY) as world:
        for number in range(8):
            await world.deploy("default", f"web-{number}", 2)
        await until(functools.partial(backlog, world), lambda count: count > 3, timeout_s=30.0)
        told = await until(functools.partial(synced, world, "web-7"), lambda c: c.get("reason") == "SyncerOverloaded", timeout_s=30.0)
        assert "objects wait for its syncer" in told["message"]
        slow[0].may_go_on.set()
        await until(functools.partial(backlog, world), lambda count: count == 0, timeout_s=30.0)
        await until(functools.partial(synced, world, "web-7"), lambda c: c.get("status") == "True", timeout_s=30.0)


async def test_a_syncer_with_too_much_to_do_reads_its_watches_no_further_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="kcp.tmc.syncer.engine")
    slow: list[Slow] = []

    def through(inner: Transport) -> Transport:
        slow.append(Slow(inner))
        return slow[0]

    async with running(tmp_path, monkeypatch, through=through, config=BUSY) as world:
        names = [f"m-{number:02}" for number in range(24)]
        for name in names:
            await world.create(CONFIG_MAPS, "ConfigMap", name, namespace="default", data={"a": "1"})
        record = world.records["east"]

        async def held() -> int:
            return record.held

        await until(held, bool, timeout_s=30.0)
        assert record.metrics is not None
        assert 'syncer_watches_held{sync_target="east",workspace="root:work"} 1' in "".join(record.metrics.meter.text())
        for name in names:  # what waits does not grow with what happens
            await world.client.resource(CONFIG_MAPS).patch(name, {"data": {"a": "2"}}, namespace="default")
        assert record.backlog() < 20
        assert "watches are not read" in SyncerHealth("east", record, 3600.0, 3).assess().message
        slow[0].may_go_on.set()
        await until(functools.partial(copies, world), lambda found: found == dict.fromkeys(names, "2"), timeout_s=30.0)
        await until(held, lambda count: count == 0, timeout_s=30.0)
        assert len([r for r in caplog.records if "watches are not read until fewer do" in r.getMessage()]) == len(world.records)


async def copies(world: World) -> dict[str, str]:
    found = (await world.clusters["east"].client().resource(CONFIG_MAPS).list()).items
    return {meta.name(obj): obj["data"]["a"] for obj in found if meta.name(obj).startswith("m-")}
